"""Other programs, asked within a deadline: whatever they do, the answer comes in time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

# One that hangs in the kernel outlives SIGKILL, and nobody waits for it.
_REAP_S = 1.0


class Said(NamedTuple):
    """How it ended (None: it was not done in time) and what it wrote to either output."""

    code: int | None
    out: str
    err: str


class Asked:
    """One program at work, in a process group of its own. `answer` ends it in any case."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it; raises `OSError` if that cannot be done."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=sys.platform != "win32",
        )

    def answer(self, timeout: float) -> Said:
        """What it said within `timeout` seconds."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._kill()
            return Said(None, "", "")
        return Said(self._process.returncode, out, err)

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=_REAP_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
