"""The provider's part of the death notice: a robust mutex in a page that the daemon shares, held by the I/O thread.

When a thread dies, of whatever cause, the kernel first marks the robust mutexes that it held and wakes who waits for
them; then it frees the process's memory, a tenth of a second for each gigabyte; and only then does it report the exit.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading

# From linux/futex.h. Without this bit the kernel marks the mutex of a dead thread but wakes nobody.
_FUTEX_WAITERS = 0x80000000
# The same in glibc and musl, as is the order of the attributes' setters below.
_SHARED = 1
_ROBUST = 1
# More than any C library takes for the attributes (4 to 8 bytes).
_ROOM = 64


class DeathNotice:
    """Owns the mutex. Made and withdrawn by one thread, whose death it tells; without it the process handle tells."""

    def __init__(self, descriptor: int | None) -> None:
        """`descriptor`, from the start line, is closed, so that nothing the engine starts inherits it."""
        self._mutex = _take(descriptor) if descriptor is not None and sys.platform == "linux" else None

    def withdraw(self) -> None:
        """The thread is about to end, and it is no death."""
        if self._mutex is not None:
            ctypes.CDLL(None).pthread_mutex_unlock(self._mutex)
            self._mutex = None


def _take(descriptor: int) -> ctypes.c_void_p | None:
    """The locked mutex, None where it cannot be had."""
    try:
        page = _map(descriptor)
        return page if _lock(page) else None
    except (OSError, AttributeError):
        # Not the daemon's page, or a C library without robust mutexes.
        return None


def _map(descriptor: int) -> ctypes.c_void_p:
    """The page, mapped for good: an interpreter that shuts down would unmap its own `mmap` before this thread dies."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_ssize_t]
    access = mmap.PROT_READ | mmap.PROT_WRITE
    address = library.mmap(None, mmap.PAGESIZE, access, mmap.MAP_SHARED, descriptor, 0)
    os.close(descriptor)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "cannot map the page")
    return ctypes.c_void_p(address)


def _lock(page: ctypes.c_void_p) -> bool:
    """Through the C library, which keeps each thread's list of robust mutexes: a list of our own would replace its."""
    library = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(_ROOM)
    failed = (
        library.pthread_mutexattr_init(attributes)
        or library.pthread_mutexattr_setpshared(attributes, _SHARED)
        or library.pthread_mutexattr_setrobust(attributes, _ROBUST)
        or library.pthread_mutex_init(page, attributes)
        or library.pthread_mutex_trylock(page)
    )
    return not failed and _ask_for_wake(page)


def _ask_for_wake(page: ctypes.c_void_p) -> bool:
    """The daemon sleeps on the first word, which it may not change. musl keeps the owner elsewhere: there we let go."""
    assert page.value is not None
    word = ctypes.c_uint32.from_address(page.value)
    if word.value != threading.get_native_id():
        ctypes.CDLL(None).pthread_mutex_unlock(page)
        return False
    word.value |= _FUTEX_WAITERS
    return True
