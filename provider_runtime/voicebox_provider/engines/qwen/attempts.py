"""A segment from frames to sound, whatever computes them: in growing portions, watched, and kept for a successor.

Loads neither torch nor MLX, whose engines share it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from voicebox_protocol.errors import ProviderFailed
from voicebox_provider.engines.qwen import guards, kept

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples, Utterance

Frame: TypeAlias = Sequence[int]
"""Sixteen codes, 80 ms of sound."""

Draw: TypeAlias = Callable[[int, int, Sequence[Frame]], Iterator[Frame]]
"""`draw(seed, most, spoken)`: the frames that follow those spoken already, at most `most` with them."""

# The first sound after one frame, then more and more at once: each portion costs something of its own.
_MOST_AT_ONCE = 8
# Segments that went wrong with their own seed, and are drawn from another from then on.
_REMEMBERED = 256


class Attempts:
    """Owns which segments went astray."""

    def __init__(self) -> None:
        self._strayed: OrderedDict[tuple[str, int], None] = OrderedDict()

    def sound(
        self, utterance: Utterance, budget: guards.Budget, draw: Draw, decode: Callable[[Sequence[Frame]], Samples]
    ) -> Iterator[Samples]:
        """The sound of a segment from its beginning, whatever a predecessor has drawn of it.

        Raises `ProviderFailed` where the model lost its way, and for `kept` that is none: the daemon then has it spoken without that.
        """
        segment = utterance.text, utterance.seed
        attempt, spoken = _kept(utterance.kept) or (int(segment in self._strayed), [])
        if not utterance.kept:
            utterance.keep(kept.first_part(attempt))
        drawn = draw(guards.derived_seed(utterance.seed, attempt), budget.most, spoken)
        try:
            yield from _portions(utterance, guards.Watch(budget), spoken, drawn, decode)
        except guards.Degenerate as fault:
            # The daemon asks for a failed segment once more, and compares what it has of it: it knows when the samples are others.
            self._strayed[segment] = None
            if len(self._strayed) > _REMEMBERED:
                self._strayed.popitem(last=False)
            raise ProviderFailed(str(fault)) from None


def _portions(
    utterance: Utterance,
    watch: guards.Watch,
    spoken: Sequence[Frame],
    drawn: Iterator[Frame],
    decode: Callable[[Sequence[Frame]], Samples],
) -> Iterator[Samples]:
    waiting: list[Frame] = []
    due = 1
    for number, frame in enumerate(chain(spoken, drawn)):
        utterance.progress()
        if utterance.cancelled():
            return
        watch.frame(frame)
        if number >= len(spoken):
            utterance.keep(kept.part([frame]))
        waiting.append(frame)
        if len(waiting) == due:
            yield _watched(watch, decode(waiting))
            waiting, due = [], min(2 * due, _MOST_AT_ONCE)
    if waiting:
        yield _watched(watch, decode(waiting))


def _watched(watch: guards.Watch, sound: Samples) -> Samples:
    watch.samples(sound)
    return sound


def _kept(state: bytes) -> tuple[int, list[tuple[int, ...]]] | None:
    """Which attempt a predecessor was at, and the frames that it drew; None if it left nothing."""
    if not state:
        return None
    try:
        return kept.read(state)
    except ValueError as error:
        raise ProviderFailed(f"what the process before kept cannot be read: {error}") from None
