"""Provider processes: starting one in a group of its own with a lifeline, ending it, and ending those of a dead daemon."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import psutil

from voicebox_protocol.startline import StartLine

_LOG_LIMIT = 1_000_000
_TAIL = 5


class ProviderProcess:
    """Owns one process: its handle, its lifeline and its log. The group dies with it."""

    def __init__(self, process: anyio.abc.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    @classmethod
    async def spawn(cls, command: list[str], start: StartLine, log: Path) -> ProviderProcess:
        """Start `command` and write its start line. Raises `OSError` if that cannot be done."""
        _rotate(log)
        with log.open("ab") as output:
            process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        assert process.stdin is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            # A process that died at once has broken the pipe; its exit code tells more than that.
            await process.stdin.send(start.encode())
        return cls(process, log)

    async def wait(self) -> int:
        """Its exit code, once it is gone; then whatever was left of its group is ended too."""
        code = await self._process.wait()
        self.kill()
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The last lines of its log."""
        try:
            with self._log.open("r", encoding="utf-8", errors="replace") as file:
                return " | ".join(line.strip() for line in deque(file, _TAIL) if line.strip())[-600:]
        except OSError:
            return ""

    def memory(self) -> int | None:
        """Resident bytes, None if it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None


def our_runner() -> list[str]:
    """The command that runs one of our engines."""
    return [sys.executable, "-m", "voicebox_provider"]


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"it was killed by {signal.Signals(-code).name}"
        return f"it was killed by signal {-code}"
    return f"it exited with code {code}"


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))


class Children:
    """Owns `children.json` in the runtime directory: which processes are ours, so that a successor can end survivors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[int, float] = {}

    def add(self, pid: int) -> None:
        """Remember a process by its id and start time: together they are never reused."""
        with contextlib.suppress(psutil.Error):
            self._known[pid] = psutil.Process(pid).create_time()
            self._write()

    def remove(self, pid: int) -> None:
        if self._known.pop(pid, None) is not None:
            self._write()

    def reap_survivors(self) -> list[int]:
        """End what a dead daemon left behind; gives the process ids."""
        survivors = [pid for pid, started in self._read().items() if _is_same(pid, started)]
        for pid in survivors:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._write()
        return survivors

    def _read(self) -> dict[int, float]:
        try:
            known: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return {int(pid): float(started) for pid, started in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write(self) -> None:
        half = self._path.with_suffix(".new")
        half.write_text(json.dumps(self._known), encoding="utf-8")
        half.replace(self._path)


def _is_same(pid: int, started: float) -> bool:
    try:
        return abs(float(psutil.Process(pid).create_time()) - started) < 0.01
    except (psutil.Error, ValueError, OverflowError):
        # The file may hold numbers that no process can have.
        return False
