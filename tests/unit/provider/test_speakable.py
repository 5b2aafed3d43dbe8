from __future__ import annotations

from voicebox_provider.speakable import quoted, speakable, spoken_words


def test_letters_and_digits_of_any_script_are_speakable() -> None:
    assert all(map(speakable, ("a", "7", "é", "日本", "ǅ", "½", "?!x")))
    assert not any(map(speakable, ("", " ", "?!…", "😀", "—", "_")))


def test_only_words_with_something_to_speak_are_named() -> None:
    assert spoken_words("Grüße, 😀 — 5!") == ["Grüße,", "5!"]


def test_an_error_names_the_first_words_once() -> None:
    assert quoted(["a", "b", "a"]) == "“a”, “b”"
    assert quoted("abcdefg") == "“a”, “b”, “c”, “d”, “e” and 2 more"
    assert len(quoted(["x" * 5000])) < 50
