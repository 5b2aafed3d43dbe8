"""What the kernel holds of an arena, against whoever has its descriptor; and the memory that all of them take."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from voicebox_protocol import schema
from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voiceboxd.arenas import Arena, Arenas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sealed memory without a name is Linux's")

SLOTS = 4
EACH = SLOTS * SLOT_BYTES
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_C = ctypes.CDLL(None, use_errno=True)
_C.mmap.restype = ctypes.c_void_p


@pytest.fixture
def arenas() -> Iterator[Arenas]:
    made = Arenas(EACH, 3 * EACH)
    yield made
    made.close_all()


def made(arenas: Arenas) -> Arena:
    arena = arenas.make()
    assert arena is not None
    return arena


def provided(arena: Arena) -> mmap.mmap:
    """As the provider has it: mapped before it was sealed."""
    return mmap.mmap(arena.descriptor, arena.size, flags=mmap.MAP_SHARED)


def chunk(arena: int, *places: tuple[int, int], crc: int = 0) -> schema.Chunk:
    descriptors = [(arena, slot * SLOT_BYTES, frames, crc) for slot, frames in places]
    return schema.Chunk(req="r", segment=0, attempt=1, seq=0, descriptors=descriptors)


# --- sealed


def punch_hole(descriptor: int) -> None:
    if _C.fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(SLOT_BYTES)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def write_where_one_may_read(descriptor: int) -> None:
    size = ctypes.c_size_t(EACH)
    address = ctypes.c_void_p(_C.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(0)))
    refused = _C.mprotect(address, size, mmap.PROT_READ | mmap.PROT_WRITE)
    error = OSError(ctypes.get_errno(), "mprotect")
    _C.munmap(address, size)
    if refused:
        raise error


ATTACKS: dict[str, Callable[[int], object]] = {
    "map it writable": lambda descriptor: mmap.mmap(descriptor, EACH, flags=mmap.MAP_SHARED),
    "make a mapping writable": write_where_one_may_read,
    "write": lambda descriptor: os.pwrite(descriptor, b"x", 0),
    "cut": lambda descriptor: os.ftruncate(descriptor, 0),
    "grow": lambda descriptor: os.ftruncate(descriptor, 2 * EACH),
    "punch a hole": punch_hole,
    "unseal": lambda descriptor: fcntl.fcntl(descriptor, 1033, 1),
}


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_who_has_the_descriptor_can_harm_nobody(arenas: Arenas, attack: str, reopened: bool) -> None:
    """A client could have rewritten what others hear, or cut the memory and had the daemon killed by SIGBUS."""
    arena = made(arenas)
    memory = provided(arena)
    assert arenas.open(arena)
    memory[:4] = b"tone"
    descriptor = os.open(f"/proc/self/fd/{arena.descriptor}", os.O_RDWR) if reopened else os.dup(arena.descriptor)
    try:
        with pytest.raises(OSError, match=r"."):
            ATTACKS[attack](descriptor)
    finally:
        os.close(descriptor)
    assert arena.read(0, 4) == b"tone"
    memory[:4] = b"more"
    assert arena.read(0, 4) == b"more", "its provider goes on"
    memory.close()


def test_a_private_mapping_is_what_a_client_gets(arenas: Arenas) -> None:
    arena = made(arenas)
    memory = provided(arena)
    assert arenas.open(arena)
    private = mmap.mmap(arena.descriptor, EACH, access=mmap.ACCESS_COPY)
    private[:4] = b"mine"
    memory[4:8] = b"tone"
    assert arena.read(0, 8) == b"\0\0\0\0tone"
    private.close()
    memory.close()


def test_an_arena_that_cannot_be_sealed_is_not_used(arenas: Arenas) -> None:
    arena = made(arenas)
    assert arenas.open(arena)
    assert not arenas.open(arena), "a second Hello of the same process"


# --- sound on its way


def test_the_copy_is_the_same_sound(arenas: Arenas) -> None:
    arena = made(arenas)
    memory = provided(arena)
    noise = os.urandom(EACH)
    memory[:] = noise
    assert arenas.open(arena)
    places = [(2, SLOT_FRAMES), (0, 7), (3, 1)]
    sent = chunk(arena.id, *places, crc=11)
    message, payload = arenas.copied(sent)
    assert [each[0] for each in message.descriptors] == [0, 0, 0]
    for (slot, frames), (_, offset, counted, crc) in zip(places, message.descriptors, strict=True):
        assert (counted, crc) == (frames, 11)
        assert payload[offset : offset + 4 * frames] == noise[slot * SLOT_BYTES :][: 4 * frames]
    assert len(payload) == 4 * (SLOT_FRAMES + 8)
    memory.close()


# --- how much of it there is


def descriptors() -> list[str]:
    return [link for link in map(_target, Path("/proc/self/fd").iterdir()) if "voicebox-arena" in link]


def _target(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except OSError:
        return ""


def test_all_together_take_no_more_than_there_may_be(arenas: Arenas) -> None:
    three = [made(arenas) for _ in range(3)]
    assert arenas.size == 3 * EACH
    assert arenas.make() is None
    arenas.close(three[1])
    assert arenas.size == 2 * EACH
    assert made(arenas).id not in {arena.id for arena in three}, "an id is one incarnation's for ever"


@pytest.mark.parametrize(("each", "most"), [(0, EACH), (SLOT_BYTES - 1, EACH), (EACH, EACH - 1)])
def test_too_little_for_one_is_none(each: int, most: int) -> None:
    assert Arenas(each, most).make() is None


def test_what_is_lent_of_a_dead_provider_stays_readable(arenas: Arenas) -> None:
    arena = made(arenas)
    memory = provided(arena)
    memory[:4] = b"tone"
    assert arenas.open(arena)
    arenas.loans.lend("s", "r", 0, arena.id, arenas.loans.take(arena.id, chunk(arena.id, (0, 9), (1, 9)).descriptors))
    memory.close()
    gone: list[int] = []
    arenas.on_gone = gone.append
    arenas.close(arena)
    arenas.credit("s", "r", 0, 0)
    assert (arenas.used, arenas.size, gone) == (SLOT_BYTES, EACH, [])
    assert arena.read(0, 4) == b"tone"
    arenas.credit("s", "r", 1, 1)
    assert (arenas.used, arenas.size, gone) == (0, 0, [arena.id])
    assert descriptors() == []


def test_every_way_to_end_gives_the_descriptor_back(arenas: Arenas) -> None:
    """They were the first thing that a daemon ran out of."""
    never_mapped, at_rest, lent = (made(arenas) for _ in range(3))
    for arena in (at_rest, lent):
        assert arenas.open(arena)
    slots = arenas.loans.take(lent.id, chunk(lent.id, (0, 9), (1, 9)).descriptors)
    arenas.loans.lend("s", "r", 0, lent.id, slots[:1])
    assert len(descriptors()) == 3
    arenas.close(never_mapped)
    arenas.close(at_rest)
    arenas.close(lent)
    assert len(descriptors()) == 1
    arenas.give(lent.id, slots[1:])
    arenas.session_closed("s")
    assert descriptors() == []
    made(arenas)
    arenas.close_all()
    assert descriptors() == []


def test_without_descriptors_there_is_no_arena(arenas: Arenas) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert arenas.make() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert arenas.size == 0
    assert arenas.make() is not None


def test_where_files_may_not_be_so_large_there_is_no_arena() -> None:
    """A limit on the size of files counts for memory without a name as well."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16));"
        "from voiceboxd.arenas import Arenas; arenas = Arenas(1 << 20, 1 << 21);"
        "assert arenas.make() is None; assert arenas.size == 0; print('none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["none"]), done.stderr


def test_a_checksum_goes_with_its_piece(arenas: Arenas) -> None:
    arena = made(arenas)
    memory = provided(arena)
    memory[: 4 * 5] = bytes(range(20))
    assert arenas.open(arena)
    message, payload = arenas.copied(chunk(arena.id, (0, 5), crc=zlib.crc32(bytes(range(20)))))
    ((_, _, _, crc),) = message.descriptors
    assert zlib.crc32(payload) == crc
    memory.close()
