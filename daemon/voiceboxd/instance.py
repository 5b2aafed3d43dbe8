"""One daemon a runtime directory: a lock held for life. Taken before any socket is bound, because a second `ipc://` bind
on the same path succeeds and steals it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class AlreadyRunning(Exception):
    """Another daemon holds the lock. The message names its process id."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"a daemon is already running here (pid {pid}); stop it with: voicebox daemon stop")
        self.pid = pid


class InstanceLock:
    """Owns the lock file, which holds our process id; the system frees the lock when we die, however that is."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(self._descriptor)
        except OSError:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            pid = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise AlreadyRunning(pid) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another daemon start."""
        os.close(self._descriptor)

    def __enter__(self) -> InstanceLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        # Beyond the process id, so that others can read it while the lock is held.
        os.lseek(descriptor, 64, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
