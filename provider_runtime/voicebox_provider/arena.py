"""The provider's arena: shared memory that it writes its sound into, and which slots of it are free."""

from __future__ import annotations

import mmap
import os
import sys
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voicebox_protocol.startline import StartLine

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples


class Arena:
    """Owns the mapping, and the numbers of the slots that may be written. Slots are taken on the engine's thread and come
    back on the link's."""

    def __init__(self, number: int, memory: mmap.mmap) -> None:
        self.number = number
        self.memory = memoryview(memory)
        self._free = deque(range(len(memory) // SLOT_BYTES))
        self._slots: Samples | None = None

    def take(self, most: int) -> list[int]:
        """As many free slots as there are, at most so many."""
        taken: list[int] = []
        while self._free and len(taken) < most:
            taken.append(self._free.popleft())
        return taken

    def release(self, ranges: Iterable[tuple[int, int]]) -> None:
        """These slots, numbers first to last, are free again."""
        for first, last in ranges:
            self._free.extend(range(first, last + 1))

    @property
    def slots(self) -> Samples:
        """The memory as samples, shape (slots, SLOT_FRAMES)."""
        if self._slots is None:
            # Not before Hello has left: numpy comes in with the runner.
            import numpy as np

            self._slots = np.frombuffer(self.memory, "<f4").reshape(-1, SLOT_FRAMES)
        return self._slots


def open_arena(start: StartLine) -> Arena | None:
    """The arena that the start line names, mapped and taken up page by page, so that no sound waits for memory; None if there is
    none, or not enough memory for it. Its descriptor is closed, so that nothing the engine starts inherits it."""
    if start.arena_fd is None:
        return None
    try:
        size = start.arena_slots * SLOT_BYTES
        # Told as an error here; without this, a page that cannot be had would be a SIGBUS later.
        os.posix_fallocate(start.arena_fd, 0, size)
        return Arena(start.arena, mmap.mmap(start.arena_fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sound travels in the messages, for there is no shared memory: {error}\n")
        return None
    finally:
        os.close(start.arena_fd)
