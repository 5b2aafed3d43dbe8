"""The daemon's side of a provider's conversation: starts `python -m voicebox_provider` and speaks the wire with it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import zmq

from voicebox_protocol import endpoints, wire
from voicebox_protocol.schema import (
    Cancel,
    Chunk,
    Decoder,
    Exit,
    Hello,
    Message,
    Ready,
    Resumed,
    SegmentCancelled,
    SegmentDone,
    SegmentFailed,
    Synthesize,
    Welcome,
    encode,
)
from voicebox_protocol.startline import StartLine

PATIENCE_S = 60.0
BOOT = "boot-1"
FAKE = "voicebox_provider.testing:FakeEngine"
ENDS = (SegmentDone, SegmentFailed, SegmentCancelled)

Kind = TypeVar("Kind", bound=Message)


@dataclass
class Spoken:
    """All that a segment gave: its pieces, checked against nothing yet, and its end."""

    end: Message
    chunks: list[tuple[Chunk, bytes]] = field(default_factory=list)
    resumed: Resumed | None = None

    def pieces(self) -> list[bytes]:
        return [
            payload[offset : offset + frames * 4]
            for chunk, payload in self.chunks
            for _, offset, frames, _ in chunk.descriptors
        ]

    def crcs(self) -> list[int]:
        return [crc for chunk, _ in self.chunks for *_, crc in chunk.descriptors]

    def samples(self) -> npt.NDArray[np.float32]:
        return np.frombuffer(b"".join(self.pieces()), "<f4")


class Provider:
    """One provider process and the ROUTER it talks to."""

    def __init__(
        self, router: zmq.Socket[bytes], process: subprocess.Popen[bytes], lifeline: int, start: StartLine
    ) -> None:
        self.router = router
        self.process = process
        self.lifeline = lifeline
        self.start = start
        self.identity = b""
        self._decoder = Decoder(wire.PROVIDER_TO_DAEMON)

    def hear(self) -> tuple[Message, bytes]:
        assert self.router.poll(PATIENCE_S * 1000), "the provider said nothing"
        self.identity, magic, header, *payload = self.router.recv_multipart()
        return self._decoder.message(magic, header), payload[0] if payload else b""

    def say(self, message: Message, payload: bytes | None = None) -> None:
        self.router.send_multipart(
            [self.identity, wire.MAGIC, encode(message), *([] if payload is None else [payload])]
        )

    def expect(self, kind: type[Kind]) -> Kind:
        """The next message of that kind, past others."""
        while True:
            message, _ = self.hear()
            if isinstance(message, kind):
                return message

    def greet(self) -> Hello:
        """Hello and Welcome."""
        hello = self.expect(Hello)
        self.say(Welcome(proto=1, boot=BOOT, session="s", version="0", pid=os.getpid()))
        return hello

    def load(self) -> Ready:
        self.greet()
        return self.expect(Ready)

    def ask(self, text: str, **wishes: Any) -> None:
        asked = {"seed": 7, "sample_rate": 24000, "req": "r", "attempt": 1, "segment": 0, "boot": BOOT, **wishes}
        self.say(Synthesize(**{"epoch": self.start.epoch, **asked}), text.encode())

    def cancel(self, req: str = "r") -> None:
        self.say(Cancel(boot=BOOT, req=req, epoch=self.start.epoch))

    def answer(self) -> Spoken:
        """Everything up to the terminal message."""
        spoken = Spoken(Message())
        while True:
            message, payload = self.hear()
            if isinstance(message, Chunk):
                spoken.chunks.append((message, payload))
            elif isinstance(message, Resumed):
                spoken.resumed = message
            elif isinstance(message, ENDS):
                spoken.end = message
                return spoken

    def speak(self, text: str, **wishes: Any) -> Spoken:
        self.ask(text, **wishes)
        return self.answer()

    def leave(self) -> int:
        """Ask it to go; gives its exit code."""
        self.say(Exit(boot=BOOT))
        return self.exit_code()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE_S)

    def cut_lifeline(self) -> None:
        os.close(self.lifeline)
        self.lifeline = -1


@contextmanager
def provider(
    directory: str, engine: str = FAKE, *, curve: bool = False, parent_pid: int | None = None, **settings: Any
) -> Iterator[Provider]:
    """A provider process, ended in any case. `directory` must have a short path."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        endpoints.harden(router)
        key = None
        if curve:
            public, router.curve_secretkey = zmq.curve_keypair()
            router.curve_publickey, router.curve_server, key = public, True, public.decode()
        router.bind("tcp://127.0.0.1:*" if curve else f"ipc://{directory}/p.sock")
        start = StartLine(
            address=router.getsockopt_string(zmq.LAST_ENDPOINT),
            provider="fake",
            epoch=3,
            token=secrets.token_hex(8),
            parent_pid=os.getpid() if parent_pid is None else parent_pid,
            engine=engine,
            server_key=key,
            settings=settings,
        )
        with _process(start) as (process, lifeline):
            peer = Provider(router, process, lifeline, start)
            try:
                yield peer
            finally:
                if peer.lifeline >= 0:
                    os.close(peer.lifeline)


@contextmanager
def _process(start: StartLine) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-m", "voicebox_provider"], stdin=reading)
    os.close(reading)
    os.write(writing, start.encode())
    try:
        yield process, writing
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def gone(pid_descriptor: int) -> bool:
    """Whether a process (a pidfd) ends within our patience; it need not be a child."""
    poller = zmq.Poller()
    poller.register(pid_descriptor, zmq.POLLIN)
    deadline = time.monotonic() + PATIENCE_S
    return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
