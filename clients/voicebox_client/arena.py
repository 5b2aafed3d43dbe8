"""A provider's arena as a client sees it: mapped once, read only, piece by piece.

The mapping is private: what the provider writes shows in it, but a page that this process has written to is its own from then
on. So a piece that somebody keeps for longer than it is lent can be *detached* where it lies: its pages become copies, under
the very views of them that there are. Until then they cannot be written to, for a process that locks its memory would else be
given a copy of each at once, and hear nothing. Loaded with the first arena, for most programs get by without.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
from typing import Any
from weakref import finalize, ref

from voicebox_protocol.arena import SLOT_BYTES, Offer

_Slot = ctypes.c_char * SLOT_BYTES


class Piece:
    """Owns the view of one slot for as long as it is lent. `data` are the bytes."""

    __slots__ = ("_arena", "_offset", "_slot", "data")

    def __init__(self, arena: Arena, offset: int, slot: ctypes.Array[ctypes.c_char], size: int) -> None:
        self._arena = arena
        self._offset = offset
        self._slot = ref(slot)
        # Every view of a view holds the slot: it lives for as long as there is one.
        self.data = memoryview(slot).cast("B")[:size].toreadonly()

    def release(self) -> bool:
        """The slot may be written again: whoever still has a view of it keeps what it shows. False if anybody has."""
        with contextlib.suppress(BufferError):
            self.data.release()
        self.detach()
        return self._slot() is None

    def detach(self) -> None:
        """From now on whatever views of it there are show a copy, which nobody else writes to."""
        slot = self._slot()
        if slot is not None:
            self._arena.detach(self._offset, slot)


class Arena:
    """Owns the mapping. Gone when nobody has a view of it any more."""

    def __init__(self, offer: Offer, descriptor: int) -> None:
        """Takes over the descriptor. Raises `OSError` or `ValueError` if it cannot be mapped."""
        try:
            self._memory = mmap.mmap(descriptor, offer.slots * SLOT_BYTES, access=mmap.ACCESS_COPY)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        # With the last reference at the latest.
        self._close = finalize(self, os.close, descriptor)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._seen: dict[int, ref[Any]] = {}
        self._detached: set[int] = set()
        self._share(0, len(self._memory))

    def piece(self, offset: int, size: int) -> Piece | memoryview:
        """The bytes at `offset`, where a slot begins. Raises `ValueError` if there is no such slot."""
        if offset % SLOT_BYTES or not 0 < size <= SLOT_BYTES or offset < 0:
            raise ValueError(f"{size} bytes at {offset} are no slot of an arena")
        seen = self._seen.get(offset)
        former = seen() if seen is not None else None
        if offset in self._detached and (former is not None or not self._shared_again(offset)):
            # Somebody keeps what was here before, in the pages that this would show.
            return memoryview(os.pread(self._descriptor, size, offset))
        slot = _Slot.from_buffer(self._memory, offset)
        self._seen[offset] = ref(slot)
        return Piece(self, offset, slot, size)

    def detach(self, offset: int, slot: ctypes.Array[ctypes.c_char]) -> None:
        """Make the pages of a slot our own, by writing to each what it holds."""
        _protect(self._address + offset, SLOT_BYTES, mmap.PROT_READ | mmap.PROT_WRITE)
        for page in range(0, SLOT_BYTES, mmap.PAGESIZE):
            slot[page] = slot[page]
        self._detached.add(offset)

    def detach_all(self) -> None:
        """The daemon will not know any more what of it is kept here."""
        for offset, seen in self._seen.items():
            if (slot := seen()) is not None:
                self.detach(offset, slot)

    def close(self) -> None:
        """Nothing more will come from it; views that there are stay valid."""
        self._close()

    def _shared_again(self, offset: int) -> bool:
        """Whether a slot that was detached, and that nobody has a view of, shows what the provider writes again."""
        try:
            self._share(offset, SLOT_BYTES)
        except OSError:
            return False
        self._detached.discard(offset)
        return True

    def _share(self, offset: int, size: int) -> None:
        """Drop copies that there are of these pages, and see that none is made unasked. Raises `OSError`."""
        _protect(self._address + offset, size, mmap.PROT_READ)
        # Locked pages cannot be dropped.
        _library().munlock(ctypes.c_void_p(self._address + offset), ctypes.c_size_t(size))
        self._memory.madvise(mmap.MADV_DONTNEED, offset, size)


def _protect(address: int, size: int, access: int) -> None:
    if _library().mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), access):
        raise OSError(ctypes.get_errno(), "cannot change what may be done with shared memory")


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
