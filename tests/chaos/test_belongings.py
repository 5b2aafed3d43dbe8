"""What is kept is found: a descriptor, a thread, a shared mapping, a child. Else an empty list would prove nothing."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading

import pytest

from tests.chaos.belongings import belongings, too_much
from tests.chaos.crowd import Memory


def test_nothing_is_too_much_of_nothing() -> None:
    before = belongings(os.getpid())
    assert not too_much(before, belongings(os.getpid()))


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_whatever_is_kept_is_named() -> None:
    before, over = belongings(os.getpid()), threading.Event()
    descriptor = os.memfd_create("kept")
    os.truncate(descriptor, mmap.PAGESIZE)
    page = mmap.mmap(descriptor, mmap.PAGESIZE)
    thread = threading.Thread(target=over.wait)
    thread.start()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = " ".join(too_much(before, belongings(os.getpid())))
    finally:
        over.set()
        thread.join()
        page.close()
        os.close(descriptor)
        child.communicate(b"\n")
    for kept in (
        "descriptors: 2 more /memfd:kept",
        "threads: 1 more",
        "shared: 1 more /memfd:kept",
        f"process {child.pid}",
    ):
        assert kept in found, kept


def test_a_slope_is_that_of_the_line_and_not_of_the_warm_up() -> None:
    memory = Memory(os.getpid())
    memory.samples = [(0.0, 0), *((float(second), 1_000_000 + 500 * second) for second in range(1, 30))]
    assert memory.slope() == pytest.approx(500)
