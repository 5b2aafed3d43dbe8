"""Whether a text has anything to speak, and how an error quotes its words."""

from __future__ import annotations

from collections.abc import Iterable

_QUOTED_WORDS = 5
_QUOTED_LETTERS = 40


def speakable(text: str) -> bool:
    """Whether the text holds a letter or a digit; punctuation and emoji alone may be silent."""
    return any(map(str.isalnum, text))


def quoted(words: Iterable[str]) -> str:
    """The first few different words in quotes, as an error names them; overlong ones are cut."""
    different = list(dict.fromkeys(words))
    named = ", ".join(f"“{_cut(word)}”" for word in different[:_QUOTED_WORDS])
    return named + (f" and {len(different) - _QUOTED_WORDS} more" if len(different) > _QUOTED_WORDS else "")


def spoken_words(text: str) -> list[str]:
    """The words of the text that hold a letter or a digit."""
    return [word for word in text.split() if speakable(word)]


def _cut(word: str) -> str:
    return word if len(word) <= _QUOTED_LETTERS else word[:_QUOTED_LETTERS] + "…"
