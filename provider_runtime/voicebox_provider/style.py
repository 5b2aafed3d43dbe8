"""Speed, pitch and volume: who does what. The engine within its own range; outside it the runner, to the finished samples."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

import msgspec

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.fit import PITCHES, SPEEDS, VOLUMES
from voicebox_provider.engine import Utterance

Range = tuple[float, float]


class Style(NamedTuple):
    """What is left for the runner; 1 is nothing."""

    speed: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0

    @property
    def stretches(self) -> bool:
        """Whether more has to be done than scaling the samples."""
        return (self.speed, self.pitch) != (1.0, 1.0)


def widened(own: Capabilities) -> Capabilities:
    """The document that Hello publishes: the engine's ranges, made as wide as the runner can, and what it does for that."""
    offers = {"volume": VOLUMES}
    if find_spec("python_stretch"):  # there is no wheel of it for some processors
        offers |= {"speed": SPEEDS, "pitch": PITCHES}
    wide = {name: _union(getattr(own, name), offer) for name, offer in offers.items()}
    done = [name for name in ("speed", "pitch", "volume") if name in wide and wide[name] != getattr(own, name)]
    return msgspec.structs.replace(own, runner=done, **wide)


def shared(wish: Utterance, own: Capabilities) -> tuple[Utterance, Style]:
    """What the engine is asked for, and what the runner does with its samples. Neither factor is ever split."""
    speed, left_speed = _split(wish.speed, own.speed)
    pitch, left_pitch = _split(wish.pitch, own.pitch)
    volume, left_volume = _split(wish.volume, own.volume)
    return replace(wish, speed=speed, pitch=pitch, volume=volume), Style(left_speed, left_pitch, left_volume)


def _union(own: Range | None, offer: Range) -> Range:
    return (min(own[0], offer[0]), max(own[1], offer[1])) if own else offer


def _split(value: float, own: Range | None) -> tuple[float, float]:
    """The engine's factor and the runner's."""
    return (value, 1.0) if own and own[0] <= value <= own[1] else (1.0, value)
