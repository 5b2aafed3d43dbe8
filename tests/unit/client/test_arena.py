"""Pieces of shared memory in a client's hands: whoever keeps one keeps what it showed, whatever is written there later."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.fake_daemon import FakeDaemon
from voicebox_client import Voicebox
from voicebox_protocol.arena import SLOT_BYTES, Offer

if sys.platform != "linux":
    pytest.skip("sealed memory without a name is Linux's", allow_module_level=True)

from voicebox_client.arena import Arena, Piece

SLOTS = 4
_ADD_SEALS, _ALL_BUT_WRITE = 1033, 1 | 2 | 4 | 16


class Provider:
    """Owns the one writable mapping, made before the memory was sealed."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.descriptor = os.memfd_create("voicebox-theirs", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, slots * SLOT_BYTES)
        self.memory = mmap.mmap(self.descriptor, slots * SLOT_BYTES)
        fcntl.fcntl(self.descriptor, _ADD_SEALS, _ALL_BUT_WRITE)
        self.client = Arena(Offer(1, slots), os.dup(self.descriptor))

    def write(self, slot: int, value: int, size: int = SLOT_BYTES) -> bytes:
        self.memory[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = bytes([value]) * SLOT_BYTES
        return bytes([value]) * size

    def lend(self, slot: int, value: int, size: int = SLOT_BYTES) -> Piece:
        """What is lent, as it is lent when nobody keeps what was there before."""
        self.write(slot, value)
        piece = self.client.piece(slot * SLOT_BYTES, size)
        assert isinstance(piece, Piece)
        assert piece.data == bytes([value]) * size
        return piece

    def close(self) -> None:
        self.client.close()
        del self.client  # the mapping goes with the last of it
        self.memory.close()
        os.close(self.descriptor)


@pytest.fixture
def provider() -> Iterator[Provider]:
    there = Provider()
    yield there
    there.close()


WAYS_TO_KEEP: dict[str, Callable[[memoryview], Any]] = {
    "an array": lambda data: np.frombuffer(data, "<f4"),
    "a part of an array": lambda data: np.frombuffer(data, "<f4")[5:9],
    "a view": lambda data: memoryview(data),
    "a slice": lambda data: data[100:200],
    "a cast": lambda data: data.cast("f"),
    "an array of a slice": lambda data: np.frombuffer(data[40:80], "<f4"),
    "a slice of a slice": lambda data: data[8:80][8:16],
}


@pytest.mark.parametrize("how", WAYS_TO_KEEP)
def test_what_is_kept_stays_what_it_is(provider: Provider, how: str) -> None:
    """The next sentence was written over it, in the arrays of a program that had not copied them."""
    piece = provider.lend(0, 1)
    kept = WAYS_TO_KEEP[how](piece.data)
    before = bytes(kept)
    assert not piece.release()
    provider.write(0, 2)
    assert bytes(kept) == before
    again = provider.client.piece(0, 100)
    assert bytes(again) == bytes([2]) * 100, "the next piece in that slot is a copy"
    assert bytes(kept) == before
    provider.write(0, 3)
    assert bytes(kept) == before


def test_what_nobody_keeps_costs_nothing_and_cannot_be_used_any_more(provider: Provider) -> None:
    piece = provider.lend(0, 1)
    data = piece.data
    assert piece.release()
    with pytest.raises(ValueError, match="released"):
        bytes(data)
    assert private_pages() == 0
    assert piece.release(), "once more does no harm"


def test_a_piece_cannot_be_written(provider: Provider) -> None:
    piece = provider.lend(0, 1)
    assert piece.data.readonly
    with pytest.raises(TypeError):
        piece.data[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        np.frombuffer(piece.data, "<f4")[0] = 1.0
    del piece


def test_a_slot_shows_what_is_new_once_the_old_is_let_go(provider: Provider) -> None:
    piece = provider.lend(0, 1)
    kept = np.frombuffer(piece.data, "<f4")
    piece.release()
    del piece, kept
    assert provider.lend(0, 2, 100).release()
    assert private_pages() == 0, "the copy was given back"


def test_a_piece_that_is_detached_before_it_is_read_shows_what_it_was(provider: Provider) -> None:
    piece = provider.lend(0, 1, 5000)
    piece.detach()
    provider.write(0, 2)
    assert bytes(piece.data) == bytes([1]) * 5000
    between = provider.client.piece(0, 10)
    assert bytes(between) == bytes([2]) * 10
    assert piece.release()
    provider.write(0, 3)
    assert bytes(between) == bytes([2]) * 10
    assert bytes(provider.client.piece(0, 10).data) == bytes([3]) * 10  # type: ignore[union-attr]


def test_one_slot_is_detached_and_no_other(provider: Provider) -> None:
    pieces = [provider.lend(slot, slot + 1) for slot in range(3)]
    pieces[1].detach()
    assert private_pages() == SLOT_BYTES // mmap.PAGESIZE
    provider.write(0, 9)
    assert bytes(pieces[0].data[:4]) == bytes([9]) * 4
    assert bytes(pieces[2].data[:4]) == bytes([3]) * 4


def test_all_that_is_held_is_detached_when_the_connection_ends(provider: Provider) -> None:
    """Nobody tells a provider any more that its sound is still being read."""
    pieces = [provider.lend(slot, slot + 1) for slot in range(3)]
    provider.client.detach_all()
    for slot in range(3):
        provider.write(slot, 7)
    assert [piece.data[0] for piece in pieces] == [1, 2, 3]


@pytest.mark.parametrize(
    ("offset", "size"),
    [(4, 4), (SLOTS * SLOT_BYTES, 4), (0, SLOT_BYTES + 4), (0, 0), (0, -4), (-SLOT_BYTES, 4), (2**63, 4)],
)
def test_what_is_no_slot_is_refused(provider: Provider, offset: int, size: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        provider.client.piece(offset, size)


# --- what it takes


def _maps() -> str:
    return Path("/proc/self/maps").read_text()


def private_pages() -> int:
    """Pages of the client's mapping that it has made its own."""
    ours, pages = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            ours = "voicebox-theirs" in line and "p" in fields[1]
        elif ours and fields[0] == "Anonymous:":
            pages += int(fields[1]) * 1024 // mmap.PAGESIZE
    return pages


def test_a_mapping_outlives_its_connection_and_no_view_of_it() -> None:
    provider = Provider()
    piece = provider.lend(0, 1)
    kept = np.frombuffer(piece.data, "<f4")
    before = kept.tobytes()
    assert not piece.release()
    provider.close()
    del provider, piece
    assert kept.tobytes() == before
    assert "voicebox-theirs" in _maps()
    del kept
    assert "voicebox-theirs" not in _maps()
    assert not [name for name in os.listdir("/proc/self/fd") if "voicebox-theirs" in _target(name)]


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


LOCKED = """
import ctypes, sys
from tests.unit.client.test_arena import Provider

lock = lambda: ctypes.CDLL(None, use_errno=True).mlockall(int(sys.argv[1]))
if "before" in sys.argv and lock():
    sys.exit(3)
there = Provider()
if "before" not in sys.argv and lock():
    sys.exit(3)
for value in range(1, 4):
    kept = there.lend(0, value), there.lend(1, value)
    view = kept[1].data[:100]
    assert kept[0].release() and not kept[1].release()
    assert bytes(view) == bytes([value]) * 100
    there.write(1, 9)
    assert bytes(view) == bytes([value]) * 100
    view.release()
    del view, kept
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", [1, 3], ids=["current", "current and future"])
def test_a_program_that_locks_its_memory_hears_what_is_spoken(when: str, what: int) -> None:
    """Programs for music do: each page of theirs that could be written was copied at once, and showed silence for ever."""
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, str(what), when], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode == 3:
        pytest.skip("memory cannot be locked here")
    assert done.returncode == 0, done.stderr


def test_an_arena_that_nobody_closed_takes_its_descriptor_along() -> None:
    """A program that made a Voicebox for each request, and dropped it, ran out of descriptors."""
    memory = os.memfd_create("voicebox-dropped")
    os.ftruncate(memory, SLOT_BYTES)
    descriptor = os.dup(memory)
    arena = Arena(Offer(1, 1), descriptor)
    del arena
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    os.close(memory)


def test_a_forked_child_keeps_what_it_had_a_view_of(daemon: FakeDaemon, provider: Provider) -> None:
    """The parent goes on, and the provider writes there again."""
    with Voicebox() as box:
        box.connect()
        assert box._link is not None
        box._link.arenas[1] = provider.client
        piece = provider.lend(0, 1)
        ready, told = os.pipe()
        child = os.fork()
        if not child:
            os.read(ready, 1)
            os._exit(0 if bytes(piece.data) == bytes([1]) * SLOT_BYTES else 1)
        provider.write(0, 2)
        os.write(told, b"x")
        assert os.waitpid(child, 0)[1] == 0
        for end in (ready, told):
            os.close(end)
        del box._link.arenas[1], piece


def test_what_cannot_be_mapped_keeps_no_descriptor() -> None:
    with pytest.raises((OSError, ValueError)):
        Arena(Offer(1, 10), os.memfd_create("voicebox-theirs"))
    assert not [name for name in os.listdir("/proc/self/fd") if "voicebox-theirs" in _target(name)]


# --- at the session door


def test_what_is_said_at_the_door_is_read_line_by_line(daemon: FakeDaemon) -> None:
    """In whatever pieces it comes, with words that only a newer daemon knows, and offers whose descriptor found no room."""
    said = b"ARENA 3 4\nGONE 7\nLEVITATE 5\nARENA x y\nARENA 4 " + b"1" * 500
    with Voicebox() as box:
        box.connect()
        for piece in (b"GO", b"NE 3\n", said[:30], said[30:60]):
            daemon._doors[-1].sendall(piece)
            assert box.say("hello").collect().frames == 4800
        assert not [message for message in daemon.received if type(message).__name__ == "Mapped"]


def test_an_arena_is_mapped_and_let_go_of_as_the_door_says(daemon: FakeDaemon) -> None:
    descriptor = os.memfd_create("voicebox-theirs", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, SLOTS * SLOT_BYTES)
    with Voicebox() as box:
        box.connect()
        socket.send_fds(daemon._doors[-1], [b"GONE 4\nARENA 5 4\n"], [descriptor])
        os.close(descriptor)
        assert box.say("hello").collect().frames == 4800
        daemon.wait_for("Mapped", arena=5)
        assert "voicebox-theirs" in _maps()
        daemon._doors[-1].sendall(b"GONE 5\n")
        assert box.say("hello").collect().frames == 4800
        assert "voicebox-theirs" not in _maps()


# --- anything


class Reader:
    """Has what it was lent, and what it keeps of what it was lent: each with what it must show."""

    def __init__(self, provider: Provider, data: st.DataObject) -> None:
        self._provider = provider
        self._data = data
        self._value = 0
        self.lent: dict[int, tuple[Piece | memoryview, bytes]] = {}
        self.kept: list[tuple[Any, bytes]] = []

    def step(self) -> None:
        slot = self._data.draw(st.integers(0, SLOTS - 1))
        if slot in self.lent:
            self.give_back(slot, *self.lent.pop(slot))
            self._provider.write(slot, 255)
        else:
            self._value = self._value % 250 + 1
            size = 4 * self._data.draw(st.integers(30, SLOT_BYTES // 4))
            expected = self._provider.write(slot, self._value, size)
            self.lent[slot] = self._provider.client.piece(slot * SLOT_BYTES, size), expected
        if self.kept and self._data.draw(st.booleans()):
            del self.kept[self._data.draw(st.integers(0, len(self.kept) - 1))]

    def give_back(self, slot: int, piece: Piece | memoryview, expected: bytes) -> None:
        keep = self._data.draw(st.sampled_from([None, *sorted(WAYS_TO_KEEP)]))
        if keep is not None:
            view = WAYS_TO_KEEP[keep](piece.data if isinstance(piece, Piece) else piece)
            self.kept.append((view, bytes(view)))
            del view
        if not isinstance(piece, Piece):
            return
        if self._data.draw(st.booleans()):
            # Credit was given while it lay there unread.
            piece.detach()
            self._provider.write(slot, 254)
            assert bytes(piece.data) == expected
            if self._data.draw(st.booleans()):
                self.kept.append((piece.data, expected))
                return
        assert piece.release() == (keep is None)

    def check(self) -> None:
        assert all(bytes(view) == expected for view, expected in self.kept)
        assert all(bytes(getattr(piece, "data", piece)) == expected for piece, expected in self.lent.values())


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_kept_and_let_go_nothing_changes_under_anybody(data: st.DataObject) -> None:
    """A provider that rewrites every slot it is given back, and a reader that keeps some of what it reads, for a while."""
    provider = Provider()
    reader = Reader(provider, data)
    try:
        for _ in range(data.draw(st.integers(1, 30))):
            reader.step()
            reader.check()
    finally:
        provider.close()
    reader.check()
