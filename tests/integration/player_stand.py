"""The daemon's end of a player's line, served by the test itself: a ROUTER, a session door, a lifeline and a position page."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import soundfile
import zmq

from tests.integration.daemon import DEADLINE, Place
from voicebox_protocol import endpoints, wire
from voicebox_protocol.position import Position, PositionPage
from voicebox_protocol.startline import StartLine

RATE = 48_000
BLOCK = 480
TOKEN = "the player's own"
BOOT = "boot"

Samples = npt.NDArray[np.float32]


class Stand:
    """Owns one place and the players that ran in it, one at a time. `heard` keeps every message of theirs."""

    def __init__(self, sink: str | None = None, **environment: str) -> None:
        self.place = Place(**environment)
        self.recording = self.place.root / "heard.wav"
        self.sink = sink or f"wav:{self.recording}"
        self.place.runtime.mkdir(mode=0o700)
        self.page = PositionPage(str(self.place.root / "position"))
        self.transport = endpoints.IpcTransport(self.place.runtime)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        endpoints.harden(self.router)
        self.transport.bind_control(self.router)
        self.listener = self.transport.listen_session()
        self.listener.settimeout(DEADLINE)
        self.door: Any = None
        self.process: subprocess.Popen[bytes] | None = None
        self.peer = b""
        self.heard: list[dict[str, Any]] = []
        self.log = self.place.root / "player.log"

    # --- its life

    def start(self, **speaker: Any) -> dict[str, Any]:
        """Start a player, and give its Hello."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "voicebox_player"],
                env=self.place.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        assert self.process.stdin is not None
        settings = {"sink": self.sink, "page": str(self.place.root / "position"), "device": None}
        line = StartLine("", "player", 0, TOKEN, 0, settings=settings)
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        hello = self.receive()
        welcome = {"proto": 1, "boot": BOOT, "session": "s", "token": "door", "version": "0", "pid": 1}
        self.send("Welcome", **welcome)
        self.door, _ = self.listener.accept()
        self.door.settimeout(DEADLINE)
        assert self.door.recv(64) == b"door\n"
        self.door.sendall(b"OK\n")
        self.speaker(**speaker)
        return hello

    def kill(self) -> Position | None:
        """SIGKILL, and what the page says then."""
        assert self.process is not None
        self.process.kill()
        self._reap()
        self.drain()
        return self.page.read()

    def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        code = self.process.wait(DEADLINE)
        self._reap()
        return code

    def _reap(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.wait(DEADLINE)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.door.close()
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        self.page.close()
        self.listener.close()
        self.router.close(0)
        self.context.term()
        shutil.rmtree(self.place.root, ignore_errors=True)

    # --- messages

    def send(self, kind: str, payload: bytes | None = None, **fields: Any) -> None:
        frames = [self.peer, wire.MAGIC, msgpack.packb({"kind": kind, **fields})]
        self.router.send_multipart(frames if payload is None else [*frames, payload])

    def speaker(self, **changed: Any) -> None:
        self.send("Speaker", **{"boot": BOOT, "volume": 1.0, "muted": False, "paused": False, **changed})

    def play(self, req: str, rate: int = RATE, frame: int = 0, at: int = 0) -> None:
        self.send("Play", boot=BOOT, req=req, sample_rate=rate, frame=frame, at=at)

    def chunk(self, req: str, seq: int, *pieces: Samples) -> int:
        """Send pieces in one Chunk; gives the number of the next."""
        descriptors, offset = [], 0
        for piece in pieces:
            descriptors.append([0, offset, len(piece), 0])
            offset += 4 * len(piece)
        fields = {"boot": BOOT, "req": req, "attempt": 0, "segment": 0, "seq": seq, "descriptors": descriptors}
        self.send("Chunk", b"".join(piece.tobytes() for piece in pieces), **fields)
        return seq + len(pieces)

    def finish(self, req: str, frames: int) -> None:
        self.send("Finish", boot=BOOT, req=req, frames=frames)

    def hush(self, req: str) -> None:
        self.send("Hush", boot=BOOT, req=req)

    def reset(self, req: str, frames: int) -> None:
        self.send("Reset", boot=BOOT, req=req, segment=0, frames=frames, reason="another speaks")

    def receive(self) -> dict[str, Any]:
        """The next message."""
        assert self.router.poll(int(DEADLINE * 1000)), f"it says nothing; its log: {self.log.read_text()}"
        return self._take()

    def drain(self) -> None:
        """Take what has come."""
        while self.router.poll(0):
            self._take()

    def until(self, met: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first message from now on that is so."""
        while not met(message := self.receive()):
            pass
        return message

    def last(self, req: str) -> dict[str, Any]:
        """The Played that says that nothing more of a request will be heard."""
        return self.until(lambda m: m["kind"] == "Played" and m["req"] == req and m.get("last"))

    def say(self, req: str, samples: Samples, rate: int = RATE, piece: int = RATE // 10) -> None:
        """A whole request at once."""
        self.play(req, rate)
        pieces = [samples[begin : begin + piece] for begin in range(0, len(samples), piece)]
        self.chunk(req, 0, *pieces)
        self.finish(req, len(samples))

    def _take(self) -> dict[str, Any]:
        self.peer, magic, header, *_ = self.router.recv_multipart()
        assert magic == wire.MAGIC
        message: dict[str, Any] = msgpack.unpackb(header)
        self.heard.append(message)
        return message

    def of(self, kind: str, req: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["kind"] == kind and message["req"] == req]

    def credited(self, req: str) -> list[int]:
        """The pieces that were credited, in that order."""
        return [seq for m in self.of("Credit", req) for seq in range(m["first"], m["last"] + 1)]

    # --- what was heard

    def recorded(self) -> Samples:
        """The recording as it stands."""
        samples, rate = soundfile.read(io.BytesIO(self.recording.read_bytes()), dtype="float32")
        assert rate == RATE
        return np.asarray(samples, np.float32)


def noise(seconds: float, rate: int = RATE, seed: int = 1) -> Samples:
    """Loud in every frame, so that no sample of it is silence."""
    drawn = np.random.default_rng(seed).uniform(0.1, 0.9, round(seconds * rate))
    return np.where(np.arange(len(drawn)) % 2, drawn, -drawn).astype(np.float32)


def sounding(samples: Samples) -> Samples:
    """Without its silence."""
    return samples[samples != 0]


def patiently(met: Callable[[], Any], why: str) -> Any:
    end = time.monotonic() + DEADLINE
    while not (value := met()):
        assert time.monotonic() < end, why
        time.sleep(0.005)
    return value


@contextlib.contextmanager
def stand(sink: str | None = None, **environment: str) -> Iterator[Stand]:
    """A `Stand`, ended and removed afterwards."""
    made = Stand(sink, **environment)
    try:
        yield made
    finally:
        made.close()
