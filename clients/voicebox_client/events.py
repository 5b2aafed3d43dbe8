"""What a request brings, in the order it comes: `Accepted`, then `Chunk`, `Reset` and `Notice`, or from the loudspeaker `Heard`; at last
a `Result`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from voicebox_protocol.errors import BadMessage

if TYPE_CHECKING:
    import numpy as np

    from voicebox_client.arena import Arena, Piece

BYTES_PER_FRAME = 4
# The code of the one Notice that does not come from a daemon.
RECONNECTED = "RECONNECTED"


class Accepted(NamedTuple):
    """The request will be spoken, by whom and in what form; fixed from here on. `sample_rate` is in Hz."""

    seed: int
    sample_rate: int
    provider: str
    voice: str
    language: str | None


class Notice(NamedTuple):
    """Something worth telling on the way; `code` is STARTING, RESUMED, SKIPPED, FAILOVER, WAITING (for a sound device, or for the end
    of a pause), PLAYER (the loudspeaker's process was started again), RECONNECTED (to the next daemon, with `say(..., resume=True)`) or
    an error's."""

    code: str
    message: str


class Reset(NamedTuple):
    """The running segment begins again: the timeline goes back to `frames`, the next chunk starts there."""

    segment: int
    frames: int
    reason: str


class Heard(NamedTuple):
    """How far the listener at the loudspeaker is: `frames` of the timeline and `chars` of the text, exact to the word where the
    engine knows when its words begin. `segment`, which is being heard, begins at frame `segment_frame` and is characters
    `char_start` to `char_end`."""

    frames: int
    chars: int
    segment: int
    segment_frame: int
    char_start: int
    char_end: int


class Result(NamedTuple):
    """How a request ended. `state` is done, failed or cancelled; `resumed` exact, segment, next or None. `heard_chars` and `heard_s`
    are of the loudspeaker, else None; `reason` is why it was cancelled, where it was neither its client nor `stop`."""

    request_id: str
    state: str
    provider: str | None
    voice: str | None
    sample_rate: int | None
    frames: int
    segments: int
    delivered_chars: int
    seed: int | None
    resumed: str | None
    attempts: list[dict[str, Any]]
    first_audio_ms: float | None
    total_ms: float
    heard_chars: int | None
    heard_s: float | None
    code: str | None
    message: str | None
    reason: str | None = None

    @property
    def duration_s(self) -> float:
        """Seconds of sound in the timeline."""
        return self.frames / self.sample_rate if self.sample_rate else 0.0


class Chunk:
    """One piece of sound, at most half a second of it.

    `data` is a read-only view of float32 little-endian mono samples, -1..1 (`data.cast("f")` for numbers), and lent: it
    cannot be used any more once the next chunk is asked for, or `release` was called. Copy what you keep. `start` is the
    chunk's first frame in the request's timeline: where it is lower than the end of the chunk before, that much was taken
    back and is spoken again. `char_start` and `char_end` are the segment's place in the text, in code points; `marks` word
    times, where the engine knows them. `shared`: it came in an arena, and its provider waits for credit to write there.
    """

    __slots__ = (
        "_piece",
        "char_end",
        "char_start",
        "closes",
        "crc32",
        "data",
        "frames",
        "marks",
        "sample_rate",
        "segment",
        "seq",
        "shared",
        "start",
    )

    def __init__(
        self,
        header: dict[str, Any],
        index: int,
        payload: memoryview,
        *,
        start: int,
        sample_rate: int,
        arenas: Mapping[int, Arena],
    ) -> None:
        arena, offset, frames, crc32 = header["descriptors"][index]
        size = BYTES_PER_FRAME * frames
        self.frames: int = frames
        self.crc32: int = crc32
        self.shared: bool = arena != 0
        self._piece: Piece | None = None
        if arena:
            piece = arenas[arena].piece(offset, size)
            self._piece = None if isinstance(piece, memoryview) else piece
            self.data = piece if isinstance(piece, memoryview) else piece.data
        else:
            self.data = payload[offset : offset + size]
        if len(self.data) != size:
            raise BadMessage(f"a chunk of {frames} frames at byte {offset} of {len(payload)}")
        self.seq: int = header["seq"] + index
        self.segment: int = header["segment"]
        self.char_start: int | None = header.get("char_start")
        self.char_end: int | None = header.get("char_end")
        self.marks: list[dict[str, Any]] = header.get("marks") or []
        self.start = start
        self.sample_rate = sample_rate
        self.closes = index + 1 == len(header["descriptors"])

    @property
    def end(self) -> int:
        """One past the chunk's last frame in the timeline."""
        return self.start + self.frames

    def as_array(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The samples as a numpy array of shape (frames,), sharing this memory: copy it to keep it."""
        import numpy as np

        return np.frombuffer(self.data, "<f4")

    def release(self) -> bool:
        """Give the sound back; asking for the next chunk does it too. False if somebody still has a view of it, which
        then cost a copy: it stays what it is."""
        if self._piece is not None:
            return self._piece.release()
        with contextlib.suppress(BufferError):
            self.data.release()
        return True

    def detach(self) -> None:
        """Keep the sound, as a copy where it lies, for it is given back."""
        if self._piece is not None:
            self._piece.detach()

    def verify(self) -> bool:
        """Whether the samples are those that the provider made, by their CRC-32."""
        import zlib

        return zlib.crc32(self.data) == self.crc32

    def __repr__(self) -> str:
        return f"<Chunk {self.seq}: segment {self.segment}, frames {self.start} to {self.end} at {self.sample_rate} Hz>"


Event = Accepted | Notice | Reset | Chunk | Heard


def accepted_from(header: dict[str, Any]) -> Accepted:
    """An `Accepted` message, read."""
    return Accepted(header["seed"], header["sample_rate"], header["provider"], header["voice"], header.get("language"))


def heard_from(header: dict[str, Any]) -> Heard:
    """A `Heard` message, read."""
    return Heard(*(header[name] for name in Heard._fields))


def result_from(header: dict[str, Any]) -> Result:
    """A terminal message, read; fields that it leaves out are None."""
    state = {"Done": "done", "Failed": "failed", "Cancelled": "cancelled"}[header["kind"]]
    known: dict[str, Any] = {name: header.get(name) for name in Result._fields if name not in ("request_id", "state")}
    for name in ("frames", "segments", "delivered_chars", "attempts", "total_ms"):
        known[name] = header[name]
    return Result(request_id=header["req"], state=state, **known)
