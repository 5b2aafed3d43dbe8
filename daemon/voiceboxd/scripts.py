"""Which words of a text a voice cannot read, by the script of their letters (Unicode's property, by way of `regex`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

# Codes of ISO 15924 that stand for several of Unicode's scripts, or for a variant of one.
_COMPOUND = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Hrkt": ("Hira", "Kana"),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Jamo": ("Hang",),
    "Hanb": ("Hani", "Bopo"),
}
_NAMED = 5
_LONGEST = 40


def foreign_words(text: str, scripts: Sequence[str]) -> list[str]:
    """The first few words with a letter outside `scripts` (ISO 15924 codes; none that is known: the voice reads anything)."""
    if not scripts or (text.isascii() and "Latn" in scripts):
        return []
    pattern = _pattern(tuple(sorted(scripts)))
    return list(_first_few(pattern.finditer(text))) if pattern else []


def quoted(words: Sequence[str]) -> str:
    """Words as an error names them."""
    return ", ".join(f"“{word}”" for word in words)


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

    codes = [code for script in scripts for code in _COMPOUND.get(script, (script,))]
    own = [rf"\p{{Script={code}}}" for code in codes if _is_script(code)]
    if not own:
        return None
    # Common and Inherited: letters that belong to no script of their own, such as the micro sign and accents.
    # A match begins where a word does; else a long word of the voice's own would be searched from each of its letters.
    return regex.compile(rf"(?<!\w)\w*[\p{{L}}--[{''.join(own)}\p{{Script=Zyyy}}\p{{Script=Zinh}}]]\w*", regex.VERSION1)


def _is_script(code: str) -> bool:
    """Whether Unicode has a script of this code."""
    import regex

    if not (len(code) == 4 and code.isascii() and code.isalpha()):
        return False
    try:
        regex.compile(rf"\p{{Script={code}}}")
    except regex.error:
        return False
    return True
