"""One alarm clock for the daemon: callbacks at points of its monotonic clock, one of which the loop waits for; no polling."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable

import anyio

from voiceboxd.logs import log


class Timer:
    """A callback that may be set to one future moment at a time; setting it again moves it."""

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._callback = callback
        self._at: float | None = None
        self._queued: float | None = None

    def set(self, at: float | None) -> None:
        """Ring at `at`, seconds of `anyio.current_time`; None: not at all."""
        self._at = None if at is None or math.isinf(at) else at
        if self._at is not None and (self._queued is None or self._at < self._queued):
            self._queue(self._at)
        elif self._at is None:
            self._timers.prune()

    def lapsed(self, at: float) -> bool:
        """Whether its entry for `at` means nothing any more; then it is forgotten."""
        if at != self._queued:
            return True
        if self._at is None:
            self._queued = None
        return self._queued is None

    def _queue(self, at: float) -> None:
        self._queued = at
        self._timers.push(at, self)

    def ring(self, at: float) -> None:
        """Called by `Timers`. A moment that was moved to later is queued again only now, so that moving costs nothing."""
        if at != self._queued:
            return
        self._queued = None
        if self._at is not None and self._at > at:
            self._queue(self._at)
        elif self._at is not None:
            self._at = None
            self._callback()


class Timers:
    """Owns the heap, and what the loop is to call when its first entry is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._armed: asyncio.TimerHandle | None = None

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A new timer, not set."""
        return Timer(self, callback)

    def push(self, at: float, timer: Timer) -> None:
        heapq.heappush(self._heap, (at, next(self._count), timer))
        self._arm()

    def prune(self) -> None:
        """Drop what will not ring from the head, so that nobody wakes up for it."""
        while self._heap and self._heap[0][2].lapsed(self._heap[0][0]):
            heapq.heappop(self._heap)
        self._arm()

    async def run(self) -> None:
        """Rings what is due, for ever."""
        self._loop = asyncio.get_running_loop()
        self._arm()
        try:
            await anyio.sleep_forever()
        finally:
            self._loop = None
            self._disarm()

    def _arm(self) -> None:
        first = self._heap[0][0] if self._heap else None
        if self._loop is None or (self._armed is not None and self._armed.when() == first):
            return
        self._disarm()
        if first is not None:
            self._armed = self._loop.call_at(first, self._ring_due)

    def _disarm(self) -> None:
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None

    def _ring_due(self) -> None:
        assert self._loop is not None
        self._armed, now = None, self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            at, _, timer = heapq.heappop(self._heap)
            try:
                timer.ring(at)
            except Exception:
                # One thing that goes wrong at its hour must not stop the clock for all others.
                log.exception("a timer failed")
        self._arm()
