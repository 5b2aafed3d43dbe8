"""A daemon of few words: a thread that speaks the client's wire, does what its script says and records what it hears."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import zmq

from voicebox_protocol import endpoints, places, schema, wire

BOOT = "boot-of-the-fake"
RATE = 24_000
WAIT_S = 20.0

STATUS: dict[str, Any] = {
    "daemon": {
        "pid": 4711,
        "version": "0.1.0",
        "uptime_s": 75.0,
        "rss_bytes": 40_000_000,
        "socket": "/run/voicebox/control.sock",
        "connections": 1,
        "boot": BOOT,
        "mode": "auto",
    },
    "providers": [
        {
            "id": "builtin",
            "kind": "tts",
            "engine": "hibari",
            "version": "0.2.1",
            "state": "ready",
            "pid": 4712,
            "standby_pid": None,
            "workers": [{"pid": 4712, "state": "ready", "epoch": 1, "rss_bytes": 200_000_000}],
            "epoch": 1,
            "restarts": 0,
            "rss_bytes": 200_000_000,
            "device": "cpu",
            "vram_used_bytes": None,
            "reason": None,
        }
    ],
    "requests": {"active": 0, "queued": 0, "done": 3, "failed": 0, "cancelled": 1},
    "dropped": {},
}
VOICES = [
    {
        "id": "anna",
        "provider": "builtin",
        "name": "Anna",
        "languages": ["en-US", "en-GB"],
        "kind": "preset",
        "default": True,
    },
    {"id": "bert", "provider": "builtin", "name": "Bert\x1b[2J", "languages": ["de"], "kind": "preset"},
]
AUDIO: dict[str, Any] = {
    "volume": 0.8,
    "muted": False,
    "paused": False,
    "device": "Speakers",
    "playing": False,
    "speaking": None,
    "waiting": [],
    "underruns": 0,
    "sink": "device",
    "trouble": None,
}
DEVICES = [
    {"name": "Speakers", "default": True, "backend": "pulseaudio"},
    {"name": "USB Headset\x1b[2J", "default": False, "backend": "pulseaudio"},
]
PROVIDERS = [{"id": "builtin", "engine": "hibari", "source": "entry point", "state": "ready", "reason": None}]


def tone(frames: int, level: float = 0.25) -> bytes:
    """Float32 samples, all of one level."""
    return array("f", [level] * frames).tobytes()


class FakeDaemon:
    """Owns a ROUTER, a session door and the thread between them. `script` is called for each message after Hello."""

    def __init__(
        self,
        directory: Path,
        script: Callable[[FakeDaemon, bytes, Any, bytes], None] | None = None,
        *,
        boot: str = BOOT,
    ) -> None:
        self.script = script or speak
        self.boot = boot
        self.features = ["resume", "cloning", "loudspeaker"]
        self.audio = dict(AUDIO)
        self.received: list[Any] = []
        self.texts: dict[str, bytes] = {}
        self.prompts: dict[str, bytes] = {}
        self.version = "0.1.0"
        self.mode = "auto"
        self.pid = os.getpid()
        self.departed = 0
        self.errors: list[BaseException] = []
        self._heard = threading.Condition()
        self._transport = endpoints.IpcTransport(places.ensure_private(directory))
        self._decoder = schema.Decoder(wire.CLIENT_TO_DAEMON)
        self._doors: list[socket.socket] = []
        self._stop, self._stopping = socket.socketpair()
        self._ready = threading.Event()
        self._jobs: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="fake-daemon")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        assert not self.errors, self.errors

    def die(self) -> None:
        """End as a crash does: every socket closes."""
        with contextlib.suppress(OSError):
            self._stopping.send(b"x")
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        for end in (self._stop, self._stopping):
            end.close()

    def wait_for(self, kind: str, count: int = 1, **fields: Any) -> list[Any]:
        """The messages of a kind with these fields, once there are so many."""

        def found() -> list[Any]:
            return [
                message
                for message in self.received
                if type(message).__name__ == kind and all(getattr(message, key) == fields[key] for key in fields)
            ]

        with self._heard:
            assert self._heard.wait_for(lambda: len(found()) >= count, WAIT_S), (kind, count, self.received)
            return found()

    def wait_for_departures(self, count: int) -> None:
        """Until so many session doors have been closed from outside."""
        with self._heard:
            assert self._heard.wait_for(lambda: self.departed >= count, WAIT_S)

    def do(self, job: Callable[[], None]) -> None:
        """Have the daemon's thread do something, as a script does."""
        self._jobs.append(job)
        self._stopping.send(b"j")

    # --- what a script says

    def send(self, to: bytes, message: schema.Message, payload: bytes | None = None) -> None:
        frames = [to, wire.MAGIC, schema.encode(message)]
        self._router.send_multipart(frames if payload is None else [*frames, payload])

    def accept(self, to: bytes, req: str, **fields: Any) -> None:
        known = {"seed": 7, "sample_rate": RATE, "provider": "builtin", "voice": "anna", "language": "en", **fields}
        self.send(to, schema.Accepted(boot=self.boot, req=req, **known))

    def chunk(self, to: bytes, req: str, seq: int, *pieces: bytes, segment: int = 0, **fields: Any) -> None:
        descriptors, offset = [], 0
        for piece in pieces:
            descriptors.append((0, offset, len(piece) // 4, zlib.crc32(piece)))
            offset += len(piece)
        message = schema.Chunk(
            boot=self.boot, req=req, attempt=1, segment=segment, seq=seq, descriptors=descriptors, **fields
        )
        self.send(to, message, b"".join(pieces))

    def hear(self, to: bytes, req: str, frames: int, chars: int, segment: int, begin: int, *span: int) -> None:
        """The listener is so far; the segment begins at frame `begin` and is these characters."""
        place = {"segment": segment, "segment_frame": begin, "char_start": span[0], "char_end": span[1]}
        self.send(to, schema.Heard(boot=self.boot, req=req, frames=frames, chars=chars, **place))

    def end(self, to: bytes, kind: str, req: str, frames: int, **fields: Any) -> None:
        known: dict[str, Any] = {
            "provider": "builtin",
            "voice": "anna",
            "sample_rate": RATE,
            "frames": frames,
            "segments": 1,
            "delivered_chars": 5,
            "seed": 7,
            "attempts": [{"provider": "builtin", "voice": "anna", "epoch": 1, "outcome": kind.lower(), "reason": None}],
            "first_audio_ms": 80.0,
            "total_ms": 120.0,
        }
        self.send(to, schema.STRUCTS[kind](boot=self.boot, req=req, **{**known, **fields}))

    # --- the thread

    def _run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as self._router:
            endpoints.harden(self._router)
            self._transport.bind_control(self._router)
            with self._transport.listen_session() as self._listener:
                self._ready.set()
                try:
                    self._serve()
                except BaseException as error:
                    self.errors.append(error)
                finally:
                    for door in self._doors:
                        door.close()
                    self._transport.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        for source in (self._router, self._listener, self._stop):
            poller.register(source, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stop.fileno() in ready:
                if b"x" in self._stop.recv(4096):
                    return
                while self._jobs:
                    self._jobs.pop(0)()
            if self._listener.fileno() in ready:
                self._doors.append(self._listener.accept()[0])
                poller.register(self._doors[-1], zmq.POLLIN)
            for door in [door for door in self._doors if door.fileno() in ready]:
                if not self._answer_door(door):
                    poller.unregister(door)
                    self._doors.remove(door)
                    door.close()
            if self._router in ready:
                self._hear()

    def _answer_door(self, door: socket.socket) -> bool:
        said = door.recv(64)
        if said == b"t1\n":
            door.sendall(b"OK\n")
        if not said:
            with self._heard:
                self.departed += 1
                self._heard.notify_all()
        return bool(said)

    def _hear(self) -> None:
        to, magic, header, *payload = self._router.recv_multipart()
        message = self._decoder.message(magic, header)
        text = payload[0] if payload else b""
        if len(payload) > 1:
            self.prompts[message.req] = payload[1]
        if isinstance(message, (schema.Say, schema.Text)):
            self.texts[message.req] = self.texts.get(message.req, b"") + text
        if isinstance(message, schema.Hello):
            self._greet(to)
        else:
            self.script(self, to, message, text)
        with self._heard:
            self.received.append(message)
            self._heard.notify_all()

    def _greet(self, to: bytes) -> None:
        welcome = schema.Welcome(
            proto=1,
            boot=self.boot,
            session="s1",
            token="t1",
            version=self.version,
            pid=self.pid,
            mode=self.mode,
            features=self.features,
        )
        self.send(to, welcome)


def answer_query(daemon: FakeDaemon, to: bytes, message: Any) -> bool:
    """Answer a query as a contented daemon does; whether it was one."""
    if isinstance(message, schema.Status):
        daemon.send(to, schema.StatusReply(query=message.query, status=STATUS))
    elif isinstance(message, schema.Voices):
        found = [
            voice for voice in VOICES if not message.language or any(message.language in x for x in voice["languages"])
        ]
        daemon.send(to, schema.VoicesReply(query=message.query, voices=found))
    elif isinstance(message, schema.Providers):
        daemon.send(to, schema.ProvidersReply(query=message.query, providers=PROVIDERS))
    elif isinstance(message, schema.ControlProvider):
        state = "stopped" if message.action == "stop" else "ready"
        daemon.send(to, schema.ProviderControlled(query=message.query, provider={**PROVIDERS[0], "state": state}))
    elif isinstance(message, schema.Stop) and message.req:
        daemon.send(to, schema.Error(code="NO_SUCH_REQUEST", message="no such request", query=message.query))
    elif isinstance(message, schema.Stop):
        daemon.send(
            to, schema.Stopped(query=message.query, reqs=["r1"] if message.all else [], count=int(bool(message.all)))
        )
    elif isinstance(message, schema.Playback) and message.req:
        daemon.send(to, schema.Error(code="NO_SUCH_REQUEST", message="no such request", query=message.query))
    elif isinstance(message, schema.Playback):
        daemon.send(to, schema.PlaybackReply(query=message.query, reqs=["r1", "r2"], count=2))
    elif isinstance(message, schema.Audio):
        asked = {name: getattr(message, name) for name in ("volume", "muted", "device")}
        daemon.audio |= {name: value for name, value in asked.items() if value is not None}
        found = daemon.audio | ({"devices": DEVICES} if message.devices else {})
        daemon.send(to, schema.AudioReply(query=message.query, audio=found))
    elif isinstance(message, schema.Shutdown):
        daemon.send(to, schema.ShuttingDown(query=message.query))
    else:
        return False
    return True


def speak(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    """The script of a daemon that works: two chunks of 0.1 s for each Say, and Done; at the loudspeaker, nothing but that."""
    if answer_query(daemon, to, message):
        return
    if isinstance(message, schema.Say) and message.sink == "speaker":
        daemon.accept(to, message.req)
        if message.follow:
            daemon.hear(to, message.req, 0, 0, 0, 0, 0, 2)
            daemon.hear(to, message.req, 1200, 1, 0, 0, 0, 2)
            daemon.hear(to, message.req, 2400, 2, 1, 2400, 2, 5)
        daemon.end(to, "Done", message.req, 4800, heard_chars=5, heard_s=0.2)
    elif (isinstance(message, schema.Say) and not message.more) or (isinstance(message, schema.Text) and message.last):
        length = len(daemon.texts[message.req].decode())
        daemon.accept(to, message.req)
        for index in range(2):
            daemon.chunk(to, message.req, index, tone(2400), char_start=0, char_end=length)
        daemon.end(to, "Done", message.req, 4800)
    elif isinstance(message, schema.Text):
        upto = len(daemon.texts[message.req]) + wire.TEXT_WINDOW
        daemon.send(to, schema.TextCredit(boot=daemon.boot, req=message.req, upto=upto))
    elif isinstance(message, schema.Cancel):
        daemon.end(to, "Cancelled", message.req, 0)
