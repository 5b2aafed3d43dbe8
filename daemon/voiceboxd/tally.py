"""Counts of what was dropped: stale, malformed, forged. Shown in `status` under `dropped`."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Owns the counters."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, what: str) -> None:
        self._counts[what] += 1

    def snapshot(self) -> dict[str, int]:
        return dict(self._counts)
