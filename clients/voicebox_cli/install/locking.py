"""One install at a time: a lock that holds for as long as any program of it runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from voicebox_protocol.errors import BadPlace, Refused


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[int]:
    """Hold the lock in the file `path` while the block lasts. Raises `Refused` if another holds it, saying that `what` goes on.

    The descriptor may be passed on to a program: the lock then holds until that one has ended too, however we end.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise BadPlace(f"cannot write {path}: {error.strerror}") from None
    try:
        try:
            _lock(descriptor)
        except OSError:
            raise Refused(f"{what} already, by another process; try again when that has ended") from None
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
