"""A request that another daemon began: it goes on to the very sample, or as it asked for; and lies harm their teller only."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicebox_protocol import errors, schema, wire
from voiceboxd.effects import Effect, ToClient, ToProvider
from voiceboxd.ledger import Ledger
from voiceboxd.request import Assignment
from voiceboxd.resumption import Part, Standing, standing
from voiceboxd.segmentation import Segment, Segmenter

RATE = 8_000
SEED = 7
EXACT = Assignment("exact", "anna", "en", RATE, max_chars=40, streaming=True, deterministic=True, scripts=("Latn",))
WILD = Assignment("wild", "anna", "en", RATE, max_chars=40)
NAMED: dict[str, Any] = {"provider": "exact", "voice": "anna", "seed": SEED, "sample_rate": RATE}

TEXT = "This is the first sentence. And this is the second one. … A third."
PHRASES = st.sampled_from(["Hello there. ", "Dr. Who?\n", "It rains, and then it stops again. ", "x" * 45, "… ", "é. "])
TEXTS = st.lists(PHRASES, min_size=1, max_size=6).map("".join)


def sound_of(order: schema.Synthesize, text: str) -> bytes:
    """What the deterministic provider makes of a segment."""
    dice = random.Random(f"{order.seed} {text}")
    return dice.randbytes(4 * dice.randrange(2, 60))


class Client:
    """One request at a ledger of its own: its client, who has `sound` already, and an honest provider."""

    def __init__(self, text: str, assignment: Assignment = EXACT, sound: bytes = b"", **fields: Any) -> None:
        self.ledger = Ledger("b00t")
        self.sound = bytearray(sound)
        self.told: list[schema.Message] = []
        self.held = 0
        self._assignment = assignment
        self._order: tuple[schema.Synthesize, bytes] | None = None
        self.request = self.ledger.admit(schema.Say(boot="b00t", req="r", **fields), "s", text, SEED, 0.0)

    def speak(self) -> schema.Message:
        """Everything, to the end."""
        self.do(self.ledger.accept(self.request, self._assignment, 0.0))
        while not self.request.ended:
            assert self.request.work is not None
            self.do(self.ledger.dispatch(self.request, self.request.work, 1, 0.0))
            self._answer()
        window = self.ledger.windows["s"]
        assert window.held_bytes == (4 * self.held if isinstance(self.told[-1], schema.Done) else 0)
        assert not self.ledger.in_work(self._assignment.provider, 1)
        assert sum(type(message).__name__ in wire.TERMINAL for message in self.told) == 1
        return self.told[-1]

    def do(self, effects: list[Effect] | None) -> None:
        for effect in effects or ():
            if isinstance(effect, ToProvider) and isinstance(effect.message, schema.Synthesize):
                assert effect.payload is not None
                self._order = (effect.message, bytes(effect.payload))
            elif isinstance(effect, ToProvider):
                assert self._order is not None
                order = self._order[0]
                place = {"epoch": 1, "req": "r", "attempt": order.attempt, "segment": order.segment}
                self.ledger.segment_cancelled("exact", 1, schema.SegmentCancelled(**place))
            elif isinstance(effect, ToClient):
                self._hear(effect)

    def _hear(self, effect: ToClient) -> None:
        schema.encode(effect.message)
        self.told.append(effect.message)
        if isinstance(effect.message, schema.Chunk):
            assert effect.payload is not None
            self.sound += effect.payload
            self.held += len(effect.payload) // 4
        elif isinstance(effect.message, schema.Reset):
            del self.sound[4 * effect.message.frames :]

    def _answer(self) -> None:
        assert self._order is not None
        order, text = self._order
        sound, at, who = sound_of(order, text.decode()), order.from_frame or 0, (self._assignment.provider, 1)
        place = {"epoch": 1, "req": "r", "attempt": order.attempt, "segment": order.segment}
        if at:
            frames = min(at, len(sound) // 4)
            proof = schema.Resumed(**place, frames=frames, crc32=zlib.crc32(sound[: 4 * frames]))
            self.do(self.ledger.resumed(*who, proof, 0.0))
            if self.request.ended or self.request.work is None or self.request.work.attempt != order.attempt:
                return
        if rest := sound[4 * at :]:
            described = [(0, 0, len(rest) // 4, zlib.crc32(rest))]
            self.do(self.ledger.chunk(*who, schema.Chunk(**place, seq=0, descriptors=described), rest, 0.0))
        done = schema.SegmentDone(**place, frames=len(sound) // 4)
        self.do(self.ledger.segment_done(*who, done, 0.0))


def segments_of(text: str, assignment: Assignment = EXACT) -> list[Segment]:
    segmenter = Segmenter("en", assignment.max_chars, shorten_first=not assignment.streaming)
    segmenter.feed(text)
    segmenter.finish()
    return list(iter(segmenter.next, None))


def undisturbed(text: str) -> tuple[bytes, schema.Message, dict[int, tuple[int, int]]]:
    """The whole sound, the end, and for each segment that is spoken where it begins and how many frames it has."""
    client = Client(text)
    end = client.speak()
    places: dict[int, tuple[int, int]] = {}
    base = 0
    for message in client.told:
        if isinstance(message, schema.Chunk):
            frames = sum(count for _, _, count, _ in message.descriptors)
            places[message.segment] = (base, frames)
            base += frames
    return bytes(client.sound), end, places


def from_there(text: str, segment: Segment, base: int, sound: bytes) -> dict[str, Any]:
    """The fields with which a client that has `sound` of a segment goes on there."""
    part = {"from_frame": len(sound) // 4, "crc32": zlib.crc32(sound)} if sound else {}
    return {**NAMED, "from_segment": segment.number, "from_char": segment.start, "base_frames": base, **part}


@settings(max_examples=200)
@given(TEXTS, st.data())
def test_it_goes_on_to_the_very_sample_wherever_it_broke_off(text: str, data: st.DataObject) -> None:
    whole, end, places = undisturbed(text)
    if not places:
        return
    number = data.draw(st.sampled_from(sorted(places)))
    base, frames = places[number]
    had = data.draw(st.sampled_from([0, 1, frames // 2, frames - 1, frames]))
    segment = segments_of(text)[number]
    had_sound = whole[4 * base : 4 * (base + had)]
    client = Client(
        text[segment.start :], sound=whole[: 4 * (base + had)], **from_there(text, segment, base, had_sound)
    )
    again = client.speak()
    assert bytes(client.sound) == whole
    assert isinstance(again, schema.Done)
    assert (again.frames, again.delivered_chars, again.seed) == (end.frames, end.delivered_chars, end.seed)
    assert again.resumed == ("exact" if had else None)
    wordless = sum(not each.speakable for each in segments_of(text)[:number])
    assert again.segments == end.segments + wordless
    chunks = [message for message in client.told if isinstance(message, schema.Chunk)]
    assert [message.seq for message in chunks] == list(range(len(chunks)))
    assert all(message.char_start >= segment.start for message in chunks)


@given(TEXTS, st.data())
def test_the_rest_of_a_text_is_cut_as_within_the_whole(text: str, data: st.DataObject) -> None:
    whole = segments_of(text, WILD)
    at = data.draw(st.sampled_from(whole))
    rest = Segmenter("en", 40, shorten_first=True, number=at.number, position=at.start)
    rest.feed(text[at.start :])
    rest.finish()
    assert list(iter(rest.next, None)) == whole[at.number :]


@pytest.mark.parametrize(
    ("on_failure", "resumed", "kind"),
    [("segment", "segment", "Reset"), ("next", "next", "Notice"), (None, "next", "Notice")],
)
@pytest.mark.parametrize("why", ["another sound", "never the same"])
def test_what_cannot_be_continued_exactly_follows_the_request(
    on_failure: str | None, resumed: str, kind: str, why: str
) -> None:
    whole, _, places = undisturbed(TEXT)
    first, second = segments_of(TEXT)[:2]
    base = places[1][0]
    sound = whole[: 4 * (base + 2)]
    fields = from_there(TEXT, second, base, sound[4 * base :])
    assignment = EXACT
    if why == "another sound":
        fields["crc32"] ^= 1
    else:
        assignment = WILD
    client = Client(TEXT[second.start :], assignment, sound, on_failure=on_failure, **fields)
    end = client.speak()
    assert (type(end).__name__, end.resumed) == ("Done", resumed)
    assert kind in [type(message).__name__ for message in client.told]
    assert end.frames == len(client.sound) // 4
    assert first.end == second.start
    if on_failure == "segment":
        assert bytes(client.sound) == whole
    else:
        assert bytes(client.sound) == sound + whole[4 * sum(places[1]) :]


def test_fail_means_fail() -> None:
    second = segments_of(TEXT)[1]
    fields = from_there(TEXT, second, 10, b"1234")
    end = Client(TEXT[second.start :], WILD, bytes(44), on_failure="fail", **fields).speak()
    assert (type(end).__name__, end.code, end.frames) == ("Failed", "PROVIDER_FAILED", 11)


def test_a_request_of_which_nothing_is_left_is_done() -> None:
    fields = {**NAMED, "from_segment": 3, "from_char": len(TEXT), "base_frames": 500}
    end = Client("", sound=bytes(2000), **fields).speak()
    assert (type(end).__name__, end.frames, end.segments, end.delivered_chars) == ("Done", 500, 3, len(TEXT))


@pytest.mark.parametrize("rest", ["", "… ", "…" * 50 + " And this."])
def test_a_part_of_a_segment_without_words_cannot_be_right(rest: str) -> None:
    fields = {**NAMED, "from_segment": 1, "from_char": 9, "base_frames": 1, "from_frame": 3, "crc32": 5}
    end = Client(rest, sound=bytes(16), **fields).speak()
    assert (type(end).__name__, end.code) == ("Failed", "BAD_REQUEST")
    assert "segment 1" in end.message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"from_char": 3}, "from_char goes with from_segment"),
        ({"base_frames": 3}, "base_frames goes with from_segment"),
        ({"from_frame": 3, "crc32": 1}, "from_frame goes with from_segment"),
        ({"crc32": 0}, "crc32 goes with from_segment"),
        ({"from_segment": 2**31 + 1, "from_char": 2**40}, "from_segment is 2147483649"),
        ({"from_segment": 1, "from_char": 2**53 + 1}, "from_char is"),
        ({"from_segment": 1, "from_char": 5, "base_frames": 2**64 - 1}, "base_frames is"),
        ({"from_segment": 1, "from_char": 5, "from_frame": 2**60, "crc32": 1}, "from_frame is"),
        ({"from_segment": 5, "from_char": 4}, "5 segments before it have more"),
        ({"from_segment": 0, "from_char": 4}, "nothing lies before segment 0"),
        ({"from_segment": 0, "base_frames": 4}, "nothing lies before segment 0"),
        ({"from_segment": 0, "from_frame": 4}, "crc32, that of their samples, is missing"),
        ({"from_segment": 1, "from_char": 5, "crc32": 4}, "crc32 goes with from_frame"),
        *(({"from_segment": 1, "from_char": 5, name: None}, f"{name} is missing") for name in NAMED),
    ],
)
def test_numbers_that_cannot_be_right_are_refused_by_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.BadRequest, match=says):
        standing(schema.Say(boot="b", req="r", **{**NAMED, **fields}))


def test_numbers_that_can_be_right_are_taken() -> None:
    def read(**fields: Any) -> Standing:
        return standing(schema.Say(boot="b", req="r", **fields))

    assert read() == read(from_segment=0) == Standing()
    assert read(**NAMED, from_segment=0, from_frame=5, crc32=9) == Standing(0, 0, 0, Part(5, 9))
    assert read(**NAMED, from_segment=2, from_char=9, base_frames=7) == Standing(2, 9, 7)
    assert read(**NAMED, from_segment=2, from_char=9, base_frames=7, from_frame=3, crc32=0).frames == 10


CLAIMS = st.fixed_dictionaries(
    {
        "from_segment": st.integers(0, 9) | st.just(2**31),
        "from_char": st.integers(0, 99) | st.just(2**53),
        "base_frames": st.integers(0, 99) | st.just(2**53),
    },
    optional={
        "from_frame": st.integers(0, 99) | st.just(2**53),
        "crc32": st.integers(0, 2**32 - 1),
        "on_failure": st.sampled_from(wire.ON_FAILURE),
        "more": st.none(),
    },
)


@settings(max_examples=300)
@given(TEXTS | st.just(""), CLAIMS, st.sampled_from([EXACT, WILD]))
def test_whatever_is_claimed_the_request_ends_once_and_the_books_are_right(
    text: str, claims: dict[str, Any], assignment: Assignment
) -> None:
    try:
        held = standing(schema.Say(boot="b", req="r", **NAMED, **claims))
    except errors.BadRequest:
        return
    client = Client(text, assignment, **NAMED, **claims)
    assert client.request.frames == held.frames
    end = client.speak()
    assert end.frames == client.request.frames
    assert end.delivered_chars <= held.char + len(text)
