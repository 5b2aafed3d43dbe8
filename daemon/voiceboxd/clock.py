"""The daemon's monotonic clock, in seconds: that of its event loop, without asking which loop that is."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds, from wherever; only differences mean anything."""
    return time.monotonic()
