"""How much time is left for the whole suite."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Counts down `seconds` from now, by any clock that only goes forward."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._began = clock()
        self._end = self._began + seconds

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self.now() - self._began

    def share(self, wanted: float) -> float:
        """`wanted` seconds, or what is left if that is less; never below 0."""
        return max(0.0, min(wanted, self._end - self.now()))

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.share(1.0) == 0.0
