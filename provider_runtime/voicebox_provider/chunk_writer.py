"""How samples become Chunk messages. No other module of the provider knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from voicebox_protocol import wire
from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voicebox_protocol.errors import ProviderFailed
from voicebox_protocol.schema import Chunk, Message, Resumed, Synthesize
from voicebox_provider.arena import Arena
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

# Half a minute of sound is read while the next half is written; smaller messages cost more on their way than that saves.
_AT_ONCE = 64

_FRAME_BYTES = 4
_INLINE = 0

Descriptor: TypeAlias = tuple[int, int, int, int]
Emit: TypeAlias = Callable[[Message, memoryview | None], None]


class ChunkWriter:
    """Owns one segment's sound on its way out: checks, resamples, scales, clips, cuts and numbers it.

    The first piece holds 0.1 s; later ones 0.1 s to 0.5 s, and go out as soon as the engine has given that much. All that
    is finished at once goes in one message. It lies in the arena as far as that has room, else in the message. With
    `from_frame` in the request the frames before it are only summed up, in Resumed. `frames` counts the whole segment, at
    the request's rate. Each mark goes with the message that holds its frame; there is none for one behind the last frame.
    """

    def __init__(
        self, request: Synthesize, emit: Emit, *, own_rate: int, gain: float = 1.0, arena: Arena | None = None
    ) -> None:
        self.frames = 0
        self._request = request
        self._emit = emit
        self._gain = gain
        self._arena = arena
        self._resampler = Resampler(own_rate, request.sample_rate) if own_rate != request.sample_rate else None
        self._rates = request.sample_rate / own_rate
        self._shortest = min(request.sample_rate // 10, SLOT_FRAMES)
        self._longest = min(request.sample_rate // 2, SLOT_FRAMES)
        self._held = np.zeros(0, np.float32)
        self._marks: deque[Mark] = deque()
        self._state = b""
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

    def keep(self, state: bytes) -> None:
        """Let this travel with the sound that is sent next, a part of it with each message."""
        self._state += state

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
        if self._gain != 1.0:
            samples = samples * np.float32(self._gain)
        self.frames += len(samples)
        if self._replaying:
            samples = self._replay(clipped(samples), last=last)
        self._cut(samples, last=last)

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
        lengths = deque(self._lengths(len(ready), last=last))
        start = 0
        while lengths:
            sent = self._send(ready[start:], lengths, first + start)
            start += sent
        # The engine may use its array again.
        self._held = ready[start:].copy()

    def _lengths(self, available: int, *, last: bool) -> Iterator[int]:
        length = self._longest if self._seq else self._shortest
        while available >= self._shortest or (last and available):
            piece = min(length, available)
            yield piece
            available -= piece
            length = self._longest

    def _send(self, samples: Samples, lengths: deque[int], first: int) -> int:
        """One message with as many pieces as it takes; gives their frames."""
        slots = self._arena.take(min(len(lengths), _AT_ONCE)) if self._arena else []
        batch = [lengths.popleft() for _ in slots] if slots else _batch(lengths)
        frames = sum(batch)
        marks = self._due(first + frames)
        if self._arena and slots:
            self._chunk(in_arena(self._arena, slots, batch, samples[:frames]), marks, None)
        else:
            # A copy of its own waits in the socket.
            payload = clipped(samples[:frames]).data.cast("B")
            self._chunk(list(_descriptors(payload, batch)), marks, payload)
        return frames

    def _due(self, end: int) -> list[dict[str, Any]] | None:
        """The marks before frame `end`, as the wire has them."""
        due: list[dict[str, Any]] = []
        while self._marks and self._marks[0].frame < end and len(due) < MAX_MARKS:
            due.append(self._marks.popleft()._asdict())
        return due or None

    def _chunk(
        self, descriptors: list[Descriptor], marks: list[dict[str, Any]] | None, payload: memoryview | None
    ) -> None:
        own = self._request
        state, self._state = self._state[: wire.MAX_STATE_PART], self._state[wire.MAX_STATE_PART :]
        self._emit(
            Chunk(
                epoch=own.epoch,
                req=own.req,
                attempt=own.attempt,
                segment=own.segment,
                seq=self._seq,
                descriptors=descriptors,
                marks=marks,
                state=state or None,
            ),
            payload,
        )
        self._seq += len(descriptors)


def checked(samples: Samples) -> Samples:
    """The array as float32. Raises `ProviderFailed` if it is no mono sound."""
    array = np.asarray(samples)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise ProviderFailed(f"the engine gave an array of shape {array.shape} and type {array.dtype}, not mono floats")
    with np.errstate(over="ignore", invalid="ignore"):
        array = array.astype(np.float32, copy=False)
        # A sum is finite only if all of it is. One that overflows may still be of finite samples, which few ever are.
        finite = np.isfinite(array.sum()) or np.isfinite(array).all()
    if not finite:
        raise ProviderFailed("the engine gave samples that are no numbers (NaN or infinite)")
    return array


def clipped(samples: Samples) -> Samples:
    """A copy, -1..1, as the wire has samples."""
    return np.clip(samples, -1.0, 1.0).astype("<f4", copy=False)


def in_arena(arena: Arena, slots: list[int], lengths: list[int], samples: Samples) -> list[Descriptor]:
    """Clip pieces of so many frames each into slots of the arena, one into each, and say where they lie."""
    start = at = 0
    for first, pieces, length in _runs(slots, lengths):
        end = start + pieces * length
        source = samples[start:end].reshape(pieces, length)
        np.clip(source, -1.0, 1.0, out=arena.slots[first : first + pieces, :length])
        start, at = end, at + pieces
    return [
        (arena.number, offset, length, crc32(arena.memory[offset : offset + length * _FRAME_BYTES]))
        for offset, length in zip((slot * SLOT_BYTES for slot in slots), lengths, strict=True)
    ]


def _runs(slots: list[int], lengths: list[int]) -> Iterator[tuple[int, int, int]]:
    """Neighbouring slots for pieces of one length: the first slot, how many, the length. Each is written at one go."""
    first, pieces, length = slots[0], 0, lengths[0]
    for slot, own in zip(slots, lengths, strict=True):
        if (slot, own) != (first + pieces, length):
            yield first, pieces, length
            first, pieces, length = slot, 0, own
        pieces += 1
    yield first, pieces, length


def _batch(lengths: deque[int]) -> list[int]:
    """Pieces that fit one message."""
    batch: list[int] = []
    while lengths and len(batch) < wire.MAX_DESCRIPTORS and (sum(batch) + lengths[0]) * _FRAME_BYTES <= MAX_PAYLOAD:
        batch.append(lengths.popleft())
    return batch


def _descriptors(payload: memoryview, lengths: list[int]) -> Iterator[Descriptor]:
    offset = 0
    for length in lengths:
        end = offset + length * _FRAME_BYTES
        yield _INLINE, offset, length, crc32(payload[offset:end])
        offset = end
