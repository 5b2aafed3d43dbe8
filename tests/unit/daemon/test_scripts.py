"""Which words a voice cannot read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceboxd.scripts import foreign_words


@pytest.mark.parametrize(
    ("text", "scripts", "words"),
    [
        ("Hello, naïve café 3µm!", ["Latn"], []),
        ("Привет, world, 日本語", ["Latn"], ["Привет", "日本語"]),
        ("Привет, world", ["Latn", "Cyrl"], []),
        ("Привет", [], []),
        ("e\u0301te\u0301", ["Latn"], []),
        ("1234 … 🎉 ٣", ["Latn"], []),
        ("日本語です", ["Jpan"], []),
        ("汉字", ["Hans"], []),
        ("漢字", ["Hant"], []),
        ("한국어 漢字", ["Kore"], []),
        ("ひらがなカタカナ", ["Hrkt"], []),
        ("日本語", ["Hrkt"], ["日本語"]),
        ("Hello мир", ["Jpan", "Latn"], ["мир"]),
        ("half-Ελληνικά", ["Latn"], ["Ελληνικά"]),
        ("mixедword", ["Latn"], ["mixедword"]),
    ],
)
def test_words_with_a_letter_of_another_script_are_named(text: str, scripts: list[str], words: list[str]) -> None:
    assert foreign_words(text, scripts) == words


def test_a_few_are_enough_each_once_and_shortened() -> None:
    text = " ".join(["Да", "Да", "Нет", "Ж" * 100, "Один", "Два", "Три", "Четыре"])
    assert foreign_words(text, ["Latn"]) == ["Да", "Нет", "Ж" * 40, "Один", "Два"]


@pytest.mark.parametrize("code", ["Qaaa", "Xxxx", "}", "La}tn", "", "]", "Latn}--[a", "INF", "1/0"])
def test_a_code_that_nobody_knows_forbids_nothing(code: str) -> None:
    assert foreign_words("Привет", [code]) == []


def test_an_unknown_code_beside_a_known_one_does_not_weaken_it() -> None:
    assert foreign_words("Привет", ["Latn", "Qaaa"]) == ["Привет"]


@given(st.text(max_size=200), st.lists(st.text(max_size=6), max_size=3))
def test_whatever_a_provider_lists_the_words_are_of_the_text(text: str, scripts: list[str]) -> None:
    assert all(word in text for word in foreign_words(text, scripts))


def test_a_word_without_end_is_read_once() -> None:
    """Twelve thousand letters took 1.7 s when each of them began a search of its own."""
    assert foreign_words("日" * 200_000, ["Hani"]) == []
