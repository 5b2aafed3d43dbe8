"""How samples become Chunk messages. No other module of the provider knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from voicebox_protocol import wire
from voicebox_protocol.errors import ProviderFailed
from voicebox_protocol.schema import Chunk, Message, Resumed, Synthesize
from voicebox_provider.engine import Mark
from voicebox_provider.resample import Resampler

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

try:
    from isal.isal_zlib import crc32
except ImportError:  # no wheel for this processor: the same numbers, nine times slower
    from zlib import crc32

MAX_PAYLOAD = 4 * 1024 * 1024
MAX_MARKS = 512

_FRAME_BYTES = 4
_INLINE = 0

Emit: TypeAlias = Callable[[Message, memoryview | None], None]


class ChunkWriter:
    """Owns one segment's sound on its way out: checks, resamples, scales, clips, cuts and numbers it.

    The first piece holds 0.1 s; later ones 0.1 s to 0.5 s, and go out as soon as the engine has given that much. All that
    is finished at once goes in one message. With `from_frame` in the request the frames before it are only summed
    up, in Resumed. `frames` counts the whole segment, at the request's rate. Each mark goes with the message that holds
    its frame; there is none for one behind the last frame.
    """

    def __init__(self, request: Synthesize, emit: Emit, *, own_rate: int, gain: float = 1.0) -> None:
        self.frames = 0
        self._request = request
        self._emit = emit
        self._gain = gain
        self._resampler = Resampler(own_rate, request.sample_rate) if own_rate != request.sample_rate else None
        self._rates = request.sample_rate / own_rate
        self._shortest = request.sample_rate // 10
        self._longest = request.sample_rate // 2
        self._held = np.zeros(0, np.float32)
        self._marks: deque[Mark] = deque()
        self._seq = 0
        self._replaying = request.from_frame is not None
        self._prefix_frames = 0
        self._prefix_crc = 0

    def write(self, samples: Samples, marks: Iterable[Mark] = ()) -> None:
        """Take one array from the engine, shape (frames,), and the marks that came with it; the array stays the engine's.

        Raises `ProviderFailed` if it is not one-dimensional, not of floats, or holds NaN or an infinity.
        """
        sound = checked(samples)
        self._note(marks)
        self._take(self._resampler.write(sound) if self._resampler else sound, last=False)

    def finish(self) -> int:
        """Send what is left; gives the frames of the whole segment."""
        tail = self._resampler.finish() if self._resampler else np.zeros(0, np.float32)
        self._take(tail, last=True)
        return self.frames

    def _note(self, marks: Iterable[Mark]) -> None:
        """Keep the marks, at the request's rate; those before `from_frame` the client has already."""
        scaled = (mark._replace(frame=int(mark.frame * self._rates)) for mark in marks)
        self._marks.extend(mark for mark in scaled if mark.frame >= (self._request.from_frame or 0))

    def _take(self, samples: Samples, *, last: bool) -> None:
        # clip() makes the copy that lets the engine reuse its array while ours waits in a socket.
        samples = np.clip(samples if self._gain == 1.0 else samples * np.float32(self._gain), -1.0, 1.0)
        self.frames += len(samples)
        if self._replaying:
            samples = self._replay(samples, last=last)
        self._cut(samples.astype("<f4", copy=False), last=last)

    def _replay(self, samples: Samples, *, last: bool) -> Samples:
        from_frame = self._request.from_frame or 0
        missing = from_frame - self._prefix_frames
        prefix = samples[:missing]
        self._prefix_crc = crc32(prefix.data, self._prefix_crc)
        self._prefix_frames += len(prefix)
        if last or self._prefix_frames == from_frame:
            self._replaying = False
            self._resumed()
        return samples[missing:]

    def _resumed(self) -> None:
        own = self._request
        self._emit(
            Resumed(
                epoch=own.epoch,
                req=own.req,
                attempt=own.attempt,
                segment=own.segment,
                frames=self._prefix_frames,
                crc32=self._prefix_crc,
            ),
            None,
        )

    def _cut(self, samples: Samples, *, last: bool) -> None:
        ready = np.concatenate((self._held, samples)) if len(self._held) else samples
        first = self.frames - len(ready)
        start = 0
        for lengths in _batches(self._lengths(len(ready), last=last)):
            end = start + sum(lengths)
            self._chunk(ready[start:end], lengths, self._due(first + end))
            start = end
        self._held = ready[start:]

    def _lengths(self, available: int, *, last: bool) -> Iterator[int]:
        length = self._longest if self._seq else self._shortest
        while available >= self._shortest or (last and available):
            piece = min(length, available)
            yield piece
            available -= piece
            length = self._longest

    def _due(self, end: int) -> list[dict[str, Any]] | None:
        """The marks before frame `end`, as the wire has them."""
        due: list[dict[str, Any]] = []
        while self._marks and self._marks[0].frame < end and len(due) < MAX_MARKS:
            due.append(self._marks.popleft()._asdict())
        return due or None

    def _chunk(self, samples: Samples, lengths: list[int], marks: list[dict[str, Any]] | None) -> None:
        payload = samples.data.cast("B")
        own = self._request
        self._emit(
            Chunk(
                epoch=own.epoch,
                req=own.req,
                attempt=own.attempt,
                segment=own.segment,
                seq=self._seq,
                descriptors=list(_descriptors(payload, lengths)),
                marks=marks,
            ),
            payload,
        )
        self._seq += len(lengths)


def checked(samples: Samples) -> Samples:
    """The array as float32. Raises `ProviderFailed` if it is no mono sound."""
    array = np.asarray(samples)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise ProviderFailed(f"the engine gave an array of shape {array.shape} and type {array.dtype}, not mono floats")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ProviderFailed("the engine gave samples that are no numbers (NaN or infinite)")
    return array


def _batches(lengths: Iterable[int]) -> Iterator[list[int]]:
    """Runs of pieces that fit one message."""
    batch: list[int] = []
    for length in lengths:
        if len(batch) == wire.MAX_DESCRIPTORS or (sum(batch) + length) * _FRAME_BYTES > MAX_PAYLOAD:
            yield batch
            batch = []
        batch.append(length)
    if batch:
        yield batch


def _descriptors(payload: memoryview, lengths: list[int]) -> Iterator[tuple[int, int, int, int]]:
    offset = 0
    for length in lengths:
        end = offset + length * _FRAME_BYTES
        yield _INLINE, offset, length, crc32(payload[offset:end])
        offset = end
