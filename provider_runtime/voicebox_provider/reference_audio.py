"""What a recording must be like to be cloned, whichever engine listens to it: arithmetic on its samples and its text."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from voicebox_protocol.errors import BadReference

if TYPE_CHECKING:
    from voicebox_provider.engine import Reference, Samples

PAUSE_S = 0.5
"""So much silence is put behind a recording: without it the model begins with the last syllable that it heard."""

QUIETEST = 10 ** (-60 / 20)
"""-60 dBFS: a recording that is nowhere louder is silent."""

# What a character takes at the very least and at most, in seconds: fifteen letters, or four to five characters as wide as
# Chinese ones, make a second of plain speech. A third of that is slower than anybody reads aloud, and no tongue is thrice as fast.
_LETTER_S = (0.022, 0.25)
_WIDE_S = (0.07, 0.8)
_DIGIT_S = (0.04, 1.5)
# Pauses and noise before and after.
_SLACK_S = 3.0


class Span(NamedTuple):
    """How long it may take to say something, in seconds."""

    least: float
    most: float


def span(text: str) -> Span:
    """How long a text may take to say, with all that anybody's pace and pauses may do to it."""
    spoken = [_seconds(character) for character in text if character.isalnum()]
    return Span(sum(least for least, _ in spoken), _SLACK_S + sum(most for _, most in spoken))


def check(reference: Reference) -> None:
    """Raise `BadReference` for a recording that is silent, or whose text cannot be what is said in it."""
    if not (abs(reference.samples) >= QUIETEST).any():
        raise BadReference("the recording is silent")
    if reference.text is None:
        return
    if not any(map(str.isalnum, reference.text)):
        raise BadReference(
            "the recording's text holds no letter and no digit; leave it out if nobody knows what is said"
        )
    seconds, could = len(reference.samples) / reference.sample_rate, span(reference.text)
    if not could.least <= seconds <= could.most:
        short = "that is too much to say in it" if seconds < could.least else "more must have been said in it"
        raise BadReference(
            f"the text cannot be all that is said in the recording: it has {len(reference.text)} characters, the recording lasts"
            f" {seconds:.1f} s, and {short}; give its words from its beginning to its end, or leave them out"
        )


def with_pause(samples: Samples, sample_rate: int) -> Samples:
    """The samples, shape (frames,), and half a second of silence."""
    import numpy as np

    return np.concatenate((samples, np.zeros(int(PAUSE_S * sample_rate), samples.dtype)))


def _seconds(character: str) -> tuple[float, float]:
    if character.isdigit():
        return _DIGIT_S
    return _WIDE_S if unicodedata.east_asian_width(character) in "WF" else _LETTER_S
