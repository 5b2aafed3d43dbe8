"""All that a provider said to one Synthesize, and the rules that hold for every answer. Pure: no socket, no clock."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from voicebox_protocol.schema import (
    Beat,
    Chunk,
    Message,
    Resumed,
    SegmentCancelled,
    SegmentDone,
    SegmentFailed,
    Synthesize,
)
from voicebox_provider.conformance.verdicts import ANSWERS, CHUNKS, REPEATS, Breach

ENDS = (SegmentDone, SegmentFailed, SegmentCancelled)
LOUDEST = 1.0
FAINTEST = 1e-3

_FRAME_BYTES = 4
_LONGEST_S = 0.5
_FIRST_S = 0.1


@dataclass
class Spoken:
    """`heard` holds each message with its payload and the moment it came, ended by a terminal one."""

    asked: Synthesize
    began: float
    heard: list[tuple[float, Message, bytes]] = field(default_factory=list)

    @property
    def end(self) -> Message:
        return self.heard[-1][1]

    @property
    def done(self) -> bool:
        """Whether it was spoken to its end."""
        return isinstance(self.end, SegmentDone)

    @property
    def seconds(self) -> float:
        """How long the answer took."""
        return self.heard[-1][0] - self.began

    @property
    def duration(self) -> float:
        """How long the sound lasts, in seconds."""
        return len(self.samples) / self.asked.sample_rate

    @property
    def resumed(self) -> Resumed | None:
        return next((message for _, message, _ in self.heard if isinstance(message, Resumed)), None)

    @property
    def beats(self) -> int:
        return sum(isinstance(message, Beat) for _, message, _ in self.heard)

    @property
    def longest_silence(self) -> float:
        """The longest time in seconds in which nothing was said."""
        moments = [self.began, *(moment for moment, _, _ in self.heard)]
        return max(later - earlier for earlier, later in pairwise(moments))

    @property
    def pieces(self) -> list[bytes]:
        """The bytes that the descriptors point at."""
        return [
            payload[offset : offset + frames * _FRAME_BYTES]
            for chunk, payload in self.chunks()
            for _, offset, frames, _ in chunk.descriptors
        ]

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        """All sound, shape (frames,)."""
        whole = b"".join(self.pieces)
        return np.frombuffer(whole[: len(whole) // _FRAME_BYTES * _FRAME_BYTES], "<f4")

    @property
    def audible(self) -> bool:
        """Whether anybody would hear something."""
        return bool(len(self.samples)) and float(np.abs(self.samples).max()) > FAINTEST

    def chunks(self) -> Iterator[tuple[Chunk, bytes]]:
        for _, message, payload in self.heard:
            if isinstance(message, Chunk):
                yield message, payload

    def words(self) -> str:
        """How it ended, for a report."""
        end = self.end
        if isinstance(end, SegmentFailed):
            return f"SegmentFailed{{{end.code}}}: {end.message}"
        return f"{type(end).__name__} with {self.duration:.2f} s of sound"


def breaches(spoken: Spoken) -> Iterator[Breach]:
    """The rules about chunks, pieces and counts that an answer broke; the first of each."""
    for rule in (_order, _numbers, _places, _lengths, _checksums, _values, _marks, _frames):
        found = rule(spoken)
        if found is not None:
            yield found


def _order(spoken: Spoken) -> Breach | None:
    for index, (_, message, _) in enumerate(spoken.heard):
        allowed = (Beat, Chunk, Resumed) if index < len(spoken.heard) - 1 else ENDS
        if not isinstance(message, allowed):
            return Breach("answers", ANSWERS, f"{type(message).__name__} in the middle of a segment")
    sound = [type(message) for _, message, _ in spoken.heard if isinstance(message, Chunk | Resumed)]
    if spoken.asked.from_frame is None and Resumed in sound:
        return Breach("answers", REPEATS, "Resumed, where from_frame was not given")
    if Resumed in sound[1:]:
        return Breach("answers", REPEATS, "Resumed came after sound, or twice")
    return None


def _numbers(spoken: Spoken) -> Breach | None:
    due = 0
    for chunk, _ in spoken.chunks():
        if chunk.seq != due:
            return Breach("answers", ANSWERS, f"a chunk has seq {chunk.seq} where piece {due} was due")
        due += len(chunk.descriptors)
    return None


def _places(spoken: Spoken) -> Breach | None:
    for chunk, payload in spoken.chunks():
        for arena, offset, frames, _ in chunk.descriptors:
            if arena or offset % _FRAME_BYTES or offset + frames * _FRAME_BYTES > len(payload):
                seen = f"[{arena}, {offset}, {frames}, …] with a payload of {len(payload)} bytes"
                return Breach("pieces", CHUNKS, f"a descriptor points outside its payload: {seen}")
    return None


def _lengths(spoken: Spoken) -> Breach | None:
    rate, longest = spoken.asked.sample_rate, _FIRST_S
    for piece in spoken.pieces:
        frames = len(piece) // _FRAME_BYTES
        if not 0 < frames <= longest * rate + 1:
            which = "the first piece" if longest == _FIRST_S else "a piece"
            return Breach("pieces", ANSWERS, f"{which} holds {frames / rate:.3f} s; it may hold {longest:g} s")
        longest = _LONGEST_S
    return None


def _checksums(spoken: Spoken) -> Breach | None:
    said = [crc for chunk, _ in spoken.chunks() for *_, crc in chunk.descriptors]
    for number, (crc, piece) in enumerate(zip(said, spoken.pieces, strict=True)):
        if crc != zlib.crc32(piece):
            return Breach("crc", CHUNKS, f"piece {number} says CRC {crc:08x}; its bytes have {zlib.crc32(piece):08x}")
    return None


def _values(spoken: Spoken) -> Breach | None:
    samples = spoken.samples
    if not np.isfinite(samples).all():
        return Breach("samples", CHUNKS, f"sample {int(np.argmin(np.isfinite(samples)))} is no finite number")
    if len(samples) and float(np.abs(samples).max()) > LOUDEST:
        return Breach("samples", CHUNKS, f"a sample is {float(np.abs(samples).max()):g}; they lie within -1..1")
    return None


def _marks(spoken: Spoken) -> Breach | None:
    """Each mark lies in the sound of its own chunk, and in order."""
    start, least = (spoken.resumed.frames if spoken.resumed else 0), 0
    for chunk, _ in spoken.chunks():
        end = start + sum(frames for _, _, frames, _ in chunk.descriptors)
        for mark in chunk.marks or ():
            frame = mark.get("frame")
            if not isinstance(frame, int) or not max(start, least) <= frame < end:
                return Breach("marks", ANSWERS, f"a mark {mark} with the frames {start} to {end}")
            least = frame
        start = end
    return None


def _frames(spoken: Spoken) -> Breach | None:
    end = spoken.end
    if not isinstance(end, SegmentDone):
        return None
    came = len(spoken.samples) + (spoken.resumed.frames if spoken.resumed else 0)
    if end.frames != came:
        return Breach("frames", ANSWERS, f"SegmentDone counts {end.frames} frames where {came} came")
    return None
