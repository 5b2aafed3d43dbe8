"""What the pure cores want done: messages to send, speakers to find. `Dispatcher` carries them out."""

from __future__ import annotations

from typing import NamedTuple

from voicebox_protocol.schema import Message

Payload = bytes | memoryview


class ToClient(NamedTuple):
    """Send `message` to a session, with a payload frame if there is one."""

    session: str
    message: Message
    payload: Payload | None = None


class ToProvider(NamedTuple):
    """Send `message` to an incarnation of a provider, with a payload frame and the frame of a voice prompt if there are."""

    provider: str
    epoch: int
    message: Message
    payload: Payload | None = None
    prompt: bytes | None = None


class Decided(NamedTuple):
    """Nothing more is spoken of a request for the loudspeaker, and its `verdict` says how it ends: find out what was heard."""

    req: str


class Seek(NamedTuple):
    """Find somebody else who speaks a request, or end it."""

    req: str


Effect = ToClient | ToProvider | Seek | Decided


class Violation(Exception):
    """A provider broke the protocol; the text says how. It is killed and started anew."""
