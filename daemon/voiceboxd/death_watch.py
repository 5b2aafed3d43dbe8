"""Hears of a provider's death before its memory is freed, which the kernel does before it reports an exit.

The I/O thread of a provider holds a robust mutex in a page that it shares with us. Of all that a dying process leaves, the
kernel settles these first: within half a millisecond, where the process handle takes a tenth of a second for each
gigabyte. So the memory is *not* free yet when this tells. Linux 5.16 on 64 bits; elsewhere there is only the handle.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

# From linux/futex.h and asm/unistd.h. futex_waitv has one number everywhere, futex has not.
_FUTEX_OWNER_DIED = 0x40000000
_FUTEX_32 = 2
_FUTEX_WAKE = 1
_SYS_FUTEX_WAITV = 449
_SYS_FUTEX = {"x86_64": 202, "aarch64": 98}
# futex_waitv takes 128, and one of them is for changes.
_MOST = 127

# Where /proc/PID/stat has the exit code, counted from the state, which is the third field (proc_pid_stat(5)).
_EXIT_CODE = 52 - 3


class _FutexWaitv(ctypes.Structure):
    """`struct futex_waitv`: sleep while the word at `uaddr` is `val`."""

    _fields_ = (
        ("val", ctypes.c_uint64),
        ("uaddr", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


class DeathPage:
    """Owns a page to share with one provider, whose first word is the mutex's. The provider inherits `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        import fcntl  # which Windows has not

        os.truncate(descriptor, mmap.PAGESIZE)
        # A provider could otherwise shrink the page under us, and looking at it would end the daemon with SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        # Stays mapped as long as somebody may look at the word, the watching thread among them.
        self.word = ctypes.c_uint32.from_buffer(mmap.mmap(descriptor, mmap.PAGESIZE))
        self.descriptor = descriptor

    @classmethod
    def make(cls) -> DeathPage | None:
        """A new one, None where a death notice cannot be had."""
        if sys.platform != "linux" or not _is_supported():
            return None
        try:
            descriptor = os.memfd_create("voicebox-death", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return None
        try:
            return cls(descriptor)
        except OSError:
            os.close(descriptor)
            return None

    def close(self) -> None:
        """Close the descriptor, which only the provider needs. What is mapped stays."""
        os.close(self.descriptor)


class DeathWatch:
    """Owns one thread, there only while there are pages to watch. It sleeps in the kernel on all of them at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[DeathPage, Callable[[], None]] = {}
        # A futex of our own: the thread, which sleeps on it too, wakes when it has counted a change.
        self._changes = ctypes.c_uint32()
        self._running = False

    def watch(self, page: DeathPage, told: Callable[[], None]) -> None:
        """Call `told`, on the watching thread and once, when the provider dies that holds or will hold the mutex."""
        with self._lock:
            if len(self._watched) < _MOST and self._started():
                self._watched[page] = told
                self._wake()

    def forget(self, page: DeathPage) -> None:
        """It does not matter any more."""
        with self._lock:
            if self._watched.pop(page, None) is not None:
                self._wake()

    def _started(self) -> bool:
        """Have the thread; False if there can be none."""
        if not self._running:
            # A daemon thread: whatever happens, no interpreter waits for it.
            thread = threading.Thread(target=self._run, name="voicebox-deaths", daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._running = True
        return self._running

    def _wake(self) -> None:
        self._changes.value += 1
        _syscall(_futex_number(), ctypes.addressof(self._changes), _FUTEX_WAKE, 1, 0, 0, 0)

    # --- everything below runs on the watching thread

    def _run(self) -> None:
        while (words := self._look()) is not None:
            if words and not _sleep(words):
                self._give_up()

    def _look(self) -> list[tuple[ctypes.c_uint32, int]] | None:
        """Tell of the dead. Gives the words to sleep on with their values, nothing if it told, None at the end."""
        with self._lock:
            values = {page: page.word.value for page in self._watched}
            dead = [self._watched.pop(page) for page, value in values.items() if value & _FUTEX_OWNER_DIED]
            words = [(self._changes, self._changes.value), *((page.word, value) for page, value in values.items())]
            self._running = bool(values)
        for told in dead:
            told()
        return None if not values else [] if dead else words

    def _give_up(self) -> None:
        """The kernel will not do it after all. The handles will tell."""
        with self._lock:
            self._watched.clear()


def dying_code(pid: int) -> int | None:
    """What a process that is dying dies of, as `Popen.returncode` will say it; None if that is not known.

    To be called on the watching thread: should the reader be the last to hold the memory, it is the reader who frees it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        status = int(stat[stat.rindex(")") + 2 :].split()[_EXIT_CODE])
        # 0 is also what is shown where nothing is known.
        return os.waitstatus_to_exitcode(status) or None
    except (OSError, ValueError, IndexError):
        return None


def _sleep(words: Sequence[tuple[ctypes.c_uint32, int]]) -> bool:
    """Sleep until somebody is woken on one of the words, or not at all if one has changed. False if that cannot be."""
    waiters = (_FutexWaitv * len(words))(
        *(_FutexWaitv(val=value, uaddr=ctypes.addressof(word), flags=_FUTEX_32) for word, value in words)
    )
    failed = _syscall(_SYS_FUTEX_WAITV, ctypes.addressof(waiters), len(words), 0, 0, 0)
    return failed in (0, errno.EAGAIN, errno.EINTR)


@functools.cache
def _is_supported() -> bool:
    """Whether the kernel knows futex_waitv: it then complains of the arguments."""
    return _futex_number() > 0 and _syscall(_SYS_FUTEX_WAITV, 0, 0, 0, 0, 0) == errno.EINVAL


def _futex_number() -> int:
    return _SYS_FUTEX.get(os.uname().machine, 0) if sys.platform == "linux" and sys.maxsize > 2**32 else 0


def _syscall(*arguments: int) -> int:
    """A system call, without the interpreter's lock; gives its error, 0 for none."""
    result = _library().syscall(*map(ctypes.c_long, arguments))
    return ctypes.get_errno() if result == -1 else 0


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library
