"""What a provider's sound must be before it enters the books: pure checks that raise `Violation`."""

from __future__ import annotations

from typing import Any

from voicebox_protocol import schema, wire
from voiceboxd.effects import Violation
from voiceboxd.request import Work
from voiceboxd.window import BYTES_PER_FRAME

_LONGEST_PIECE = 0.5
_MARK_LIMIT = 2**53
# More sound than this for one segment is babble: a voice that never finds its end.
_MOST_SECONDS = 60.0
_SECONDS_PER_CHARACTER = 1.0
# Smaller pieces on average than 20 ms would bury everybody in messages.
_PIECES = 1000
_MOST_MARKS = 512
_PIECES_PER_SECOND = 50.0


def checked_pieces(chunk: schema.Chunk, work: Work, payload: int, rate: int) -> list[int]:
    """The frames of each piece of a provider's chunk, or `Violation`."""
    if work.proof_owed:
        raise Violation("sound before Resumed")
    if chunk.seq != work.seq or chunk.segment != work.segment.number:
        raise Violation(f"piece {chunk.seq} where {work.seq} was due")
    if chunk.state and len(chunk.state) > wire.MAX_STATE_PART:
        raise Violation(f"{len(chunk.state)} bytes of state with one message")
    longest = int(_LONGEST_PIECE * rate) + 1
    total = sum(frames for _, _, frames, _ in chunk.descriptors)
    inline = not chunk.descriptors[0][0]
    if payload != inline * total * BYTES_PER_FRAME:
        raise Violation(f"{payload} bytes of payload for {total} frames")
    seconds = (work.frames + total) / rate
    if seconds > _MOST_SECONDS + _SECONDS_PER_CHARACTER * len(work.segment.text):
        raise Violation(f"{seconds:.0f} s of sound for {len(work.segment.text)} characters")
    if work.seq + len(chunk.descriptors) > _PIECES + _PIECES_PER_SECOND * seconds:
        raise Violation("its pieces are too small")
    for arena, offset, frames, _ in chunk.descriptors:
        if inline and (arena or offset % BYTES_PER_FRAME or offset + frames * BYTES_PER_FRAME > payload):
            raise Violation("a piece lies outside its payload")
        if not 0 < frames <= longest:
            raise Violation(f"a piece of {frames} frames")
    return [frames for _, _, frames, _ in chunk.descriptors]


def marks_in_request(marks: list[dict[str, Any]] | None, work: Work) -> list[dict[str, Any]] | None:
    """A provider's word times, which count from its segment, as they stand in the client's timeline and text."""
    if not marks:
        return None
    if len(marks) > _MOST_MARKS:
        raise Violation(f"{len(marks)} marks in one message")
    return [
        {
            "frame": work.start + _count(mark, "frame"),
            "char_start": work.segment.start + _count(mark, "char_start"),
            "char_end": work.segment.start + _count(mark, "char_end"),
        }
        for mark in marks
    ]


def _count(mark: dict[str, Any], name: str) -> int:
    """A number of a mark. Added to where the segment begins, it must still fit the wire."""
    try:
        number = int(mark[name])
    except (LookupError, TypeError, ValueError, OverflowError):
        raise Violation("a mark without frame, char_start or char_end") from None
    if not 0 <= number < _MARK_LIMIT:
        raise Violation(f"a mark whose {name} is {number}")
    return number
