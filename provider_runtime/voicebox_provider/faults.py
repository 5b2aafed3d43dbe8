"""Faults on purpose: what happens and when, in one word each: `sigkill@loading`, `exit:78@idle`, `leak:50@speaking:3`.

    NAME[:ARGUMENT]@PHASE[:ARRAYS]

| name | |
|---|---|
| `sigkill`, `sigsegv`, `sigabrt` | the process dies of that signal |
| `exit:N` | it ends with exit code N, without a word |
| `stop` | it stops itself, as SIGSTOP does |
| `gil:MS` | it holds the interpreter's lock for so long: nothing else of the process runs, heartbeats neither |
| `hang` | the engine does not come back; heartbeats go on |
| `fail` | the engine raises an exception |
| `drop` | the segment ends here, as if it were whole |
| `leak:MB` | so much memory is taken, written to, and kept |

| phase | |
|---|---|
| `hello` | before Hello, while the engine says what it can do |
| `loading` | while it loads |
| `idle` | loaded and without work for 0.2 s |
| `first` | a segment has come, and none of it has been given |
| `speaking:N` | N arrays of a segment have been given; 2 if not said |
| `last` | the last array has been given, and the segment is not done |
| `leaving` | it was asked to leave, and unloads |
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

PHASES = ("hello", "loading", "idle", "first", "speaking", "last", "leaving")
REST_S = 0.2

Way: TypeAlias = Callable[[int], None]

_WORD = re.compile(r"([\w-]+)(?::(\d+))?@(\w+)(?::(\d+))?")
# Until the sound that was given has left through the socket, on a busy machine too.
FLUSH_S = 0.3
_FOREVER_S = 3600.0
_USUAL_ARRAYS = 2
_MEGABYTE = 1_000_000
_SEGMENT = ("first", "speaking", "last")
_AFTER_SOUND = ("speaking", "last")
# Elsewhere it would be nothing that happens.
_ONLY_IN: Mapping[str, tuple[str, ...]] = {
    "drop": ("first", "speaking"),
    "fail": ("hello", "loading", *_SEGMENT, "leaving"),
    "hang": ("hello", "loading", *_SEGMENT, "leaving"),
}

_leaked: list[bytearray] = []


class Dropped(Exception):
    """The segment ends here."""


class Fault(NamedTuple):
    """One fault. `arrays` counts for `speaking`."""

    name: str
    argument: int
    phase: str
    arrays: int


class Faults:
    """Owns what shall go wrong in one engine. With `once`, the path of a flag file, only while that file does not exist: what
    goes wrong makes it first. So a test that makes it puts the fault off, and one that removes it brings it on."""

    def __init__(self, words: Iterable[str], once: str = "", ways: Mapping[str, Way] | None = None) -> None:
        """`ways`: what each name does, `WAYS` if not said. Raises `ValueError` for a word that is none."""
        self._ways = WAYS if ways is None else ways
        self._once = once
        self._faults = [parse(word, self._ways) for word in words]

    def expects(self, phase: str) -> bool:
        """Whether anything may happen in this phase."""
        return any(fault.phase == phase for fault in self._faults)

    def strike(self, phase: str, arrays: int = 0) -> None:
        """Do what goes wrong here, if anything does. Many ways do not come back."""
        for fault in self._faults:
            due = fault.phase == phase and (phase != "speaking" or fault.arrays == arrays)
            if not due or (self._once and Path(self._once).exists()):
                continue
            if phase in _AFTER_SOUND:
                time.sleep(FLUSH_S)
            # Whoever waits for the flag may go on at once: what goes wrong does so in the same moment.
            if self.may_strike():
                self._ways[fault.name](fault.argument)

    def may_strike(self) -> bool:
        """Always; with `once` only for whoever makes the flag file."""
        if not self._once:
            return True
        try:
            Path(self._once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def parse(word: str, ways: Mapping[str, Way] | None = None) -> Fault:
    """One word of the setting. Raises `ValueError` if it is none."""
    known = WAYS if ways is None else ways
    found = _WORD.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is no fault; one is NAME[:ARGUMENT]@PHASE[:ARRAYS]")
    name, argument, phase, arrays = found.groups()
    if name not in known:
        raise ValueError(f"there is no fault {name!r}; there is {', '.join(known)}")
    if phase not in _ONLY_IN.get(name, PHASES):
        raise ValueError(f"there is no {name} in phase {phase!r}; it takes {', '.join(_ONLY_IN.get(name, PHASES))}")
    return Fault(name, int(argument or 0), phase, int(arrays or _USUAL_ARRAYS))


def die(name: str) -> Way:
    """A death, or a stop, by the signal of that name."""

    def by_signal(_: int) -> None:
        with contextlib.suppress(ImportError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), getattr(signal, name, signal.SIGTERM))

    return by_signal


def _exit(code: int) -> None:
    os._exit(code)


def _hold(milliseconds: int) -> None:
    """PyDLL calls without giving the lock away."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(milliseconds)
    else:
        ctypes.PyDLL(None).usleep(milliseconds * 1000)


def _hang(_: int) -> None:
    time.sleep(_FOREVER_S)


def _fail(_: int) -> None:
    raise RuntimeError("as the setting says")


def _drop(_: int) -> None:
    raise Dropped


def _leak(megabytes: int) -> None:
    _leaked.append(bytearray(b"\1") * (megabytes * _MEGABYTE))


WAYS: Mapping[str, Way] = {
    "sigkill": die("SIGKILL"),
    "sigsegv": die("SIGSEGV"),
    "sigabrt": die("SIGABRT"),
    "exit": _exit,
    "stop": die("SIGSTOP"),
    "gil": _hold,
    "hang": _hang,
    "fail": _fail,
    "drop": _drop,
    "leak": _leak,
}
