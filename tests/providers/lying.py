"""A `FakeEngine` whose provider lies on the wire: in the phases of `voicebox_provider.faults`, and with its words.

An engine cannot lie there, so this one reaches into the runner that it is in. The lies: `garbage`, a header that is none;
`stale-epoch`, sound of a life before; `wrong-seq`, sound out of turn; `too-long`, a piece longer than any may be;
`babble`, sound without end; `wrong-crc`, a piece with another checksum than its samples have. Those of `LyingOfMemory` are
about where sound lies in its arena.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from voicebox_protocol import wire
from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voicebox_protocol.schema import Chunk, Message, Prepare, Synthesize, encode
from voicebox_provider import faults, link
from voicebox_provider.conversation import Conversation, Job, Listening
from voicebox_provider.testing import FakeEngine

if TYPE_CHECKING:
    import zmq

RATE = 24000

Descriptor: TypeAlias = tuple[int, int, int, int]

_HALF_SECOND = RATE // 2
_BABBLE = 400


class Raw(Message):
    """A header that stays as it is."""

    header: bytes


class Wire:
    """Owns what has been said on this process's link, and what shall be wrong with what is said next."""

    def __init__(self) -> None:
        self.link: link.Link | None = None
        self.early: list[tuple[Message, memoryview | None]] = []
        self.request = Synthesize(boot="", epoch=1, req="nobodys", attempt=1, segment=0, seed=0, sample_rate=RATE)
        self.seq = 0
        self.garble: Callable[[Message], Message] | None = None
        self.beside: bytes | None = None

    def listen(self) -> None:
        """Put ourselves between the runner and its link."""
        connect, send, take_on = link.Link._connect, link.Link.send, Conversation._take_on

        def connected(own: link.Link, dealer: zmq.Socket[bytes]) -> None:
            connect(own, dealer)
            self.link = own
            for message, payload in self.early:
                dealer.send_multipart([wire.MAGIC, _header(message), *([] if payload is None else [payload])])

        def sent(own: link.Link, message: Message, payload: memoryview | None = None) -> None:
            message = self.noted(message)
            beside, self.beside = self.beside, None
            send(own, message, payload if beside is None else memoryview(beside))

        def asked(own: Conversation, request: Synthesize | Prepare, job: Job | Listening, now: float) -> None:
            if isinstance(request, Synthesize):
                self.request, self.seq = request, 0
            take_on(own, request, job, now)

        link.encode = _header  # type: ignore[attr-defined]
        link.Link._connect = connected  # type: ignore[assignment, method-assign]
        link.Link.send = sent  # type: ignore[assignment, method-assign]
        Conversation._take_on = asked  # type: ignore[assignment, method-assign]

    def noted(self, message: Message) -> Message:
        if not isinstance(message, Chunk):
            return message
        self.seq = message.seq + len(message.descriptors)
        garble, self.garble = self.garble, None
        return garble(message) if garble else message

    def say(self, message: Message, payload: bytes | None = None) -> None:
        """Send it; before there is a link, ahead of Hello."""
        view = None if payload is None else memoryview(payload)
        if self.link is None:
            self.early.append((message, view))
        else:
            self.link.send(message, view)

    def chunk(self, frames: int, **changed: Any) -> None:
        """Sound for the segment in work, which it is not asked for."""
        sound, own = struct.pack("<f", 0.25) * frames, self.request
        whose = {"epoch": own.epoch, "req": own.req, "attempt": own.attempt, "segment": own.segment, "seq": self.seq}
        self.say(Chunk(**{**whose, **changed}, descriptors=[(0, 0, frames, zlib.crc32(sound))]), sound)


_wire = Wire()


def _header(message: Message) -> bytes:
    return message.header if isinstance(message, Raw) else encode(message)


def _garbage(_: int) -> None:
    _wire.say(Raw(header=b"\xc1 this is no MessagePack"))


def _stale_epoch(_: int) -> None:
    _wire.chunk(_HALF_SECOND, epoch=_wire.request.epoch - 1)


def _wrong_seq(_: int) -> None:
    _wire.chunk(_HALF_SECOND, seq=_wire.seq + 7)


def _too_long(_: int) -> None:
    _wire.chunk(3 * _HALF_SECOND)


def _babble(_: int) -> None:
    for _number in range(_BABBLE):
        _wire.chunk(_HALF_SECOND)


def _wrong_crc(_: int) -> None:
    def garbled(message: Message) -> Message:
        assert isinstance(message, Chunk)
        wrong = [(arena, offset, frames, crc ^ 1) for arena, offset, frames, crc in message.descriptors]
        return msgspec.structs.replace(message, descriptors=wrong)

    _wire.garble = garbled


LIES: Mapping[str, faults.Way] = {
    "garbage": _garbage,
    "stale-epoch": _stale_epoch,
    "wrong-seq": _wrong_seq,
    "too-long": _too_long,
    "babble": _babble,
    "wrong-crc": _wrong_crc,
}


def _elsewhere(change: Callable[[Descriptor], list[Descriptor]]) -> faults.Way:
    """The first piece of the next sound lies somewhere else."""

    def garbled(message: Message) -> Message:
        assert isinstance(message, Chunk)
        first, *others = message.descriptors
        assert first[0], "it lies in the arena"
        return msgspec.structs.replace(message, descriptors=[*change(first), *others])

    def way(_: int) -> None:
        _wire.garble = garbled

    return way


def _beside(_: int) -> None:
    def garbled(message: Message) -> Message:
        _wire.beside = bytes(4)
        return message

    _wire.garble = garbled


MEMORY_LIES: Mapping[str, faults.Way] = {
    "outside": _elsewhere(lambda own: [(own[0], SLOT_BYTES << 20, *own[2:])]),
    "far-outside": _elsewhere(lambda own: [(own[0], 2**64 - SLOT_BYTES, *own[2:])]),
    "misaligned": _elsewhere(lambda own: [(own[0], own[1] + 4, *own[2:])]),
    "lent": _elsewhere(lambda own: [(own[0], 0, *own[2:])]),
    "twice": _elsewhere(lambda own: [own, own]),
    "anothers": _elsewhere(lambda own: [(3 - own[0] if own[0] < 3 else 1, *own[1:])]),
    "nobodys": _elsewhere(lambda own: [(own[0] + 1000, *own[1:])]),
    "longer-than-a-slot": _elsewhere(lambda own: [(*own[:2], SLOT_FRAMES + 1, own[3])]),
    "empty": _elsewhere(lambda own: [(*own[:2], 0, own[3])]),
    "half-inline": _elsewhere(lambda own: [own, (0, 0, *own[2:])]),
    "payload-beside": _beside,
}


class Lying(FakeEngine):
    """Lies where `faults` says so. Settings as FakeEngine's."""

    ways: ClassVar[Mapping[str, faults.Way]] = {**faults.WAYS, **LIES}

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        _wire.listen()


class LyingOfMemory(Lying):
    """Lies about where its sound lies."""

    ways: ClassVar[Mapping[str, faults.Way]] = MEMORY_LIES
