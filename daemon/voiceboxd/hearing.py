"""What one request for the loudspeaker has sounded like: the sound that was not heard yet, and how far its listener is. Pure books.

All frames count in the request's own timeline, at its own rate.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import msgspec

from voicebox_protocol import schema

# What a voice says in a second, for where a sentence ends that is still being made.
_CHARS_PER_S = 14.0


class Kept(NamedTuple):
    """A chunk that the player has, or will have, and that was not heard to its end; `start` and `frames` of the timeline."""

    chunk: schema.Chunk
    payload: bytes
    start: int
    frames: int

    @property
    def end(self) -> int:
        return self.start + self.frames

    @property
    def last_seq(self) -> int:
        return self.chunk.seq + len(self.chunk.descriptors) - 1


class Span(msgspec.Struct):
    """One segment's place in the timeline and in the text; `end` grows while its sound comes."""

    segment: int
    start: int
    end: int
    char_start: int
    char_end: int
    marks: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Hearing:
    """Owns the sound of one request from when it is made until it is heard."""

    def __init__(self, frames: int, chars: int) -> None:
        """So much of it stands before the first sound that will come."""
        self.end = frames
        self.heard = frames
        self.kept: deque[Kept] = deque()
        self.underruns = 0
        self._chars = chars
        self._spans: deque[Span] = deque()

    @property
    def heard_all(self) -> bool:
        """Whether all that came was heard."""
        return self.heard >= self.end

    def came(self, chunk: schema.Chunk, payload: bytes) -> Kept:
        """Sound came, in one piece or several, and is kept."""
        frames = sum(count for _, _, count, _ in chunk.descriptors)
        kept = Kept(chunk, payload, self.end, frames)
        self.kept.append(kept)
        if not self._spans or self._spans[-1].segment != chunk.segment:
            self._spans.append(
                Span(chunk.segment, self.end, self.end, chunk.char_start or self._chars, chunk.char_end or self._chars)
            )
        self.end += frames
        self._spans[-1].end = self.end
        self._spans[-1].marks += chunk.marks or []
        return kept

    def back_to(self, frames: int) -> list[Kept]:
        """What comes next takes the place of what stood beyond `frames`; gives the sound that goes."""
        gone = [kept for kept in self.kept if kept.start >= frames]
        self.kept = deque(kept for kept in self.kept if kept.start < frames)
        self._spans = deque(span for span in self._spans if span.start < frames)
        if self._spans:
            self._spans[-1].end = min(self._spans[-1].end, frames)
        self.end = frames
        self.heard = min(self.heard, frames)
        return gone

    def listened(self, frames: int) -> None:
        """So much of the timeline was heard."""
        self.heard = min(frames, self.end)
        while len(self._spans) > 1 and self._spans[0].end <= self.heard:
            self._chars = self._spans.popleft().char_end

    def credited(self, first: int, last: int) -> None:
        """The player is done with these pieces, which need not be the first that are kept: a reset takes later ones away."""
        done = [kept.end for kept in self.kept if first <= kept.last_seq <= last]
        self.kept = deque(kept for kept in self.kept if not first <= kept.last_seq <= last)
        self.listened(max([self.heard, *done]))

    def let_go(self) -> None:
        """What was heard to its end is not kept any more, whether or not the player could still say so."""
        self.kept = deque(self.unheard())

    def unheard(self) -> list[Kept]:
        """What a player that knows nothing of it has to be sent."""
        return [kept for kept in self.kept if kept.end > self.heard]

    @property
    def place(self) -> Span | None:
        """The segment that is being heard; None before the first sound."""
        return self._spans[0] if self._spans else None

    def chars(self, rate: int, *, whole: bool) -> int:
        """Characters of the text that were heard: to the word where there are marks, else in proportion. `whole`: all sound has come."""
        span = self.place
        if span is None:
            return self._chars
        complete = whole or len(self._spans) > 1
        if complete and self.heard >= span.end:
            return span.char_end
        if self.heard <= span.start:
            return span.char_start
        if span.marks:
            return _marked(span, self.heard)
        length = span.char_end - span.char_start
        expected = span.end - span.start
        if not complete:
            expected = max(expected, int(length / _CHARS_PER_S * rate))
        return span.char_start + length * (self.heard - span.start) // expected


def _marked(span: Span, heard: int) -> int:
    """One past the last word that was heard to its end: another has begun since."""
    ended = [
        mark["char_end"] for mark, after in zip(span.marks, span.marks[1:], strict=False) if after["frame"] <= heard
    ]
    return int(max(ended, default=span.char_start))
