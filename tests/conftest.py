"""For every test: nothing may be left behind, and no outcome may hang on how fast the machine is."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq.utils.garbage
from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

PATIENCE = 20.0


def belongings() -> dict[str, str]:
    """What this process has open, in words by what identifies it: descriptors, threads, child processes."""
    return {**dict(_descriptors()), **dict(_threads()), **dict(_children())}


def _descriptors() -> Iterator[tuple[str, str]]:
    directory = Path("/proc/self/fd")
    for entry in directory.iterdir() if directory.exists() else ():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if not target.startswith(("/dev/null", "/dev/urandom", f"/proc/{os.getpid()}")):
            yield f"descriptor {entry.name} {target}", f"descriptor {entry.name} of {target}"


def _threads() -> Iterator[tuple[str, str]]:
    for thread in threading.enumerate():
        yield f"thread {thread.ident}", f"thread {thread.name}"
    directory = Path("/proc/self/task")
    for entry in directory.iterdir() if directory.exists() else ():
        try:
            yield f"task {entry.name}", (entry / "comm").read_text().strip()
        except OSError:
            continue


def is_leak(name: str, words: str) -> bool:
    """Libraries keep native threads of their own; ZeroMQ's are those of a context that was not ended."""
    return not name.startswith("task") or words.startswith("ZMQ")


def _children() -> Iterator[tuple[str, str]]:
    for child in psutil.Process().children():
        yield f"process {child.pid}", f"process {child.pid}"


@pytest.fixture(scope="session", autouse=True)
def _zero_copy_is_warm() -> None:
    """At the first large message pyzmq starts a thread that it keeps: not what a test leaks."""
    context = zmq.Context()
    with context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://warm")
        other.connect("inproc://warm")
        one.send(bytes(zmq.COPY_THRESHOLD + 1), copy=False)
        other.recv()
    context.term()
    assert zmq.utils.garbage.gc.is_alive()


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaks descriptors (sockets and files with them), threads or processes."""
    before = belongings()
    yield
    # What ends by itself may take a moment; what was leaked stays.
    patient_until = time.monotonic() + PATIENCE
    while left := [words for name, words in belongings().items() if name not in before and is_leak(name, words)]:
        gc.collect()
        if time.monotonic() > patient_until:
            pytest.fail("it left behind: " + ", ".join(sorted(left)))
        time.sleep(0.01)
