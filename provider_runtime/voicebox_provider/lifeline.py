"""The provider's tie to its daemon: it never outlives it.

Two ties, for two faults. The lifeline is standard input: its end of file means that the daemon is gone, on every platform.
On Linux the kernel also kills the process when its parent dies, which works even while the process is stopped.
"""

from __future__ import annotations

import os
import select
import sys

from voicebox_protocol.startline import StartLine

STDIN = 0

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_LONGEST_START_LINE = 1024 * 1024


def die_with_parent() -> None:
    """Ask the kernel (Linux only) to kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def is_orphan(parent_pid: int) -> bool:
    """Whether the parent died before `die_with_parent` could take hold. Unknown on Windows, where launchers stand between."""
    return sys.platform != "win32" and os.getppid() != parent_pid


def read_start_line(timeout: float, source: int = STDIN) -> StartLine:
    """The start line from the lifeline, within `timeout` seconds for each part of it.

    Raises `ValueError` for anything else, `EOFError` if the daemon went away first, `TimeoutError`.
    """
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _LONGEST_START_LINE:
            raise ValueError(f"no start line within {_LONGEST_START_LINE} bytes")
        line += _read(source, timeout)
    return StartLine.decode(line)


def is_cut(source: int = STDIN) -> bool:
    """Whether the lifeline, found readable, is at its end. The daemon writes nothing more that would matter."""
    try:
        return not os.read(source, 4096)
    except OSError:
        return True


def _read(source: int, timeout: float) -> bytes:
    # select() takes no pipes on Windows; there the daemon's own deadline for Hello has to do.
    if sys.platform != "win32" and not select.select([source], [], [], timeout)[0]:
        raise TimeoutError(f"no start line within {timeout:g} s")
    part = os.read(source, 65536)
    if not part:
        raise EOFError("standard input ended before the start line")
    return part
