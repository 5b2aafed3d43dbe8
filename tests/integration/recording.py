"""What was heard, by the recording alone: the file that `VOICEBOX_AUDIO_SINK=wav:PATH` makes, and where known sound is in it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 48_000
BLOCK = RATE // 100
_WIDTH = 4

Samples = npt.NDArray[np.float32]


class Span(NamedTuple):
    """Sound without a rest of a block in it: from frame `begin` to before frame `end` of the recording."""

    begin: int
    end: int


class Recording:
    """Reads the file while it grows. Frames count from `begin`, which `mark` moves to what is its end at that moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begin = 0

    def mark(self) -> None:
        """What was heard until now is of no interest any more."""
        self.begin += self.now

    @property
    def now(self) -> int:
        """Frames that stand in the file: what a device has been given up to this moment, while something is being played."""
        # The header is 58 bytes; a file that is not there yet has none.
        size = self.path.stat().st_size if self.path.exists() else 58
        return max(0, size - 58) // _WIDTH - self.begin

    def samples(self) -> Samples:
        """All of it, silence included, as any program reads it."""
        if not self.path.exists():
            return np.zeros(0, np.float32)
        samples, rate = soundfile.read(io.BytesIO(self.path.read_bytes()), dtype="float32")
        assert rate == RATE
        return np.asarray(samples[self.begin :], np.float32)

    def sound(self) -> Samples:
        """All of it without its silence."""
        return sound_of(self.samples())

    def spans(self) -> list[Span]:
        """Where there is sound. One that came too late to a busy machine has several."""
        return spans(self.samples())

    def places(self, sound: Samples) -> list[int]:
        """The frame of the recording at which each sample of `sound` is heard, but for those that are silence. Raises
        `AssertionError` unless they are heard once and in a row, with nothing but silence between them."""
        samples = self.samples()
        loud = np.flatnonzero(samples)
        first = offset_of(samples[loud], sound_of(sound))
        return [int(place) for place in loud[first : first + len(sound_of(sound))]]


def as_samples(sound: bytes) -> Samples:
    """What a client was given, as numbers."""
    return np.frombuffer(sound, "<f4")


def sound_of(samples: Samples) -> Samples:
    """Without its silence."""
    return samples[samples != 0]


def spans(samples: Samples) -> list[Span]:
    """Where there is sound, with rests of at least a block between."""
    loud = np.flatnonzero(samples)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > BLOCK)
    begins = [loud[0], *loud[breaks + 1]]
    ends = [*loud[breaks], loud[-1]]
    return [Span(int(begin), int(end) + 1) for begin, end in zip(begins, ends, strict=True)]


def offset_of(samples: Samples, piece: Samples) -> int:
    """Where `piece` stands in `samples`, to the bit and only once. Raises `AssertionError`."""
    found, at = [], -1
    whole, part = samples.astype("<f4").tobytes(), piece.astype("<f4").tobytes()
    while (at := whole.find(part, at + 1)) >= 0:
        if at % _WIDTH == 0:
            found.append(at // _WIDTH)
    assert len(found) == 1, f"{len(piece)} frames are heard {len(found)} times among {len(samples)}"
    return found[0]


def in_turn(heard: Samples, whole: dict[str, Samples], least: int = 64) -> list[tuple[str, int]]:
    """Which of `whole` are heard one after another, and how many frames of each from its beginning; two at once would be neither.
    Raises `AssertionError` for sound that is the beginning of none. `least` frames tell one from another."""
    order, at = [], 0
    while at < len(heard):
        rest = heard[at:]
        name = next(
            (name for name, own in whole.items() if np.array_equal(rest[:least], own[: len(rest)][:least])), None
        )
        assert name is not None, f"after {order} and {at} frames comes what nobody said"
        length = common(rest, whole[name])
        order.append((name, length))
        at += length
    return order


def common(one: Samples, other: Samples) -> int:
    """How many samples are equal from the beginning."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
