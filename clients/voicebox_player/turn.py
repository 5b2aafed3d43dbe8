"""One request's turn at the loudspeaker: its sound in the device's rate, and how much of its own timeline was heard.

A timeline counts frames at the request's rate from its beginning. Sound is put into the device's rate as it comes; frames of the
device are counted back exactly, because soxr's output has no delay against its input, only a part that it holds back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import soxr

Samples: TypeAlias = npt.NDArray[np.float32]

# A shorter beginning would be over before its continuation can be expected.
PREBUFFER_S = 0.03
# 60 dB below the loudest that there is: nobody hears it. Voices begin with up to 0.3 s of that.
SILENT = 0.001
_NOTHING: Samples = np.zeros(0, np.float32)


@dataclass(slots=True)
class _Block:
    """Samples for the device: the frames from `begin` to `end` of the timeline. It has taken `taken` of them, of which `heard` were."""

    samples: Samples
    begin: int
    end: int
    taken: int = 0
    heard: int = 0


@dataclass(slots=True)
class _Piece:
    """What a credit counts: one descriptor of a Chunk, from `begin` to `end` of the timeline."""

    seq: int
    begin: int
    end: int


class _Converter:
    """Owns the way from the request's rate to the device's, from frame `base` of the timeline on. Equal rates change no sample."""

    def __init__(self, rate: int, device_rate: int, base: int) -> None:
        self._rate, self._device_rate, self._base = rate, device_rate, base
        self._stream = None if rate == device_rate else resampler(rate, device_rate)
        self._fed = 0
        self._made = 0

    def convert(self, samples: Samples, *, last: bool = False) -> _Block:
        """What `samples` make ready to be heard; with `last` all that there is."""
        made = samples
        if self._stream is not None:
            made = cast("Samples", self._stream.resample_chunk(samples, last=last))
        self._fed += len(samples)
        begin = self._at(self._made)
        self._made += len(made)
        return _Block(made, begin, self._base + self._fed if last else self._at(self._made))

    def _at(self, made: int) -> int:
        return self._base + min(made * self._rate // self._device_rate, self._fed)


class Turn:
    """Owns the sound of a request that is still to be heard. Frames are those of its timeline unless they are called the device's."""

    def __init__(self, req: str, rate: int, device_rate: int, frame: int, at: int) -> None:
        """`at` is where the first piece will begin, and `frame` the first frame to be heard: what lies between is skipped."""
        if at > frame or not rate:
            raise ValueError(f"Play from frame {frame} with sound from {at} on, at {rate} Hz")
        self.req = req
        self.heard = frame
        self._rate, self._device_rate = rate, device_rate
        self._next = at
        self._total: int | None = None
        self._blocks: deque[_Block] = deque()
        self._buffered = 0
        self.taken = 0
        self._pieces: deque[_Piece] = deque()
        self._due: list[int] = []
        self._converter = _Converter(rate, device_rate, at)
        # The part to be skipped goes through the converter too: what follows then sounds as if nothing had been cut.
        self._skip = -((at - frame) * device_rate // rate)
        # Silence at the very beginning is skipped as well: a listener would only wait for its end.
        self._is_silent = not frame

    @property
    def is_over(self) -> bool:
        """Whether all of it was heard."""
        return self._total is not None and not self._blocks

    @property
    def is_taken(self) -> bool:
        """Whether the device has all of it."""
        return self._total is not None and not self._buffered

    @property
    def is_ready(self) -> bool:
        """Whether there is enough to begin with."""
        return bool(self._blocks) and (
            self._total is not None or self._buffered >= round(PREBUFFER_S * self._device_rate)
        )

    # --- what the daemon says

    def append(self, seq: int, samples: Samples) -> None:
        """The next piece, shape (frames,)."""
        begin, self._next = self._next, self._next + len(samples)
        self._pieces.append(_Piece(seq, begin, self._next))
        self._keep(self._converter.convert(samples))
        self._settle()

    def reset(self, frames: int) -> None:
        """The timeline goes back to `frames`: what was to be heard after that is dropped, the next piece begins there."""
        if frames > self._next:
            raise ValueError(f"Reset to frame {frames} where only {self._next} have come")
        if self._total is None:
            self._keep(self._converter.convert(_NOTHING, last=True))
        for block in self._blocks:
            self._cut(block, frames)
        self._blocks = deque(block for block in self._blocks if block.begin < frames)
        self._buffered = sum(len(block.samples) - block.taken for block in self._blocks)
        self.taken = sum(block.taken - block.heard for block in self._blocks)
        self._drop_pieces(frames)
        self.heard = min(self.heard, frames)
        self._next, self._total, self._skip = frames, None, 0
        self._is_silent = self._is_silent or not frames
        self._converter = _Converter(self._rate, self._device_rate, frames)
        self._pass_heard()

    def finish(self) -> int:
        """No more comes; gives how many frames the timeline has."""
        if self._total is None:
            self._keep(self._converter.convert(_NOTHING, last=True))
            self._total = self._next
        self._pass_heard()
        return self._total

    def drop(self) -> None:
        """Nothing more of it is to be heard: all pieces can be credited."""
        self._due += (piece.seq for piece in self._pieces)
        self._pieces.clear()
        self._blocks.clear()
        self._buffered = self.taken = 0

    # --- what the device takes

    def read(self, out: Samples) -> int:
        """Fill `out` from its beginning on with what the device is to have next; gives how many frames of the device that were."""
        filled = 0
        for block in self._blocks:
            part = block.samples[block.taken : block.taken + len(out) - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
            block.taken += len(part)
        self._buffered -= filled
        self.taken += filled
        return filled

    def hear(self, frames: int) -> None:
        """So many more frames of the device, of those that it has taken, were heard."""
        while self._blocks and (part := min(frames, self._blocks[0].taken - self._blocks[0].heard)) > 0:
            block = self._blocks[0]
            block.heard += part
            frames -= part
            self.taken -= part
            self.heard = max(self.heard, min(block.begin + block.heard * self._rate // self._device_rate, block.end))
            self._pass_heard()
        self._pass_heard()

    def take_back(self, frames: int) -> None:
        """The last frames that the device has taken, so many of them, are not heard; they come next."""
        for block in reversed(self._blocks):
            part = min(frames, block.taken - block.heard)
            block.taken -= part
            frames -= part
            self.taken -= part
            self._buffered += part

    def credits(self) -> list[int]:
        """The pieces that were heard to their end, skipped or dropped since this was asked last."""
        due, self._due = self._due, []
        return due

    # --- its own books

    def _keep(self, block: _Block) -> None:
        skipped = self._silence(block.samples) if self._is_silent else min(self._skip, len(block.samples))
        self._skip = max(0, self._skip - skipped)
        if skipped:
            block.begin = min(block.begin + skipped * self._rate // self._device_rate, block.end)
            block.samples = block.samples[skipped:]
            self.heard = max(self.heard, block.begin)
        if len(block.samples) or block.end > block.begin:
            self._blocks.append(block)
            self._buffered += len(block.samples)

    def _silence(self, samples: Samples) -> int:
        """How many frames of the beginning are silence."""
        loud = np.flatnonzero(np.abs(samples) >= SILENT)
        self._is_silent = not len(loud)
        return int(loud[0]) if len(loud) else len(samples)

    def _pass_heard(self) -> None:
        """Blocks of which nothing is left are done with."""
        while self._blocks and self._blocks[0].heard == len(self._blocks[0].samples):
            self.heard = max(self.heard, self._blocks.popleft().end)
        self._settle()

    def _cut(self, block: _Block, frames: int) -> None:
        if block.end > frames > block.begin:
            block.samples = block.samples[: -((block.begin - frames) * self._device_rate // self._rate)]
            block.taken = min(block.taken, len(block.samples))
            block.heard = min(block.heard, len(block.samples))
            block.end = frames

    def _drop_pieces(self, frames: int) -> None:
        kept: deque[_Piece] = deque()
        for piece in self._pieces:
            if piece.begin >= frames:
                self._due.append(piece.seq)
            else:
                piece.end = min(piece.end, frames)
                kept.append(piece)
        self._pieces = kept

    def _settle(self) -> None:
        while self._pieces and self._pieces[0].end <= self.heard:
            self._due.append(self._pieces.popleft().seq)


def resampler(rate: int, device_rate: int) -> soxr.ResampleStream:
    """soxr's "HQ" is transparent for speech and takes less than a thousandth of the sound's duration."""
    import soxr

    return soxr.ResampleStream(rate, device_rate, 1, dtype="float32", quality="HQ")


def ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """The numbers as ranges, both ends inclusive."""
    numbers = sorted(numbers)
    begin = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[begin], numbers[index - 1]
            begin = index
