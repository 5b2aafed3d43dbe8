"""A client written from docs/protocol.md alone, with ZeroMQ and msgpack: what a stranger would write first."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

from voicebox_protocol import endpoints, wire

if TYPE_CHECKING:
    from tests.integration.daemon import Place


class WireClient:
    """One DEALER and one session door. Messages are plain dictionaries.

    One that `shares` maps what it is offered, as far as reading there goes: sound in an arena is told as if it were a payload.
    """

    def __init__(self, place: Place, *, hello: bool = True, attach: bool = True, shares: bool = False) -> None:
        self.shares = shares
        self.arenas: dict[int, int] = {}
        self.shared = 0
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.dealer = self.context.socket(zmq.DEALER)
        endpoints.harden(self.dealer)
        self.transport = place.transport()
        self.door: socket.socket | None = None
        self.transport.connect_control(self.dealer)
        self.boot = ""
        if hello:
            self.welcome = self.hello()
            self.boot = self.welcome["boot"]
            if attach:
                self.attach()

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for descriptor in self.arenas.values():
            os.close(descriptor)
        self.arenas.clear()
        if self.door is not None:
            self.door.close()
        self.dealer.close(linger=0)
        self.context.term()

    def send(self, kind: str, payload: bytes | None = None, prompt: bytes | None = None, **fields: Any) -> None:
        frames = [wire.MAGIC, msgpack.packb({"kind": kind, **fields}), payload, prompt]
        self.dealer.send_multipart([frame for frame in frames if frame is not None])

    def receive(self, within: float = 30.0) -> tuple[dict[str, Any], bytes]:
        assert self.dealer.poll(int(within * 1000)), f"no message within {within} s"
        magic, header, *payload = self.dealer.recv_multipart()
        assert magic == wire.MAGIC
        message, sound = msgpack.unpackb(header), payload[0] if payload else b""
        if self.shares and self.door is not None:
            self.look_at_door()
            if message["kind"] == "Chunk" and message["descriptors"][0][0]:
                assert sound == b""
                return self.as_payload(message)
        return message, sound

    def look_at_door(self) -> None:
        """Take the arenas that are offered, and let go of those that are gone."""
        assert self.door is not None
        self.door.setblocking(False)
        try:
            said, descriptors, _, _ = socket.recv_fds(self.door, 4096, 1)
        except BlockingIOError:
            return
        for line in said.splitlines():
            word, number = line.split()[0], int(line.split()[1])
            if word == b"ARENA":
                self.arenas[number] = descriptors.pop()
                self.send("Mapped", boot=self.boot, arena=number)
            elif word == b"GONE":
                os.close(self.arenas.pop(number))

    def as_payload(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        pieces, own, at = [], [], 0
        for arena, offset, frames, crc in message["descriptors"]:
            pieces.append(os.pread(self.arenas[arena], 4 * frames, offset))
            own.append([0, at, frames, crc])
            at += 4 * frames
        self.shared += len(own)
        return {**message, "descriptors": own}, b"".join(pieces)

    def silent(self, within: float = 0.3) -> bool:
        """Whether nothing comes; `within` is how long a wrong message would have."""
        return not self.dealer.poll(int(within * 1000))

    def hello(self, **changed: Any) -> dict[str, Any]:
        fields = {"proto_min": 1, "proto_max": 1, "agent": "stranger/1", "token": self.transport.token()}
        if self.shares:
            fields["features"] = ["arena"]
        self.send("Hello", **{**fields, **changed})
        return self.receive()[0]

    def attach(self) -> None:
        self.door = self.transport.connect_session(5.0)
        self.door.settimeout(5.0)
        self.door.sendall(self.welcome["token"].encode() + b"\n")
        assert self.door.recv(16) == b"OK\n"

    def say(self, text: str, *, req: str | None = None, prompt: bytes | None = None, **fields: Any) -> str:
        """Ask for speech; gives the request's name."""
        req = req or secrets.token_hex(8)
        self.send("Say", text.encode(), prompt, boot=self.boot, req=req, **fields)
        return req

    def until_end(self, req: str, *, credit: bool = True) -> Ending:
        """Everything that is said of a request, up to and with its end."""
        ending = Ending()
        while True:
            message, payload = self.receive(60.0)
            if message.get("req") != req:
                continue
            ending.take(message, payload)
            if message["kind"] == "Chunk" and credit:
                last = message["seq"] + len(message["descriptors"]) - 1
                self.send("Credit", boot=self.boot, req=req, first=message["seq"], last=last)
            if message["kind"] in wire.TERMINAL:
                self.send("EndAck", boot=self.boot, req=req)
                return ending

    def speak(self, text: str, **fields: Any) -> Ending:
        return self.until_end(self.say(text, **fields))


class Ending:
    """What a client has of a request: its messages, and its samples as the timeline stands."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.samples = b""

    def take(self, message: dict[str, Any], payload: bytes) -> None:
        self.messages.append(message)
        if message["kind"] == "Chunk":
            for arena, offset, frames, _ in message["descriptors"]:
                assert arena == 0
                self.samples += payload[offset : offset + 4 * frames]
        elif message["kind"] == "Reset":
            self.samples = self.samples[: 4 * message["frames"]]

    @property
    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.messages]

    @property
    def end(self) -> dict[str, Any]:
        return self.messages[-1]
