"""Processes that a part of the bench starts: each has an owner that ends it, and ends by itself when the owner dies.

One that answers gives a line of JSON for each line that asks, until its standard input ends; one that only serves has the kernel
kill it with its parent, and writes a line once it is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from select import select
from typing import Any, NamedTuple

import psutil

PATIENCE_S = 120.0
# The peers go on for a moment after the client has its answer; that is work for the request too.
_AFTERMATH_S = 0.005


class Reading(NamedTuple):
    """Milliseconds of one request: on the clock until all of it was read, and of processors, of every process concerned."""

    wall: float
    cpu: float


class Child:
    """Owns one process; `ask` it what its `serve` knows."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def ask(self, what: str, **details: Any) -> Any:
        """What it answers. Raises `RuntimeError` if it ended, or took too long."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, **details}) + "\n")
        self._process.stdin.flush()
        return json.loads(self.line())

    def line(self) -> str:
        """The next line that it writes."""
        assert self._process.stdout is not None
        ready = select([self._process.stdout], [], [], PATIENCE_S)[0]
        line = self._process.stdout.readline() if ready else ""
        if not line:
            fate = f"ended with {self._process.wait(10)}" if ready else f"said nothing for {PATIENCE_S:g} s"
            raise RuntimeError(f"{' '.join(map(str, self._process.args))}: {fate}")  # type: ignore[arg-type]
        return line


@contextmanager
def child(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    """`python -m tests.bench.MODULE`, ended afterwards."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()


# --- in the child


def serve(**answers: Callable[..., Any]) -> None:
    """Answer each line until there are no more."""
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(answers[asked.pop("what")](**asked)), flush=True)


def timed(work: Callable[[], object], others: Sequence[int]) -> Reading:
    """Do it once; `others` are the processes that have a part in it besides this one."""
    before = sum(map(cpu_ns, others))
    own, begun = time.process_time_ns(), time.perf_counter_ns()
    work()
    wall, own = time.perf_counter_ns() - begun, time.process_time_ns() - own
    time.sleep(_AFTERMATH_S if others else 0)
    return Reading(wall / 1e6, (own + sum(map(cpu_ns, others)) - before) / 1e6)


# --- what the kernel knows of a process


def cpu_ns(pid: int) -> int:
    """Nanoseconds of processors that all threads of a process have had, those that ended included (Linux): the clock that
    clock_getcpuclockid(3) names. The ticks of /proc/PID/stat are too coarse for one request."""
    return time.clock_gettime_ns((~pid << 3) | 2)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Whatever is started in here shares one core, because where the scheduler puts two processes changes what a message between
    them costs by more than is measured."""
    free = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(free)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, free)


def cores(pids: Sequence[int]) -> set[int]:
    """On which cores they may run, with all their threads."""
    threads = [thread.id for pid in pids for thread in psutil.Process(pid).threads()]
    return {core for thread in threads for core in os.sched_getaffinity(thread)}
