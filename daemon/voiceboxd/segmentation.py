"""Cuts text into segments, the unit of scheduling: a pure function of the text, never of when its pieces came.

A segment ends where a sentence does. Whether a full stop ends one is asked of sentencex, which knows the abbreviations
of a few hundred languages, with the segment so far and at most `LOOKAHEAD` characters after the stop: so the decision is
the same for a text that stands complete and for one that is still being written. Nothing is lost and nothing is said
twice: the segments' texts joined are the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

SPLITTER_VERSION = 1

LOOKAHEAD = 32
FIRST_LIMIT = 100
LONGEST = 1000
_FIRST_LEAST = 25
_SHORTEN_SCAN = 16
_CONTEXT = 400

_CLOSERS = "\"'”’»)\\]}」』）】"
# A run of stops with the quotes that close after it. Wide stops need no space behind them.
_STOP = re.compile(
    rf"(?P<wide>[。！？｡]+[{_CLOSERS}]*)|(?P<narrow>[.!?…؟।۔]+[{_CLOSERS}]*(?=\s))|(?P<blank>\n(?=[ \t\r]*\n))"
)
_CLAUSE = re.compile(r"[,;:—–](?=\s)|[，、；：]")
_SPACE = re.compile(r"\s")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_FOREIGN_SPACE = re.compile(r"[^\S \n]")
_WORD = re.compile(r"\s+\S+(?=\s)")


class Segment(NamedTuple):
    """Piece `number` of the text, from 0: characters `start` to `end` of it. `speakable` if it holds a letter or a digit."""

    number: int
    text: str
    start: int
    end: int

    @property
    def speakable(self) -> bool:
        return has_words(self.text)


def has_words(text: str) -> bool:
    """Whether there is anything to say: a letter or a digit of any script."""
    return _LETTER_OR_DIGIT.search(text) is not None


class Segmenter:
    """Owns the text of one request that is not cut yet. `max_chars` is the voice's longest segment; beyond `LONGEST`
    no voice gets one, because a segment is also the unit of fairness and of being said again.

    Where the cuts before a segment were does not matter to those after it: with `number` and `position`, which its first
    segment then gets, the rest of a text is cut as it is within the whole.
    """

    def __init__(
        self, language: str, max_chars: int, *, shorten_first: bool, number: int = 0, position: int = 0
    ) -> None:
        self._language = language.partition("-")[0].lower() or "en"
        self._max = min(max_chars, LONGEST)
        self._shorten = shorten_first and self._max > FIRST_LIMIT
        self._text = ""
        self._offset = 0
        self._position = position
        self._index = number
        self._finished = False

    @property
    def exhausted(self) -> bool:
        """Whether the text has ended and all of it was handed out."""
        return self._finished and self._offset == len(self._text)

    @property
    def position(self) -> int:
        """Characters handed out so far."""
        return self._position

    def shorten(self, max_chars: int) -> None:
        """Somebody goes on who takes no longer segments than this: what is not cut yet is cut for him."""
        self._max = min(self._max, max_chars)

    def unread(self, segments: Sequence[Segment]) -> None:
        """Take the last segments that were handed out back, in their order: they are cut again."""
        self._text = "".join(segment.text for segment in segments) + self._text[self._offset :]
        self._offset = 0
        self._index, self._position = segments[0].number, segments[0].start

    def feed(self, text: str) -> None:
        """More text, in pieces of any size."""
        self._text = self._text[self._offset :] + text
        self._offset = 0

    def finish(self) -> None:
        """The text has ended."""
        self._finished = True

    def next(self) -> Segment | None:
        """The next segment, or None: its end is not certain before more text comes, or the text has ended."""
        window = self._text[self._offset : self._offset + self._max + LOOKAHEAD]
        final = self._finished and self._offset + len(window) == len(self._text)
        length = self._measure(window, final)
        if not length:
            return None
        segment = Segment(self._index, window[:length], self._position, self._position + length)
        self._offset += length
        self._position += length
        self._index += 1
        return segment

    def _measure(self, window: str, final: bool) -> int | None:
        if not window:
            return None
        if not has_words(window[: self._max]):
            return self._wordless(window, final)
        if self._shorten and self._index == 0:
            length = self._sentence(window, FIRST_LIMIT, final)
            if length is None or length > 0:
                return length
            if clause := _first_clause(window):
                return clause
        length = self._sentence(window, self._max, final)
        if length is None or length > 0:
            return length
        return _forced_cut(window, self._max)

    def _wordless(self, window: str, final: bool) -> int | None:
        """A run of nothing but marks and spaces is cut by length alone: nobody will hear where."""
        if len(window) > self._max:
            return self._max
        return len(window) if final else None

    def _sentence(self, window: str, limit: int, final: bool) -> int | None:
        """Length of the first sentence, or of a shorter rest; 0: longer than `limit`; None: not certain yet."""
        first = _LETTER_OR_DIGIT.search(window)
        for stop in _STOP.finditer(window, first.end() if first else limit, min(len(window), limit + LOOKAHEAD)):
            if stop.end() > limit:
                break
            verdict = self._ends_sentence(window, stop, final)
            if verdict is None:
                return None
            if verdict:
                # One white space goes with the sentence: no more, so that nobody waits for the end of a run.
                return min(stop.end() + (stop.lastgroup == "narrow"), limit)
        if len(window) > limit:
            return 0
        return len(window) if final else None

    def _ends_sentence(self, window: str, stop: re.Match[str], final: bool) -> bool | None:
        if stop.lastgroup == "blank":
            return True
        if stop.lastgroup == "wide":
            return True if stop.end() < len(window) or final else None
        following = self._following(window, stop.end(), final)
        return None if following is None else self._ask(window[: stop.end()], following)

    def _following(self, window: str, end: int, final: bool) -> str | None:
        """What comes after a stop, as far as the decision may look; None if that has not come yet."""
        if window[end] == "\n":
            # A line that ends with a stop is judged by itself: whoever types a line wants to hear it now.
            return "\nThen"
        ahead = window[end : end + LOOKAHEAD]
        if word := _WORD.match(ahead):
            return word.group()
        return ahead if final or len(ahead) == LOOKAHEAD else None

    def _ask(self, head: str, following: str) -> bool:
        if not following.strip():
            return True
        head = head[-_CONTEXT:]
        position = 0
        for sentence in _sentences(self._language, head + following):
            position += len(sentence)
            if position >= len(head):
                return position <= len(head) + len(following) - len(following.lstrip())
        return False


def _sentences(language: str, text: str) -> list[str]:
    """What sentencex makes of a text. Of white space it gets none but spaces and line ends: others make it panic."""
    import sentencex

    try:
        return list(sentencex.segment(language, _FOREIGN_SPACE.sub(" ", text)))
    except BaseException as error:
        # A panic in Rust comes as a BaseException of its own. The whole is then one sentence, always the same way.
        if type(error).__name__ != "PanicException":
            raise
        return [text]


def _first_clause(window: str) -> int:
    """Where the first clause of a long first sentence ends, 0 if nowhere near: the first sound comes sooner so."""
    for mark in _CLAUSE.finditer(window, _FIRST_LEAST, FIRST_LIMIT):
        if has_words(window[: mark.end()]):
            return mark.end()
    return 0


def _forced_cut(window: str, limit: int) -> int:
    """Where to cut a sentence longer than `limit`: after a clause, else at a space, else between two letters."""
    least = limit // 3
    for pattern in (_CLAUSE, _SPACE):
        cuts = [mark.end() for mark in pattern.finditer(window, least, limit)]
        if cuts:
            return cuts[-1]
    cut = limit
    while cut > limit - _SHORTEN_SCAN and _joins(window[cut]):
        cut -= 1
    return cut


def _joins(character: str) -> bool:
    """Whether a character belongs to the one before it: combining marks, joiners, variation selectors."""
    return unicodedata.combining(character) > 0 or unicodedata.category(character) in ("Mn", "Me", "Cf")
