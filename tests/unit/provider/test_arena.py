"""The provider's side of shared memory: which slots are free, and what there is where memory is scarce."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voicebox_protocol.startline import StartLine
from voicebox_provider.arena import open_arena

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory without a name is Linux's")

SLOTS = 5


def start_line(descriptor: int | None, slots: int = SLOTS) -> StartLine:
    return StartLine("ipc:///x", "p", 1, "t", 2, "builtin", arena_fd=descriptor, arena=9, arena_slots=slots)


def given_memory(slots: int = SLOTS) -> int:
    descriptor = os.memfd_create("voicebox-test")
    os.ftruncate(descriptor, slots * SLOT_BYTES)
    return descriptor


def test_slots_are_taken_in_turn_and_come_back() -> None:
    arena = open_arena(start_line(given_memory()))
    assert arena is not None
    assert arena.number == 9
    assert arena.take(2) == [0, 1]
    arena.release([(1, 1)])
    assert arena.take(99) == [2, 3, 4, 1]
    assert arena.take(1) == []
    arena.release([(0, 2), (4, 4)])
    assert arena.take(99) == [0, 1, 2, 4]


def test_what_is_written_in_a_slot_lies_where_the_slot_begins() -> None:
    descriptor = given_memory()
    kept = os.dup(descriptor)
    arena = open_arena(start_line(descriptor))
    assert arena is not None
    assert arena.slots.shape == (SLOTS, SLOT_FRAMES)
    arena.slots[3, :2] = [1.0, -1.0]
    assert os.pread(kept, 8, 3 * SLOT_BYTES) == b"\0\0\x80\x3f\0\0\x80\xbf"
    assert os.fstat(kept).st_blocks * 512 >= SLOTS * SLOT_BYTES, "all of it is there before the first sound"
    os.close(kept)


def test_nothing_that_the_engine_starts_inherits_the_memory() -> None:
    """The daemon gives the descriptor as one that is inherited."""
    descriptor = given_memory()
    os.set_inheritable(descriptor, True)
    arena = open_arena(start_line(descriptor))
    assert arena is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    ours = [name for name in os.listdir("/proc/self/fd") if "voicebox-test" in _target(name)]
    assert not any(os.get_inheritable(int(name)) for name in ours)


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


def test_who_is_given_none_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert open_arena(start_line(None)) is None
    assert capsys.readouterr().err == ""


SCARCE = """
import os, resource
from voicebox_protocol.startline import StartLine
from voicebox_provider.arena import open_arena
descriptor = os.memfd_create("voicebox-test")
os.ftruncate(descriptor, 200 * {slot})
own = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (own + 4_000_000, own + 4_000_000))
start = StartLine("ipc:///x", "p", 1, "t", 2, "builtin", arena_fd=descriptor, arena=9, arena_slots=200)
assert open_arena(start) is None
print("goes on")
"""


def test_where_addresses_are_scarce_sound_travels_in_the_messages() -> None:
    code = SCARCE.format(slot=SLOT_BYTES)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("sound travels in the messages, for there is no shared memory: ")


def test_where_memory_is_scarce_sound_travels_in_the_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memory that was promised and not there is a SIGBUS at the first sample that is written."""
    asked: list[int] = []

    def refuse(_descriptor: int, start: int, size: int) -> None:
        asked.extend(range(start, size, SLOT_BYTES))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    descriptor = given_memory()
    assert open_arena(start_line(descriptor)) is None
    assert len(asked) == SLOTS, "all of it was asked for"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("there is no shared memory: [Errno 28] No space left on device")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
