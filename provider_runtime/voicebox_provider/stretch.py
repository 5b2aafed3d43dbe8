"""Faster, slower, higher or lower samples, by Signalsmith Stretch (python-stretch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

_SEED = 1
_CLEAR_HZ = 8000
"""Below it harmonics keep their distances when the pitch changes, as Signalsmith advises."""


class Stretcher:
    """Owns a segment's samples until all of them are there: the library stretches them in one go.

    So the output does not depend on how the engine cut its own; each call of the library would begin anew.
    """

    def __init__(self, rate: int, speed: float, pitch: float) -> None:
        from python_stretch.Signalsmith import Stretch  # only for requests that need it

        self._speed = speed
        self._stretch = Stretch(_SEED)
        self._stretch.preset(1, rate)
        self._stretch.setTransposeFactor(pitch, _CLEAR_HZ / rate)
        self._taken: list[Samples] = []

    def write(self, samples: Samples) -> None:
        """Take one array, shape (frames,); the array stays the engine's."""
        self._taken.append(samples.copy())

    def finish(self) -> Samples:
        """The whole segment, exactly 1/`speed` as long to the nearest frame."""
        whole = np.concatenate([np.zeros(0, np.float32), *self._taken])
        frames = round(len(whole) / self._speed)
        if not frames:
            return whole[:0]
        self._stretch.timeFactor = len(whole) / frames
        return np.asarray(self._stretch.process(whole[np.newaxis]), np.float32).ravel()
