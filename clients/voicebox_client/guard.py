"""What a Voicebox cannot survive, refused in words: use in a forked child, and use by two threads at once."""

from __future__ import annotations

import os
import threading
from types import TracebackType


class Guard:
    """Owns the right to use one Voicebox; entered for the length of each call on it or its Speeches."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @property
    def forked(self) -> bool:
        """Whether this process is a child of the one that made the Voicebox."""
        return os.getpid() != self._pid

    def __enter__(self) -> None:
        if self.forked:
            raise RuntimeError("this Voicebox was made before a fork: make a new Voicebox in the child")
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("this Voicebox is in use by another call: make one Voicebox for each thread")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Give the right back."""
        self._lock.release()

    def enter_if_free(self) -> bool:
        """Enter unless that would raise, and say which; for finalizers, which run in any thread and in the middle of anything."""
        return not self.forked and self._lock.acquire(blocking=False)
