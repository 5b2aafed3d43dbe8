"""What was heard of one request: frames, characters, and what is still to be played."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol import schema
from voiceboxd.hearing import Hearing

RATE = 24_000


def chunk(
    seq: int, *frames: int, segment: int = 0, chars: tuple[int, int] = (0, 10), marks: Any = None
) -> schema.Chunk:
    return schema.Chunk(
        boot="b00t",
        req="r",
        attempt=1,
        segment=segment,
        seq=seq,
        descriptors=[(0, 0, count, 0) for count in frames],
        char_start=chars[0],
        char_end=chars[1],
        marks=marks,
    )


def hearing_of(*chunks: schema.Chunk) -> Hearing:
    hearing = Hearing(0, 0)
    for each in chunks:
        hearing.came(each, b"")
    return hearing


def test_nothing_was_heard_of_what_has_not_begun() -> None:
    assert Hearing(0, 0).chars(RATE, whole=False) == 0
    assert hearing_of(chunk(0, 2400)).chars(RATE, whole=False) == 0


def test_without_marks_characters_are_in_proportion_once_a_sentence_is_whole() -> None:
    hearing = hearing_of(chunk(0, 2400, chars=(0, 10)), chunk(1, 2400, segment=1, chars=(10, 30)))
    heard = []
    for frames in (240, 1200, 2400, 3600, 4800):
        hearing.listened(frames)
        heard.append(hearing.chars(RATE, whole=True))
    assert heard == [1, 5, 10, 20, 30]


def test_a_sentence_of_which_a_part_has_been_made_is_not_taken_for_heard() -> None:
    """Of 140 characters a tenth of a second was made, and heard: about a character, not all of them."""
    hearing = hearing_of(chunk(0, 2400, chars=(0, 140)))
    hearing.listened(2400)
    assert hearing.chars(RATE, whole=False) == 1
    assert hearing.chars(RATE, whole=True) == 140


def test_with_marks_it_counts_whole_words() -> None:
    words = [(0, 0, 3), (1000, 4, 9), (2000, 10, 15)]
    marks = [{"frame": frame, "char_start": start, "char_end": end} for frame, start, end in words]
    hearing = hearing_of(chunk(0, 3000, chars=(0, 16), marks=marks))
    heard = []
    for frames in (1, 999, 1000, 1999, 2000, 2999, 3000):
        hearing.listened(frames)
        heard.append(hearing.chars(RATE, whole=True))
    assert heard == [0, 0, 3, 3, 9, 9, 16]


def test_sound_that_is_taken_back_is_not_kept_and_the_next_takes_its_place() -> None:
    hearing = hearing_of(chunk(0, 2400), chunk(1, 1200, segment=1, chars=(10, 20)))
    hearing.listened(3000)
    assert [each.chunk.seq for each in hearing.back_to(2400)] == [1]
    assert (hearing.heard, hearing.end) == (2400, 2400)
    hearing.came(chunk(2, 600, segment=1, chars=(10, 20)), b"")
    assert [(each.start, each.end) for each in hearing.unheard()] == [(2400, 3000)]
    hearing.listened(3000)
    assert hearing.chars(RATE, whole=True) == 20


def test_sound_is_kept_until_its_last_piece_was_heard() -> None:
    hearing = hearing_of(chunk(0, 10, 10), chunk(2, 10))
    hearing.credited(0, 0)
    assert [each.start for each in hearing.kept] == [0, 20]
    hearing.credited(1, 1)
    assert [each.start for each in hearing.kept] == [20]


def test_what_is_taken_back_is_credited_and_what_comes_before_it_stays() -> None:
    """The player credits the pieces that it drops, while earlier ones are still to be heard: without them another player had nothing to
    go on with."""
    hearing = hearing_of(chunk(0, 10), chunk(1, 10, segment=1))
    hearing.back_to(10)
    hearing.came(chunk(2, 10, segment=1), b"")
    hearing.credited(1, 1)
    assert [each.chunk.seq for each in hearing.unheard()] == [0, 2]


def test_what_was_heard_is_let_go_even_if_nobody_could_say_so() -> None:
    hearing = hearing_of(chunk(0, 10), chunk(1, 10))
    hearing.listened(15)
    hearing.let_go()
    assert [each.start for each in hearing.kept] == [10]


def test_a_request_that_another_daemon_began_counts_on() -> None:
    hearing = Hearing(9600, 40)
    assert hearing.heard_all
    hearing.came(chunk(0, 2400, segment=3, chars=(40, 60)), b"")
    assert hearing.unheard()[0].start == 9600
    hearing.listened(10_800)
    assert hearing.chars(RATE, whole=True) == 50


@given(
    frames=st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=4), min_size=1, max_size=8),
    stops=st.lists(st.integers(0, 40_000), max_size=12),
)
def test_what_is_unheard_begins_where_the_listener_is(frames: list[list[int]], stops: list[int]) -> None:
    """Whatever is credited late: a player that is sent it can go on from there, without a gap."""
    hearing, seq = Hearing(0, 0), 0
    for segment, pieces in enumerate(frames):
        hearing.came(chunk(seq, *pieces, segment=segment, chars=(10 * segment, 10 * segment + 10)), b"")
        seq += len(pieces)
    before = 0
    for stop in sorted(stops):
        hearing.listened(stop)
        unheard = hearing.unheard()
        assert hearing.heard == min(stop, hearing.end)
        if unheard:
            assert unheard[0].start <= hearing.heard < unheard[0].end
        else:
            assert hearing.heard_all
        assert all(one.end == other.start for one, other in itertools.pairwise(unheard))
        chars = hearing.chars(RATE, whole=True)
        assert before <= chars <= 10 * len(frames)
        before = chars
    hearing.listened(hearing.end)
    assert hearing.chars(RATE, whole=True) == 10 * len(frames)


@pytest.mark.parametrize("frames", [0, 1])
def test_it_never_hears_more_than_there_is(frames: int) -> None:
    hearing = hearing_of(chunk(0, 2400))
    hearing.listened(2400 + frames)
    assert hearing.heard == 2400
