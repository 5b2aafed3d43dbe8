from __future__ import annotations

import mmap
from collections import deque
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol import wire
from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voicebox_protocol.errors import ProviderFailed
from voicebox_protocol.schema import Chunk, Message, Resumed, Synthesize
from voicebox_provider.arena import Arena
from voicebox_provider.chunk_writer import MAX_MARKS, MAX_PAYLOAD, ChunkWriter, _batch
from voicebox_provider.engine import Mark

RATE = 1000
SHORT, LONG = RATE // 10, RATE // 2

Floats = npt.NDArray[np.float32]


class Outbox:
    """What a writer emitted."""

    def __init__(self, arena: Arena | None = None, *, gives_back: bool = False) -> None:
        self.messages: list[tuple[Message, bytes]] = []
        self.arena = arena
        self.gives_back = gives_back
        self.used: list[int] = []

    def __call__(self, message: Message, payload: memoryview | None) -> None:
        if isinstance(message, Chunk) and self.arena is not None and message.descriptors[0][0]:
            assert payload is None
            self.lay(message, self.arena)
        else:
            self.messages.append((message, bytes(payload or b"")))

    def lay(self, message: Chunk, arena: Arena) -> None:
        """Note what lies in the arena as if it were a payload; and take it from there, as a client does that is done with it."""
        payload, descriptors = b"", []
        for number, offset, frames, crc in message.descriptors:
            slot, rest = divmod(offset, SLOT_BYTES)
            assert (number, rest) == (arena.number, 0)
            piece = bytes(arena.memory[offset : offset + 4 * frames])
            assert crc32(piece) == crc
            descriptors.append((0, len(payload), frames, crc))
            payload += piece
            self.used.append(slot)
            if self.gives_back:
                arena.memory[offset : offset + SLOT_BYTES] = bytes(SLOT_BYTES)
                arena.release([(slot, slot)])
        self.messages.append((msgspec.structs.replace(message, descriptors=descriptors), payload))

    def chunks(self) -> list[tuple[Chunk, bytes]]:
        return [(message, payload) for message, payload in self.messages if isinstance(message, Chunk)]

    def pieces(self) -> list[bytes]:
        return [
            payload[offset : offset + frames * 4]
            for chunk, payload in self.chunks()
            for _, offset, frames, _ in chunk.descriptors
        ]

    def samples(self) -> Floats:
        return np.frombuffer(b"".join(self.pieces()), "<f4")


def memory(slots: int) -> Arena:
    """An arena with so many slots, for one writer."""
    return Arena(7, mmap.mmap(-1, slots * SLOT_BYTES))


def request(rate: int = RATE, from_frame: int | None = None) -> Synthesize:
    return Synthesize(boot="b", epoch=3, req="r", attempt=2, segment=4, seed=1, sample_rate=rate, from_frame=from_frame)


def write(
    arrays: list[Floats], *, rate: int = RATE, own_rate: int = RATE, from_frame: int | None = None, gain: float = 1.0
) -> tuple[Outbox, int]:
    out = Outbox()
    writer = ChunkWriter(request(rate, from_frame), out, own_rate=own_rate, gain=gain)
    for array in arrays:
        writer.write(array)
    return out, writer.finish()


def noise(frames: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, frames).astype(np.float32)


lengths = st.lists(st.integers(0, 3 * LONG), max_size=8)


def cut(whole: Floats, sizes: list[int]) -> list[Floats]:
    ends = np.cumsum(sizes)
    return [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]


@given(sizes=lengths)
def test_pieces_in_order_are_the_whole_segment(sizes: list[int]) -> None:
    whole = noise(sum(sizes))
    out, frames = write(cut(whole, sizes))
    assert frames == len(whole)
    assert np.array_equal(out.samples(), whole)


@given(sizes=lengths)
def test_pieces_keep_the_limits_of_the_wire(sizes: list[int]) -> None:
    out, _ = write(cut(noise(sum(sizes)), sizes))
    counts = [len(piece) // 4 for piece in out.pieces()]
    assert all(0 < count <= LONG for count in counts)
    assert all(count >= SHORT for count in counts[1:-1])
    assert not counts or counts[0] == min(SHORT, sum(sizes))
    for chunk, payload in out.chunks():
        assert len(payload) <= MAX_PAYLOAD
        assert 1 <= len(chunk.descriptors) <= wire.MAX_DESCRIPTORS
        assert sum(frames for _, _, frames, _ in chunk.descriptors) * 4 == len(payload)


@given(sizes=lengths)
def test_pieces_are_numbered_and_summed(sizes: list[int]) -> None:
    out, _ = write(cut(noise(sum(sizes)), sizes))
    seq = 0
    for chunk, payload in out.chunks():
        assert (chunk.epoch, chunk.req, chunk.attempt, chunk.segment, chunk.seq) == (3, "r", 2, 4, seq)
        for arena, offset, frames, crc in chunk.descriptors:
            assert arena == 0
            assert crc == crc32(payload[offset : offset + frames * 4])
        seq += len(chunk.descriptors)


@given(sizes=lengths, from_frame=st.integers(0, 4000))
def test_a_replay_sums_up_the_prefix_and_sends_only_the_rest(sizes: list[int], from_frame: int) -> None:
    whole = noise(sum(sizes))
    out, frames = write(cut(whole, sizes), from_frame=from_frame)
    there = min(from_frame, len(whole))
    resumed = out.messages[0][0]
    assert isinstance(resumed, Resumed)
    assert (resumed.frames, resumed.crc32) == (there, crc32(whole[:there].tobytes()))
    assert sum(isinstance(message, Resumed) for message, _ in out.messages) == 1
    assert np.array_equal(out.samples(), whole[there:])
    assert frames == len(whole)
    assert not out.pieces() or len(out.pieces()[0]) // 4 == min(SHORT, len(whole) - there)


@given(sizes=lengths)
def test_a_request_from_the_beginning_has_no_prefix(sizes: list[int]) -> None:
    out, _ = write(cut(noise(sum(sizes)), sizes))
    assert not any(isinstance(message, Resumed) for message, _ in out.messages)


@given(sizes=lengths, rate=st.sampled_from([800, 1600, 2205]))
def test_resampled_sound_does_not_depend_on_the_engine_s_cuts(sizes: list[int], rate: int) -> None:
    whole = noise(sum(sizes)) * np.float32(0.5)
    out, frames = write(cut(whole, sizes), rate=rate)
    same, _ = write([whole], rate=rate)
    assert np.array_equal(out.samples(), same.samples())
    assert frames == len(out.samples())
    assert abs(frames - len(whole) * rate / RATE) <= 2


def test_sound_goes_out_as_soon_as_there_is_enough() -> None:
    out = Outbox()
    writer = ChunkWriter(request(), out, own_rate=RATE)
    writer.write(noise(SHORT - 1))
    assert out.messages == []
    writer.write(noise(1))
    assert len(out.pieces()) == 1
    writer.write(noise(SHORT))
    assert len(out.pieces()) == 2


def test_what_is_finished_together_goes_in_one_message() -> None:
    out, _ = write([noise(SHORT + 20 * LONG)])
    assert [len(chunk.descriptors) for chunk, _ in out.chunks()] == [21]


@given(sizes=st.lists(st.integers(1, MAX_PAYLOAD // 8), max_size=600))
def test_a_message_holds_no_more_than_it_may(sizes: list[int]) -> None:
    waiting, batches = deque(sizes), []
    while waiting:
        batches.append(_batch(waiting))
    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) <= wire.MAX_DESCRIPTORS and sum(batch) * 4 <= MAX_PAYLOAD for batch in batches)


def test_the_engine_may_use_its_array_again() -> None:
    out: list[memoryview] = []
    writer = ChunkWriter(request(), lambda message, payload: out.append(payload) if payload else None, own_rate=RATE)
    array = np.full(SHORT, 0.5, np.float32)
    writer.write(array)
    array[:] = 0.0
    assert np.frombuffer(out[0], "<f4").min() == 0.5


def test_gain_and_excess_are_clipped() -> None:
    out, _ = write([np.array([0.25, 0.75, -0.75, 1.5], np.float32)], gain=2.0)
    assert out.samples().tolist() == [0.5, 1.0, -1.0, 1.0]
    out, _ = write([np.array([1.5, -7.0], np.float32)])
    assert out.samples().tolist() == [1.0, -1.0]


def test_other_floats_are_converted() -> None:
    out, _ = write([np.array([0.5], np.float64)])  # type: ignore[list-item]
    assert out.samples().tolist() == [0.5]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.array([0.0, np.nan], np.float32), "NaN"),
        (np.array([np.inf], np.float32), "infinite"),
        (np.array([1e300], np.float64), "infinite"),
        (np.zeros((2, 2), np.float32), "shape"),
        (np.array([1, 2], np.int16), "int16"),
    ],
)
def test_what_is_no_sound_is_refused(samples: Floats, words: str) -> None:
    with pytest.raises(ProviderFailed, match=words):
        write([samples])


def mark(frame: int, number: int = 0) -> Mark:
    return Mark(frame, number, number + 1)


def marked(sizes: list[int], marks: list[Mark], *, rate: int = RATE, from_frame: int | None = None) -> Outbox:
    """Sound cut into `sizes`; all marks come with the first array."""
    out = Outbox()
    writer = ChunkWriter(request(rate, from_frame), out, own_rate=RATE)
    writer.write(noise(0), marks)
    for array in cut(noise(sum(sizes)), sizes):
        writer.write(array)
    writer.finish()
    return out


def frames_of(out: Outbox, first: int = 0) -> list[tuple[range, list[int]]]:
    """For each message the frames that it holds, counted in the segment, and those of its marks."""
    found = []
    for chunk, payload in out.chunks():
        held = range(first, first + len(payload) // 4)
        found.append((held, [each["frame"] for each in chunk.marks or []]))
        first = held.stop
    return found


@given(
    sizes=st.lists(st.integers(1, 3 * LONG), min_size=1, max_size=8), places=st.lists(st.integers(0, 5000), max_size=20)
)
def test_each_mark_goes_with_the_message_that_holds_its_frame(sizes: list[int], places: list[int]) -> None:
    marks = [mark(place, number) for number, place in enumerate(sorted(places))]
    out = marked(sizes, marks)
    assert all(frame in held for held, frames in frames_of(out) for frame in frames)
    sent = [each for chunk, _ in out.chunks() for each in chunk.marks or []]
    assert sent == [each._asdict() for each in marks if each.frame < sum(sizes)]


def test_marks_keep_their_moment_at_another_rate() -> None:
    out = marked([2000], [mark(0), mark(500), mark(1999)], rate=1600)
    assert [frame for _, frames in frames_of(out) for frame in frames] == [0, 800, 3198]


def test_a_replay_leaves_out_the_marks_that_the_client_has() -> None:
    out = marked([2000], [mark(0), mark(700), mark(701), mark(1500)], from_frame=701)
    assert [frame for _, frames in frames_of(out, 701) for frame in frames] == [701, 1500]
    assert all(frame in held for held, frames in frames_of(out, 701) for frame in frames)


def test_a_message_holds_no_more_marks_than_it_may() -> None:
    out = marked([SHORT, LONG], [mark(0)] * (MAX_MARKS + 5))
    assert [len(frames) for _, frames in frames_of(out)] == [MAX_MARKS, 5]


def test_sound_without_marks_says_nothing_of_them() -> None:
    out, _ = write([noise(2000)])
    assert all(chunk.marks is None for chunk, _ in out.chunks())


# --- in shared memory


@given(
    sizes=lengths,
    slots=st.integers(1, 30),
    gain=st.sampled_from([1.0, 0.5, 1.7]),
    gives_back=st.booleans(),
    from_frame=st.none() | st.integers(0, 2000),
    own_rate=st.sampled_from([RATE, 800]),
)
def test_sound_is_the_same_whichever_way_it_goes(
    sizes: list[int], slots: int, gain: float, gives_back: bool, from_frame: int | None, own_rate: int
) -> None:
    """In the messages, in the arena, or partly so, as far as that has room: the samples, the pieces and their sums."""
    arrays = cut(noise(sum(sizes)) * np.float32(1.2), sizes)
    inline = Outbox()
    shared = Outbox(memory(slots), gives_back=gives_back)
    counts = []
    for out in (inline, shared):
        writer = ChunkWriter(request(RATE, from_frame), out, own_rate=own_rate, gain=gain, arena=out.arena)
        for array in arrays:
            writer.write(array)
        counts.append(writer.finish())
    assert counts[0] == counts[1]
    assert shared.pieces() == inline.pieces()
    assert gives_back or len(shared.used) == len(set(shared.used)) == min(slots, len(inline.pieces()))

    def pieces(out: Outbox) -> list[tuple[int, int, int]]:
        return [
            (chunk.seq + index, frames, crc)
            for chunk, _ in out.chunks()
            for index, (_, _, frames, crc) in enumerate(chunk.descriptors)
        ]

    assert pieces(shared) == pieces(inline)
    assert [crc for *_, crc in pieces(shared)] == [crc32(piece) for piece in inline.pieces()]


@given(starts=st.lists(st.integers(0, 11), unique=True, max_size=8), frames=st.integers(1, 12 * LONG))
def test_any_slots_that_are_free_will_do(starts: list[int], frames: int) -> None:
    """What comes back comes back in whatever order clients read, with holes."""
    arena = memory(12)
    arena.take(12)
    arena.release([(slot, slot) for slot in starts])
    out = Outbox(arena)
    writer = ChunkWriter(request(), out, own_rate=RATE, arena=arena)
    writer.write(noise(frames))
    writer.finish()
    assert np.array_equal(out.samples(), noise(frames))
    assert out.used == starts[: len(out.pieces())]


@pytest.mark.parametrize("rate", [8000, 24_000, 48_000, 192_000])
def test_no_piece_is_larger_than_a_slot(rate: int) -> None:
    whole = noise(rate)
    out = Outbox(memory(64))
    writer = ChunkWriter(request(rate), out, own_rate=rate, arena=out.arena)
    writer.write(whole)
    writer.finish()
    assert np.array_equal(out.samples(), whole)
    assert max(len(piece) // 4 for piece in out.pieces()) == min(rate // 2, SLOT_FRAMES)


def test_the_engine_may_use_its_array_again_that_went_into_the_arena() -> None:
    arena = memory(4)
    out = Outbox(arena)
    writer = ChunkWriter(request(), out, own_rate=RATE, arena=arena)
    array = np.full(SHORT + SHORT // 2, 0.5, np.float32)
    writer.write(array)
    array[:] = 0.0
    writer.write(array)
    writer.finish()
    assert out.samples()[: len(array)].min() == 0.5
    assert out.samples()[len(array) :].max() == 0.0


def test_an_array_that_is_every_other_sample_of_another_is_taken_as_it_is() -> None:
    """One channel of a stereo array has gaps in memory."""
    stereo = noise(2 * (SHORT + LONG)).reshape(-1, 2)
    out = Outbox(memory(4))
    writer = ChunkWriter(request(), out, own_rate=RATE, arena=out.arena)
    writer.write(stereo[:, 1])
    writer.finish()
    assert np.array_equal(out.samples(), stereo[:, 1])


def test_marks_go_with_the_message_that_holds_their_frame_in_either() -> None:
    marks = [Mark(frame, 0, 1) for frame in (0, SHORT, SHORT + LONG, SHORT + 2 * LONG)]
    out = Outbox(memory(2))
    writer = ChunkWriter(request(), out, own_rate=RATE, arena=out.arena)
    writer.write(noise(SHORT + 3 * LONG), marks)
    writer.finish()
    assert [len(chunk.descriptors) for chunk, _ in out.chunks()] == [2, 2]
    assert [[mark["frame"] for mark in chunk.marks or []] for chunk, _ in out.chunks()] == [
        [0, SHORT],
        [SHORT + LONG, SHORT + 2 * LONG],
    ]
