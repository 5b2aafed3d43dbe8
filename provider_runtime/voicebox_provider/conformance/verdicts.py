"""What a check can come to, and the paragraphs of docs/protocol.md that the checks stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

START = "A provider's conversation 1."
HELLO = "A provider's conversation 2."
READY = "A provider's conversation 3."
ANSWERS = "A provider's conversation 4."
REPEATS = "A provider's conversation 5."
CANCELS = "A provider's conversation 6."
BEATS = "A provider's conversation 7."
LEAVES = "A provider's conversation 8."
LASTS = "A provider's conversation 9."
CLONES = "A provider's conversation 11."
MESSAGES = "Messages"
TEXT = "Text"
CHUNKS = "Chunks and credit"
DOCUMENT = "The capability document"
SYNTHESIZE = "Synthesize"


class Broken(Exception):
    """The provider broke a paragraph; the text says what was seen."""

    def __init__(self, paragraph: str, seen: str) -> None:
        super().__init__(seen)
        self.paragraph = paragraph


class Skipped(Exception):
    """There is nothing to check; the text says why."""


class Breach(NamedTuple):
    """A rule that a message broke, kept for the check that answers for it."""

    check: str
    paragraph: str
    seen: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's outcome. `result` is ok, broken or skipped; `seconds` how long it took."""

    check: str
    result: str
    paragraph: str | None
    seen: str
    seconds: float
