"""How fast each provider makes sound, from what it made: what a repetition would cost a listener. Pure arithmetic."""

from __future__ import annotations

# Weight of the newest segment: about the last five count.
_NEWEST = 0.3


class Pace:
    """Owns, for each provider, the seconds that a second of its sound takes, smoothed."""

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}

    def note(self, provider: str, took: float, sound: float) -> None:
        """A segment of `sound` seconds took so many seconds, from being asked for to its end."""
        if sound > 0:
            before = self._factors.get(provider, took / sound)
            self._factors[provider] = before + _NEWEST * (took / sound - before)

    def needed(self, provider: str, sound: float) -> float:
        """Seconds that so much sound will take, 0 if nothing is known yet."""
        return sound * self._factors.get(provider, 0.0)
