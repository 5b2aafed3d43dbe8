"""The player's line to its daemon: a DEALER for messages, the session door for each other's death."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator

import zmq

from voicebox_client import door
from voicebox_protocol import __version__, endpoints, wire
from voicebox_protocol.errors import DaemonLost, DaemonUnreachable, from_wire
from voicebox_protocol.schema import Decoder, Error, Hello, Message, Unsupported, Welcome, encode

# For each answer, and for a message to be taken.
_PATIENCE_S = 10.0
_WELL = b"OK\n"


class Link:
    """Owns both sockets. Every method raises a `VoiceboxError` once the daemon is lost, and `ValueError` for what cannot be read."""

    def __init__(self, token: str) -> None:
        """Say Hello with the start line's token, and open the door that Welcome has the word for."""
        transport = door.transport()
        self._decoder = Decoder(wire.DAEMON_TO_CLIENT)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.dealer = self._context.socket(zmq.DEALER)
        endpoints.harden(self.dealer)
        self.dealer.setsockopt(zmq.SNDTIMEO, math.ceil(_PATIENCE_S * 1000))
        # The daemon sends no more than it has room for until it was heard.
        self.dealer.setsockopt(zmq.RCVHWM, 0)
        transport.connect_control(self.dealer)
        self._hello(token, transport.token())
        welcome = self._welcome()
        self.boot = welcome.boot
        self.door = door.reach(autostart=False, timeout=_PATIENCE_S)
        self._enter(welcome.token or "")

    def close(self) -> None:
        """Let go of both."""
        self.door.close()
        self.dealer.close(0)
        self._context.term()

    def send(self, message: Message) -> None:
        """Send one message."""
        try:
            self.dealer.send(wire.MAGIC, zmq.SNDMORE)
            self.dealer.send(encode(message))
        except zmq.Again:
            raise DaemonLost(f"the daemon took no message for {_PATIENCE_S:g} s") from None

    def received(self) -> Iterator[tuple[Message, bytes]]:
        """What has come, with its payload. A kind that this version does not know is passed over."""
        while int(self.dealer.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            frames = self.dealer.recv_multipart(zmq.NOBLOCK)
            try:
                yield self._decoder.message(*(frames if len(frames) > 1 else [b"", b""])[:2]), b"".join(frames[2:3])
            except Unsupported:
                continue

    def is_cut(self) -> bool:
        """Whether the door, found readable, is at its end: the daemon has gone."""
        try:
            return not self.door.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _hello(self, token: str, transport_token: str | None) -> None:
        self.send(
            Hello(
                proto_min=wire.PROTO_MIN,
                proto_max=wire.PROTO_MAX,
                agent=f"voicebox_player/{__version__}",
                features=[wire.PLAYER],
                token=transport_token,
                player=token,
                pid=os.getpid(),
            )
        )

    def _welcome(self) -> Welcome:
        until = time.monotonic() + _PATIENCE_S
        while self.dealer.poll(max(0, math.ceil((until - time.monotonic()) * 1000))):
            for message, _ in self.received():
                if isinstance(message, Welcome):
                    return message
                if isinstance(message, Error):
                    raise from_wire(message.code, message.message)
        raise DaemonUnreachable(f"no Welcome within {_PATIENCE_S:g} s")

    def _enter(self, token: str) -> None:
        """Say the word at the door; from then on its end of file is the other side's death."""
        try:
            self.door.sendall(f"{token}\n".encode())
            said = b""
            while len(said) < len(_WELL) and (piece := self.door.recv(len(_WELL) - len(said))):
                said += piece
            self.door.setblocking(False)
        except OSError as error:
            raise DaemonLost(f"the daemon's session door broke: {error}") from None
        if said != _WELL:
            raise DaemonLost(f"the daemon's session door closed after saying {said!r}")


def wake_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends: any thread writes to the second to wake who polls the first."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends
