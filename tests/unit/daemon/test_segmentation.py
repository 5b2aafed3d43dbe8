"""Segmentation: nothing lost, nothing twice, the same on every replay."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceboxd.segmentation import LOOKAHEAD, Segment, Segmenter, has_words

PIECES = st.sampled_from(
    [
        "Hello", "Dr.", "Smith", " ", "\n", "\n\n", ". ", "! ", "?", "...", "e.g. ", "3.14", ", ", "; ", "“Yes.” ", "he said",
        "日本語です。", "」", "元気？", "🎉", "x" * 70, "e\u0301", "don't ", "U.S. ", "\t", "a. b. C. ", "—", ")", "\u200d",
        "A\u3000. ", "D\u2028.", "\xa0", "Plan B\u2009. ",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=300)
LIMITS = st.integers(min_value=20, max_value=400)


def cut(pieces: list[str], max_chars: int, *, shorten_first: bool = True, language: str = "en") -> list[Segment]:
    segmenter = Segmenter(language, max_chars, shorten_first=shorten_first)
    segments = []
    for piece in pieces:
        segmenter.feed(piece)
        segments += list(iter(segmenter.next, None))
    segmenter.finish()
    segments += list(iter(segmenter.next, None))
    assert segmenter.exhausted
    return segments


@given(TEXTS, LIMITS, st.booleans())
def test_nothing_is_lost_and_nothing_said_twice(text: str, limit: int, shorten: bool) -> None:
    segments = cut([text], limit, shorten_first=shorten)
    assert "".join(segment.text for segment in segments) == text
    assert [segment.number for segment in segments] == list(range(len(segments)))
    ends = [0, *(segment.end for segment in segments)]
    assert all(segment.start == end for segment, end in zip(segments, ends, strict=False))
    assert all(segment.end - segment.start == len(segment.text) <= limit for segment in segments)


@settings(max_examples=300)
@given(TEXTS, LIMITS, st.booleans(), st.data())
def test_the_cuts_do_not_depend_on_when_the_text_came(
    text: str, limit: int, shorten: bool, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=40)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    assert cut(pieces, limit, shorten_first=shorten) == cut([text], limit, shorten_first=shorten)


@given(TEXTS, LIMITS)
def test_only_a_last_segment_or_an_endless_one_may_have_no_words(text: str, limit: int) -> None:
    for segment in cut([text], limit)[:-1]:
        assert segment.speakable or len(segment.text) > limit - LOOKAHEAD


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith went home. He slept.", ["Dr. Smith went home. ", "He slept."]),
        ("One.\n\nTwo", ["One.\n", "\nTwo"]),
        ("A title\n\nThe text.", ["A title\n", "\nThe text."]),
        ("wrapped at\nforty letters. Next one.", ["wrapped at\nforty letters. ", "Next one."]),
        ("It costs 3.14 dollars. Really?", ["It costs 3.14 dollars. ", "Really?"]),
        ("“Stop!” she said. He did.", ["“Stop!” she said. ", "He did."]),
        ("日本語です。元気ですか？", ["日本語です。", "元気ですか？"]),
        ("...", ["..."]),
        ("", []),
        ("   ", ["   "]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [segment.text for segment in cut([text], 400)] == expected


def test_a_line_that_ends_with_a_stop_is_certain_at_once() -> None:
    segmenter = Segmenter("en", 400, shorten_first=True)
    segmenter.feed("Build finished.\n")
    assert segmenter.next() == Segment(0, "Build finished.\n", 0, 16)


def test_a_long_first_sentence_is_shortened_at_a_clause_and_a_short_one_is_not() -> None:
    long = "When the rain had stopped at last, " + "the children went out into the garden to look for snails " * 3 + "."
    assert cut([long], 400)[0].text == "When the rain had stopped at last,"
    assert len(cut([long], 400, shorten_first=False)) == 1
    assert len(cut(["When the rain had stopped at last, we left."], 400)) == 1


def test_a_word_of_five_thousand_letters_is_cut_not_truncated() -> None:
    segments = cut(["x" * 5000], 400)
    assert len(segments) == 13
    assert sum(len(segment.text) for segment in segments) == 5000


def test_a_cut_never_parts_a_letter_from_its_accents() -> None:
    segments = cut(["e\u0301" * 50], 21, shorten_first=False)
    assert all(not segment.text.startswith("\u0301") for segment in segments)


@pytest.mark.parametrize(("text", "words"), [("!?…", False), ("🎉 🎉", False), ("٣", True), ("ß", True), ("", False)])
def test_words_are_letters_and_digits_of_any_script(text: str, words: bool) -> None:
    assert has_words(text) is words
