"""Guards against a model that has lost its way: speech without an end, the same sound over and over, lasting silence.

Qwen3-TTS knows such states and does not leave them by itself: the probability of its end of speech falls to nothing, and
what follows is minutes of noise, up to the checkpoint's own limit (8192 tokens, eleven minutes). All of this is
arithmetic on codes and samples; an engine feeds a `Watch` and tries again with `derived_seed`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

FRAME_MS = 80
"""A frame of 16 codes: the codec makes 12.5 a second, of 1920 samples each."""

PATIENCE_S = 5
"""So long it may repeat itself or be silent. No pause that anybody reads out lasts as long."""

LONGEST_CYCLE = 4
"""In frames. Loops that were seen are of one to three."""

QUIETEST = 10 ** (-60 / 20)
"""-60 dBFS: what lies below is silence, noise of the codec included."""

_SAMPLE_RATE = 24000
_MOST_REPEATED = -(-PATIENCE_S * 1000 // FRAME_MS)
_MOST_QUIET = PATIENCE_S * _SAMPLE_RATE

# What a character may take, as against plain speech: six times for a letter (fifteen make a second), nearly three times for what
# is as wide as a Chinese character and a syllable or more (four to five make one; kana and hangul too), over twice for a digit,
# which may be three syllables (777777 has twenty in German). An instruction may ask for slow speech with long pauses, and
# a false alarm costs a good sentence, while a late one costs seconds: 300 letters get 141 s. In whole milliseconds, so that
# the order of characters makes no difference.
_ONCE_MS = 6000
_LETTER_MS = 450
_WIDE_MS = 600
_DIGIT_MS = 1500


class Degenerate(Exception):
    """The model has lost its way in this attempt. Its words say how; what comes after them is not speech.

    Try again with the seed of the next attempt: with the same one the same would happen.
    """


class Budget(NamedTuple):
    """How many frames a text may take; `is_runaway`: more than that is no speech any more.

    Where it is false the checkpoint's own limit is the lower one: to reach that is an end like any other.
    """

    frames: int
    is_runaway: bool

    @property
    def most(self) -> int:
        """How many frames to ask the model for: where more is a runaway, the first of them, by which the watch can tell."""
        return self.frames + self.is_runaway


def budget(text: str, generation_max: int) -> Budget:
    """The frames for `text` from a checkpoint that makes at most `generation_max` tokens (max_new_tokens, 2 or more).

    Of N tokens N - 1 become frames: the last one is drawn, but never given to the codec.
    """
    most = -(-(_ONCE_MS + sum(map(_milliseconds, text))) // FRAME_MS)
    own = generation_max - 1
    return Budget(min(most, own), is_runaway=most <= own)


def derived_seed(seed: int, attempt: int) -> int:
    """The seed of an attempt, counted from 0: below 2^63, and another one for each. Equal arguments give equal seeds."""
    digest = hashlib.sha256(f"qwen3-tts {seed} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Watch:
    """Owns what one attempt at a segment has come to: how long it is, repeats itself, and has been silent.

    Feed it each frame and each array of samples in order; how the samples are cut does not matter. After `Degenerate`, and
    for another attempt, make a new one.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._frames = 0
        self._past: deque[tuple[int, ...]] = deque(maxlen=LONGEST_CYCLE)
        self._repeated = [0] * LONGEST_CYCLE
        self._quiet = 0

    def frame(self, codes: Sequence[int]) -> None:
        """The codes of the next frame, 16 plain numbers; not the end of speech, which is no frame.

        Raises `Degenerate` for the first frame beyond the budget, and once a cycle of at most 4 frames has filled 5 s.
        """
        self._frames += 1
        if self._budget.is_runaway and self._frames > self._budget.frames:
            raise Degenerate(f"the model found no end of speech within {self._budget.frames * FRAME_MS / 1000:.0f} s")
        frame = tuple(codes)
        for cycle in range(1, LONGEST_CYCLE + 1):
            if self._repeats(frame, cycle) >= _MOST_REPEATED:
                raise Degenerate(f"the model repeated the same {cycle * FRAME_MS} ms of sound for {PATIENCE_S} s")
        self._past.append(frame)

    def samples(self, array: Samples) -> None:
        """The next decoded samples at 24 kHz, shape (n,), -1..1. Raises `Degenerate` once 5 s on end are silent."""
        # By the array's own methods: numpy is not imported here, so that Hello need not wait for it. NaN is not silence.
        loud = (~(abs(array) < QUIETEST)).nonzero()[0]
        if len(loud):
            between = int((loud[1:] - loud[:-1]).max(initial=1)) - 1
            longest = max(self._quiet + int(loud[0]), between)
            self._quiet = len(array) - 1 - int(loud[-1])
        else:
            longest = 0
            self._quiet += len(array)
        if max(longest, self._quiet) >= _MOST_QUIET:
            raise Degenerate(f"the model was silent for {PATIENCE_S} s")

    def _repeats(self, frame: tuple[int, ...], cycle: int) -> int:
        """How many frames, this one included, the cycle fills by now; 0 if it does not hold."""
        holds = len(self._past) >= cycle and self._past[-cycle] == frame
        self._repeated[cycle - 1] = self._repeated[cycle - 1] + 1 if holds else 0
        return self._repeated[cycle - 1] + cycle if holds else 0


def _milliseconds(character: str) -> int:
    if character.isdigit():
        return _DIGIT_MS
    return _WIDE_MS if unicodedata.east_asian_width(character) in "WF" else _LETTER_MS
