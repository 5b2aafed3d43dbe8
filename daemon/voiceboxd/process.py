"""Provider processes: starting one in a group of its own with a lifeline, ending it, and ending those of a dead daemon."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc

from voicebox_protocol.startline import StartLine
from voiceboxd.death_watch import DeathPage, DeathWatch, dying_code
from voiceboxd.logs import log

if TYPE_CHECKING:
    import psutil

_LOG_LIMIT = 1_000_000
_TAIL = 5
_TAIL_BYTES = 16_384
_LINE = 300
_START_LINE_S = 5.0

# One thread watches all providers.
_deaths = DeathWatch()


class ProviderProcess:
    """Owns one process: its handle, its lifeline and its log. The group dies with it."""

    def __init__(self, process: anyio.abc.Process, log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start
        self._page: DeathPage | None = None
        self._on_dying: Callable[[str], None] | None = None
        self._facts: psutil.Process | None = None
        self.pid = process.pid

    @classmethod
    async def spawn(
        cls, command: list[str], start: StartLine, log: Path, on_dying: Callable[[str], None] | None = None
    ) -> ProviderProcess:
        """Start `command` and write its start line. Raises `OSError` or `ValueError` if that cannot be done.

        `on_dying`, for our own runner only: called on the event loop with the reason, in words, as soon as it is known
        that the process dies, when its memory is not yet free. At most once, after `spawn` and before `wait` return; not
        at all where the system has no such notice, nor for an orderly end or one whose exit is known as soon.
        """
        page = DeathPage.make() if on_dying is not None else None
        inherited = [] if start.arena_fd is None else [start.arena_fd]
        if page is None or on_dying is None:
            spawned = await cls._open(command, log, *inherited)
            await spawned._tell(start)
            return spawned
        try:
            spawned = await cls._open(command, log, page.descriptor, *inherited)
            await spawned._tell(start._replace(death_fd=page.descriptor))
        finally:
            page.close()
        spawned._watch(page, on_dying)
        return spawned

    @classmethod
    async def _open(cls, command: list[str], log: Path, *descriptors: int) -> ProviderProcess:
        _rotate(log)
        with log.open("ab") as output:
            log_start = output.seek(0, os.SEEK_END)
            process = await anyio.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=descriptors,
            )
        return cls(process, log, log_start)

    async def _tell(self, start: StartLine) -> None:
        """Write the start line."""
        assert self._process.stdin is not None
        try:
            with anyio.fail_after(_START_LINE_S):
                await self._process.stdin.send(start.encode())
        except TimeoutError:
            self.kill()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            # One that died at once has broken the pipe, and its exit code tells more than that. One that lives on
            # without reading will not say Hello.
            pass
        except BaseException:
            self.kill()
            raise

    def _watch(self, page: DeathPage, on_dying: Callable[[str], None]) -> None:
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def told() -> None:
            code = dying_code(self.pid)
            if code is None and _is_reaped(self.pid):
                # A small one may be gone by now, and `wait` knows what of.
                return
            reason = "its process died" if code is None else describe_exit(code)
            with contextlib.suppress(RuntimeError):  # the daemon's loop has ended
                # In our context: in that of the watching thread anyio finds no loop.
                loop.call_soon_threadsafe(self._dying, reason, context=context)

        self._page, self._on_dying = page, on_dying
        _deaths.watch(page, told)

    def _dying(self, reason: str) -> None:
        on_dying, self._on_dying = self._on_dying, None
        if on_dying is not None:
            # One that became another program, or lost its I/O thread, is no provider any more either.
            self.kill()
            on_dying(reason)

    async def wait(self) -> int:
        """Its exit code, once it is gone; then whatever was left of its group is ended too."""
        try:
            code = await self._process.wait()
        finally:
            self._on_dying = None
            if self._page is not None:
                _deaths.forget(self._page)
                self._page = None
        self.kill()
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _kill_group(self.pid)

    def last_words(self) -> str:
        """The last lines that it wrote to its log, and none of its predecessors'."""
        return " | ".join(tail(self._log, self._log_start))[-600:]

    def memory(self) -> int | None:
        """Resident bytes, None if it is gone."""
        import psutil

        try:
            if self._facts is None:
                self._facts = psutil.Process(self.pid)
            return int(self._facts.memory_info().rss)
        except psutil.Error:
            return None


def log_of(directory: Path, provider: str) -> Path:
    """Where a provider's processes write what they have to say."""
    return directory / f"provider-{provider}.log"


def tail(log: Path, start: int = 0) -> list[str]:
    """The last lines of a log, from byte `start` on, each cut to a length that can be shown; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _TAIL_BYTES))
            lines = deque(file, _TAIL)
    except OSError:
        return []
    words = (line.decode(errors="replace").strip()[:_LINE] for line in lines)
    return [line for line in words if line]


def our_runner(python: str | None = None) -> list[str]:
    """The command that runs one of our engines, by the interpreter that has its packages. It sees to it itself that it ends
    with us."""
    # Another interpreter sees what is installed for it, and nothing that was meant for ours.
    return [python, "-I", "-m", "voicebox_provider"] if python else [sys.executable, "-m", "voicebox_provider"]


def leashed(command: list[str]) -> list[str]:
    """The command that runs somebody else's program, and has the kernel end it with us, where the kernel can."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py")), str(os.getpid()), *command]


def _kill_group(pid: int) -> None:
    if sys.platform == "win32":
        import psutil

        psutil.Process(pid).kill()
    else:
        os.killpg(pid, signal.SIGKILL)


def _is_reaped(pid: int) -> bool:
    """Whether a child of ours has been waited for: until then the kernel shows it."""
    return not Path(f"/proc/{pid}").exists()


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

    def __init__(self, path: Path, lost: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._lost = lost
        self._known: dict[int, float] = {}

    def add(self, pid: int) -> None:
        """Remember a process by its id and start time: together they are never reused."""
        import psutil

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
                _kill_group(pid)
        self._write()
        return survivors

    def _read(self) -> dict[int, float]:
        try:
            known: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return {int(pid): float(started) for pid, started in known.items()}
        except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            return {}

    def _write(self) -> None:
        half = self._path.with_suffix(".new")
        try:
            half.write_text(json.dumps(self._known), encoding="utf-8")
            half.replace(self._path)
        except FileNotFoundError:
            # Logging out removes the directory under a daemon that goes on: nobody can reach it any more.
            self._lost()
        except OSError as error:
            # Only a successor of a killed daemon would miss it, and providers watch their lifeline besides.
            log.warning("cannot note the children", error=str(error))


def _is_same(pid: int, started: float) -> bool:
    import psutil

    try:
        return abs(float(psutil.Process(pid).create_time()) - started) < 0.01
    except (psutil.Error, ValueError, OverflowError):
        # The file may hold numbers that no process can have.
        return False
