"""The comparison's ear: what counts as sound, as silence and as the first of it; and the page that is made of what was heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import beside_page
from tests.bench.beside_faults import tally
from tests.bench.beside_sound import RATE, SampleClock, Span, extended, first_after, longest_silence, sounding
from tests.bench.claims import Part

WORDS = [Span(1.0, 2.0), Span(2.5, 3.0)]


def test_loud_samples_that_follow_closely_are_one_sound() -> None:
    assert extended([], [1.0, 1.01, 1.02]) == [Span(1.0, 1.02)]
    assert extended([Span(1.0, 1.02)], [1.03, 1.5, 1.51]) == [Span(1.0, 1.03), Span(1.5, 1.51)]


def test_a_sound_that_goes_on_already_is_not_the_first() -> None:
    assert first_after(WORDS, 0.5) == 1.0
    assert first_after(WORDS, 1.5) == 2.5
    assert first_after(WORDS, 2.75) is None


def test_only_sound_after_the_moment_counts() -> None:
    assert sounding(WORDS, 0.0) == pytest.approx(1.5)
    assert sounding(WORDS, 1.5) == pytest.approx(1.0)
    assert sounding(WORDS, 3.5) == 0.0


@pytest.mark.parametrize(
    ("since", "until", "silence"),
    [(1.0, 3.0, 0.5), (1.5, 9.0, 6.0), (0.0, 3.0, 1.0), (2.1, 2.4, 0.3), (1.2, 1.8, 0.0), (4.0, 9.0, 5.0)],
)
def test_the_longest_silence_reaches_from_edge_to_edge(since: float, until: float, silence: float) -> None:
    assert longest_silence(WORDS, since, until) == pytest.approx(silence)


def test_a_block_that_was_read_late_was_not_played_later() -> None:
    clock = SampleClock()
    blocks = [clock.begin(arrived, RATE // 10) for arrived in (10.1, 10.2, 10.38, 10.4)]
    assert blocks == pytest.approx([10.0, 10.1, 10.2, 10.3])


def test_samples_that_were_dropped_are_forgotten_after_a_while() -> None:
    clock = SampleClock()
    clock.begin(10.1, RATE // 10)
    late = [clock.begin(11.2 + n / 10, RATE // 10) for n in range(300)]
    assert late[-1] == pytest.approx(11.1 + 29.9)


def test_words_are_counted_only_where_they_differ() -> None:
    assert tally(["done", "done"]) == "done"
    assert tally(["done", "nothing", "done"]) == "done (2); nothing (1)"


def test_the_page_says_with_what_it_was_measured_and_what_the_other_does_better() -> None:
    part = Part("A table", "How it came about.", ("", "median"), [("it", "1 ms")])
    text = beside_page.text([part], "a day, 5 rounds", ["espeak-ng", "flite"])
    where = [
        text.index(what)
        for what in ("espeak-ng, flite", "> a day, 5 rounds", "## A table", "does better", "not compared")
    ]
    assert where == sorted(where)


def test_the_loudspeaker_s_section_is_replaced_and_outlives_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside_page, "PATH", tmp_path / "rivals.md")
    part = Part("A table", "How it came about.", ("", "median"), [("it", "1 ms")])
    beside_page.write([part], "a day", ["flite"])
    for section in ("no holes\n", "a hole\n"):
        beside_page.write_loudspeaker(section)
    beside_page.write([part], "another day", ["flite"])
    text = beside_page.PATH.read_text()
    assert text.count("a hole") == text.count("> another day") == 1
    assert "no holes" not in text
