"""From a segment's text to the pieces that espeak-ng reads whole, and back from its words to the text's.

espeak-ng 1.52 drops in silence what does not fit its tables. What that is, found by trying: the end of a word of more than 160 bytes, 200
phonemes or 32 digits, and of a clause of more than 1,000 phonemes; everything after a NUL; numbers in languages whose dictionary
has none. Here such words are cut by a space, and what still found no sound is named.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from voicebox_provider.engine import Mark
from voicebox_provider.engines.espeak_library import Word

_WORD_WEIGHT = 60
_WORD_BYTES = 140
_PIECE_WEIGHT = 300
_PIECE_BYTES = 600
_HEAVY = 3
_HEAVY_CATEGORIES = ("Lu", "N", "P", "S")
"""A capital, digit or sign is read as a word or a name of several phonemes, where other letters have one or two."""

_RUN = re.compile(r"\S+|\s+")
_SENTENCE_END = re.compile(r"(?:[!?。！？…]|(?<=\w{5})\.)[\"'”’»)]*\s+")
_LAST_END = re.compile(r"[.!?。！？…][\"'”’»)]*\s*\Z")
"""A full stop counts only after a longer word, because shorter ones may be abbreviations that espeak knows and reads on."""


class Piece(NamedTuple):
    """What is spoken in one call. `places[i]` is where character i stands in the segment; `pause`: a sentence ends here."""

    text: str
    places: list[int]
    pause: bool


def pieces(text: str) -> Iterator[Piece]:
    """The text cut at sentences and, where a sentence is very long, between words. No letter is lost."""
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        yield from _sentence(text, start, end)
        start = end


def marks(words: Iterable[Word], piece: Piece, first_frame: int, behind: int) -> Iterator[Mark]:
    """espeak's events as marks. It has one for each word it says, so for a number several: the first one counts.

    `behind` is where the last mark ended, in the segment.
    """
    for word in words:
        letters = range(max(0, word.position), min(word.position + word.length, len(piece.places)))
        spoken = [piece.places[index] for index in letters if piece.text[index].isalnum()]
        if spoken and spoken[0] >= behind:
            behind = spoken[-1] + 1
            yield Mark(first_frame + word.frame, spoken[0], behind)


def lost_words(piece: Piece, found: Iterable[Mark]) -> list[str]:
    """The words with letters if none of them was marked, and likewise those with digits; espeak marks whatever it says."""
    heard = {place for mark in found for place in range(mark.char_start, mark.char_end)}
    for kind in (str.isalpha, str.isdecimal):
        wanted = {place for place, letter in zip(piece.places, piece.text, strict=True) if kind(letter)}
        if wanted and not wanted & heard:
            return [word for word in piece.text.split() if any(map(kind, word))]
    return []


def foreign_words(text: str, scripts: Sequence[str]) -> list[str]:
    """The words with a letter outside the scripts (none: every script is read). espeak would say `Chinese letter` for it."""
    if not scripts or text.isascii():
        return []
    found: list[str] = _foreign(tuple(scripts)).findall(text)
    return found


@lru_cache(maxsize=8)
def _foreign(scripts: tuple[str, ...]) -> Any:
    import regex

    own = "".join(rf"\p{{Script={script}}}" for script in (*scripts, "Zyyy", "Zinh"))
    return regex.compile(rf"(?<!\w)\w*[\p{{L}}--[{own}]]\w*", regex.VERSION1)


def _sentence(text: str, start: int, end: int) -> Iterator[Piece]:
    """One sentence in as few pieces as it may have."""
    letters: list[str] = []
    places: list[int] = []
    for first, last in _words(text, start, end):
        word = text[first:last].replace("\0", " ")
        if letters and _is_long("".join(letters) + word, _PIECE_WEIGHT, _PIECE_BYTES):
            yield Piece("".join(letters), places, pause=False)
            letters, places = [], []
        elif letters and not (letters[-1].isspace() or word[0].isspace()):
            letters.append(" ")
            places.append(first)
        letters += word
        places += range(first, last)
    if letters:
        yield Piece("".join(letters), places, pause=bool(_LAST_END.search(text, start, end)))


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of letters, and of spaces, none of them longer than espeak reads."""
    for run in _RUN.finditer(text, start, end):
        first = run.start()
        while first < run.end():
            last = _fitting(text, first, run.end())
            yield first, last
            first = last


def _fitting(text: str, first: int, end: int) -> int:
    """How far a word may go: to its end, else to the last sign in it, else as far as espeak reads."""
    last = end
    if _is_long(text[first:end], _WORD_WEIGHT, _WORD_BYTES):
        last = first + 1
        while not _is_long(text[first : last + 1], _WORD_WEIGHT, _WORD_BYTES):
            last += 1
        signs = [index for index in range(first + 1, last) if _is(text[index - 1], "P", "S")]
        last = signs[-1] if signs else last
        while last > first + 1 and _is(text[last], "M"):
            last -= 1  # a vowel or tone sign stays with its letter
    return last


def _is_long(text: str, weight: int, size: int) -> bool:
    if len(text) * _HEAVY <= weight and len(text) * 4 <= size:
        return False
    heavy = sum(_is(letter, *_HEAVY_CATEGORIES) for letter in text)
    return len(text) + heavy * (_HEAVY - 1) > weight or len(text.encode()) > size


def _is(letter: str, *categories: str) -> bool:
    """Whether Unicode puts the letter in one of these categories."""
    return unicodedata.category(letter).startswith(categories)
