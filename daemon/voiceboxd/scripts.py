"""Which words of a text a voice cannot read, by the script of their letters (Unicode's property, by way of `regex`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

_NAMED = 5
_LONGEST = 40


def foreign_words(text: str, scripts: Sequence[str]) -> list[str]:
    """The first few words with a letter outside `scripts` (ISO 15924 codes; none given: the voice reads anything)."""
    if not scripts or (text.isascii() and "Latn" in scripts):
        return []
    return list(_first_few(_pattern(tuple(sorted(scripts))).finditer(text)))


def _first_few(matches: Iterator[Any]) -> Iterator[str]:
    seen: set[str] = set()
    for match in matches:
        word = match.group()[:_LONGEST]
        if word not in seen:
            seen.add(word)
            yield word
        if len(seen) == _NAMED:
            return


@lru_cache(maxsize=32)
def _pattern(scripts: tuple[str, ...]) -> Any:
    import regex

    own = "".join(rf"\p{{Script={code}}}" for code in scripts)
    # Common and Inherited: letters that belong to no script of their own, such as the micro sign and accents.
    return regex.compile(rf"\w*[\p{{L}}--[{own}\p{{Script=Zyyy}}\p{{Script=Zinh}}]]\w*", regex.VERSION1)
