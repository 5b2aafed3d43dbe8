"""The memory that providers write their sound into and clients read it from, and who may have it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from voicebox_protocol import schema
from voicebox_protocol.arena import SLOT_BYTES, supported
from voiceboxd.effects import Payload
from voiceboxd.loans import Loans
from voiceboxd.logs import log

# From linux/fcntl.h; the one of them that fcntl has not.
_SEAL_FUTURE_WRITE = 16


class Arena(NamedTuple):
    """One incarnation's: memory without a name. Only the provider's own mapping writes there, ever, once it is sealed."""

    id: int
    slots: int
    descriptor: int

    @property
    def size(self) -> int:
        return self.slots * SLOT_BYTES

    def seal(self) -> None:
        """Nobody can map it writable, cut it or let it grow any more, not even a provider that is started later."""
        import fcntl  # which Windows has not

        size = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, size | _SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL)

    def read(self, offset: int, size: int) -> bytes:
        """A copy of some of it."""
        return os.pread(self.descriptor, size, offset)


class Arenas:
    """Owns the arenas and their loans. `each` bytes for an incarnation, at most `most` bytes for all of them together:
    beyond that, and wherever the system has no such memory, sound travels in the messages."""

    def __init__(self, each: int, most: int) -> None:
        self._slots = each // SLOT_BYTES if supported() and _can_seal() else 0
        self._most = most
        self._arenas: dict[int, Arena] = {}
        self._last = 0
        self.loans = Loans()
        self.on_gone: Callable[[int], None] = lambda _: None

    @property
    def size(self) -> int:
        """Bytes of all arenas."""
        return sum(arena.size for arena in self._arenas.values())

    @property
    def used(self) -> int:
        """Bytes of the slots that hold sound somebody has not read yet."""
        return self.loans.used * SLOT_BYTES

    def make(self) -> Arena | None:
        """Memory for a provider that is being started; it is taken up by whoever writes there. None if there is none."""
        if not self._slots or sys.platform != "linux" or self.size + self._slots * SLOT_BYTES > self._most:
            return None
        try:
            descriptor = os.memfd_create("voicebox-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            log.warning("no shared memory", error=str(error))
            return None
        try:
            os.ftruncate(descriptor, self._slots * SLOT_BYTES)
        except OSError as error:
            log.warning("no shared memory", error=str(error))
            os.close(descriptor)
            return None
        self._last += 1
        arena = self._arenas[self._last] = Arena(self._last, self._slots, descriptor)
        return arena

    def open(self, arena: Arena) -> bool:
        """Its provider has mapped it: seal it, and let sound come in it. False if it cannot be sealed: then it is of no use."""
        try:
            arena.seal()
        except OSError as error:
            log.warning("an arena cannot be sealed", error=str(error))
            return False
        self.loans.open(arena.id, arena.slots)
        return True

    def close(self, arena: Arena) -> None:
        """Its provider is gone. What is lent stays readable."""
        if self.loans.close(arena.id):
            self._drop([arena.id])

    # --- sound on its way

    def copied(self, chunk: schema.Chunk) -> tuple[schema.Chunk, Payload]:
        """The same sound with a payload, for whoever has not mapped the arena."""
        arena = self._arenas[chunk.descriptors[0][0]]
        pieces, descriptors, offset = [], [], 0
        for _, place, frames, crc in chunk.descriptors:
            pieces.append(arena.read(place, 4 * frames))
            descriptors.append((0, offset, frames, crc))
            offset += 4 * frames
        chunk.descriptors = descriptors
        return chunk, b"".join(pieces)

    def credit(self, session: str, req: str, first: int, last: int) -> None:
        """A session is done with some pieces."""
        self._drop(self.loans.credit(session, req, first, last))

    def session_closed(self, session: str) -> None:
        """Nobody reads what a session had."""
        self._drop(self.loans.session_closed(session))

    def give(self, arena: int, slots: list[int]) -> None:
        """These slots are their provider's again."""
        if self.loans.give(arena, slots):
            self._drop([arena])

    def _drop(self, arenas: list[int]) -> None:
        for number in arenas:
            arena = self._arenas.pop(number, None)
            if arena is not None:
                os.close(arena.descriptor)
                self.on_gone(number)

    def close_all(self) -> None:
        """The daemon ends."""
        for arena in self._arenas.values():
            os.close(arena.descriptor)
        self._arenas.clear()


def _can_seal() -> bool:
    """Whether this kernel knows the seals, which it should since 5.1: a provider could not be told later that it does not."""
    if sys.platform != "linux":
        return False
    try:
        probe = Arena(0, 1, os.memfd_create("voicebox-probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    except OSError:
        return False
    try:
        probe.seal()
    except OSError as error:
        log.warning("no shared memory", error=str(error))
        return False
    finally:
        os.close(probe.descriptor)
    return True
