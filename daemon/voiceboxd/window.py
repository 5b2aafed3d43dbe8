"""How much sound each session holds that it has not given credit for: pure arithmetic, the lender's book."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

WINDOW_SECONDS = 30.0
WINDOW_BYTES = 4_000_000
PATIENCE = 60.0
BYTES_PER_FRAME = 4


class Window(msgspec.Struct):
    """Owns the loans of one session: which pieces of which request it still holds. What was spoken before its turn is
    `reserved`: it takes up room, and nobody can be blamed for holding it. Times in seconds."""

    credited_at: float
    held_seconds: float = 0.0
    held_bytes: int = 0
    reserved_seconds: float = 0.0
    reserved_bytes: int = 0
    _loans: dict[str, deque[tuple[int, int, int]]] = msgspec.field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether another segment may begin."""
        seconds, size = self.held_seconds + self.reserved_seconds, self.held_bytes + self.reserved_bytes
        return seconds < WINDOW_SECONDS and size < WINDOW_BYTES

    def holds(self, req: str) -> bool:
        """Whether any piece of this request is out."""
        return bool(self._loans.get(req))

    def seconds_of(self, req: str) -> float:
        """How much sound of this request is out."""
        return sum(count / rate for _, count, rate in self._loans.get(req, ()))

    def lend(self, req: str, seq: int, frames: Iterable[int], rate: int, now: float) -> None:
        """Pieces `seq`, `seq` + 1, ... of so many frames each were sent."""
        if not self.held_bytes:
            self.credited_at = now
        loans = self._loans.setdefault(req, deque())
        for offset, count in enumerate(frames):
            loans.append((seq + offset, count, rate))
            self._move(count, rate)

    def reserve(self, frames: int, rate: int) -> None:
        """So many frames wait for their turn; fewer, if negative."""
        self.reserved_bytes += frames * BYTES_PER_FRAME
        self.reserved_seconds = max(0.0, self.reserved_seconds + frames / rate) if self.reserved_bytes else 0.0

    def credit(self, req: str, first: int, last: int, now: float) -> None:
        """The client is done with pieces `first` to `last`; those it never had, or gave back before, do not count."""
        loans = self._loans.get(req)
        if not loans:
            return
        self.credited_at = now
        kept: deque[tuple[int, int, int]] = deque()
        while loans and loans[0][0] <= last:
            seq, count, rate = loans.popleft()
            if seq < first:
                kept.append((seq, count, rate))
            else:
                self._move(-count, rate)
        loans.extendleft(reversed(kept))
        if not loans:
            del self._loans[req]

    def forget(self, req: str) -> None:
        """The request is over; whatever the client still has is its own."""
        for _, count, rate in self._loans.pop(req, ()):
            self._move(-count, rate)

    def forget_all(self) -> None:
        """The session will not be read from any more."""
        for req in list(self._loans):
            self.forget(req)

    def _move(self, frames: int, rate: int) -> None:
        self.held_bytes += frames * BYTES_PER_FRAME
        self.held_seconds = max(0.0, self.held_seconds + frames / rate)
        if not self.held_bytes:
            self.held_seconds = 0.0


def patience_ends(windows: dict[str, Window]) -> float | None:
    """When the session that has held sound for longest without giving credit may be ended; None if nobody holds any."""
    held = [window.credited_at for window in windows.values() if window.held_bytes]
    return min(held) + PATIENCE if held else None


def longest_idle(windows: dict[str, Window], now: float) -> str | None:
    """The session to end when memory is needed: it holds sound and gave no credit for longest, and over `PATIENCE`."""
    idle = [(window.credited_at, session) for session, window in windows.items() if window.held_bytes]
    if not idle:
        return None
    credited_at, session = min(idle)
    return session if now >= credited_at + PATIENCE else None
