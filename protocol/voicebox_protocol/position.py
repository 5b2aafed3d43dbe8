"""How far a loudspeaker's listener is, in a page that its player shares with the daemon: what a killed player can no longer say.

Two slots and a number that says which of them counts; the player fills the other one first, so no reader ever sees half a position.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

_SIZE = 4096
_COUNT = struct.Struct("<Q")
# Frames of the request, frames of the device, bytes of the name, the name.
_SLOT = struct.Struct("<QQH256s")
_SLOTS = (64, 64 + 512)


class Position(NamedTuple):
    """`frames` of the request's timeline were heard, and `device_frames` went to the device since the player began, or, where a file is
    the device, since the file did."""

    req: str
    frames: int
    device_frames: int


class PositionPage:
    """Owns the mapping. One process writes, others read."""

    def __init__(self, path: str) -> None:
        """Map the page at `path`, which is made, for this user alone, if it is not there. Raises `OSError`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                os.truncate(descriptor, _SIZE)
            self._page = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)

    def write(self, position: Position) -> None:
        """Take the place of the position that stood there."""
        count = self._count() + 1
        name = position.req.encode()
        _SLOT.pack_into(
            self._page, _SLOTS[count % 2], position.frames, position.device_frames, len(name), name.ljust(256, b"\0")
        )
        _COUNT.pack_into(self._page, 0, count)

    def read(self) -> Position | None:
        """The position that was written last; None before the first."""
        count = self._count()
        if not count:
            return None
        frames, device_frames, size, name = _SLOT.unpack_from(self._page, _SLOTS[count % 2])
        return Position(name[:size].decode(errors="replace"), frames, device_frames)

    def close(self) -> None:
        """Let go of the page; the file stays."""
        self._page.close()

    def _count(self) -> int:
        return int(_COUNT.unpack_from(self._page, 0)[0])
