"""What came while the player was busy, in the order in which it acts: no pause or stop waits behind sound that it makes pointless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from voicebox_protocol import schema
from voicebox_protocol.schema import Message


class Come(NamedTuple):
    """One message of the daemon's, with its payload. `pointless`: about a request that is hushed further on."""

    message: Message
    payload: bytes
    pointless: bool = False


def urgent_first(messages: Iterable[tuple[Message, bytes]]) -> list[Come]:
    """How the loudspeaker is to be comes first, and only the last word on that counts; the rest keeps its order."""
    loudness: list[Come] = []
    others: list[Come] = []
    hushed: set[str] = set()
    for message, payload in reversed(list(messages)):
        match message:
            case schema.Speaker():
                loudness = loudness or [Come(message, payload)]
                continue
            case schema.Hush():
                hushed.add(message.req)
            case schema.Play():
                # What stands before it belongs to an earlier turn of the same request.
                hushed.discard(message.req)
        about = isinstance(message, schema.Chunk | schema.Finish | schema.Reset)
        others.append(Come(message, payload, about and getattr(message, "req", None) in hushed))
    return loudness + others[::-1]
