"""One life of the provider on trial: its process, started as the daemon starts it, and the ROUTER it talks to."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
import zmq

from voicebox_protocol import __version__, endpoints, wire
from voicebox_protocol.schema import (
    Cancel,
    Decoder,
    Exit,
    Hello,
    Malformed,
    Message,
    Prepare,
    Prepared,
    Synthesize,
    Welcome,
    encode,
)
from voicebox_protocol.startline import StartLine
from voicebox_provider.conformance.budget import Budget
from voicebox_provider.conformance.spoken import ENDS, Spoken
from voicebox_provider.conformance.target import Target
from voicebox_provider.conformance.verdicts import ANSWERS, CLONES, MESSAGES, Broken

BOOT = "conformance"
ANSWER_S = 60.0

_LOOK_MS = 50
_LAST_WORDS = 600
_Kind = TypeVar("_Kind", bound=Message)


class Life:
    """Owns one process and its sockets; use it as a context manager."""

    def __init__(self, target: Target, directory: Path, budget: Budget, epoch: int) -> None:
        self._budget = budget
        self._decoder = Decoder(wire.PROVIDER_TO_DAEMON)
        self._identity: bytes | None = None
        self._attempts = 0
        self.prompt: bytes | None = None
        directory = directory / str(epoch)
        directory.mkdir(mode=0o700)
        self._log = directory / "log"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        address, key = self._bind(directory)
        self.start = StartLine(
            address=address,
            provider=target.name,
            epoch=epoch,
            token=secrets.token_hex(16),
            parent_pid=os.getpid(),
            engine=target.engine,
            server_key=key,
            settings=target.settings,
        )
        self.born = budget.now()
        self.process = self._spawn(target.command)

    def _bind(self, directory: Path) -> tuple[str, str | None]:
        endpoints.harden(self._router)
        transport = endpoints.transport(directory)
        with self._context.socket(zmq.ROUTER) as control:  # this is where CURVE draws its keys
            transport.bind_control(control)
        return transport.bind_providers(self._router, BOOT)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        try:
            with self._log.open("wb") as log:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            self._context.destroy(linger=0)
            raise ValueError(f"{command[0]} cannot be started: {error.strerror}") from None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code tells more
            process.stdin.write(self.start.encode())
            process.stdin.flush()
        return process

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and its group, if they still run, and close the sockets."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.cut_lifeline()
        self._context.destroy(linger=0)

    def cut_lifeline(self) -> None:
        """Close the pipe, as the death of a daemon does."""
        with contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    # --- listening

    def hear(self, within: float, paragraph: str) -> tuple[Message, bytes]:
        """The next message and its payload. Raises `Broken` if none comes, or the process dies."""
        until = self._budget.now() + self._budget.share(within)
        while not self._router.poll(_LOOK_MS):
            if not self.alive and not self._router.poll(_LOOK_MS):
                raise Broken(paragraph, self._death())
            if self._budget.now() >= until:
                raise Broken(paragraph, f"it said nothing for {within:g} s")
        identity, *frames = self._router.recv_multipart()
        if self._identity is None:
            self._identity = identity
        if not 2 <= len(frames) <= 3 or identity != self._identity:
            raise Broken(MESSAGES, f"a message of {len(frames)} frames; it takes VB1, a header and at most a payload")
        return self._read(frames[0], frames[1]), frames[2] if len(frames) > 2 else b""

    def _read(self, magic: bytes, header: bytes) -> Message:
        try:
            message = self._decoder.message(magic, header)
        except Malformed as error:
            raise Broken(MESSAGES, f"it sent what is no message: {error}") from None
        epoch = getattr(message, "epoch", None)
        if epoch not in (None, self.start.epoch):
            raise Broken(MESSAGES, f"{type(message).__name__} carries epoch {epoch}, not {self.start.epoch}")
        return message

    def expect(self, kind: type[_Kind], within: float, paragraph: str) -> _Kind:
        """The next message of that kind, past others."""
        until = self._budget.now() + within
        while True:
            message, _ = self.hear(max(0.0, until - self._budget.now()), paragraph)
            if isinstance(message, kind):
                return message

    def silent(self, seconds: float) -> bool:
        """Whether nothing is said for so long."""
        return not self._router.poll(int(self._budget.share(seconds) * 1000))

    def exit_code(self, within: float) -> int | None:
        """Wait for the process to end; None if it does not."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def _death(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace")
        words = " | ".join(line.strip() for line in text.splitlines() if line.strip())[-_LAST_WORDS:]
        return f"its process ended with code {self.process.poll()}" + (f" ({words})" if words else "")

    # --- speaking

    def say(self, message: Message, payload: bytes | None = None, prompt: bytes | None = None, **unknown: Any) -> None:
        """Send a message; `unknown` are fields that no version has."""
        header = encode(message)
        if unknown:
            header = msgspec.msgpack.encode({**msgspec.msgpack.decode(header), **unknown})
        self.send(header, payload, prompt)

    def send(self, header: bytes, payload: bytes | None = None, prompt: bytes | None = None) -> None:
        """Send a header as it is."""
        frames = [self._identity or b"", wire.MAGIC, header, payload, prompt]
        self._router.send_multipart([frame for frame in frames if frame is not None])

    def welcome(self, hello: Hello) -> None:
        """Answer Hello."""
        proto = wire.agree(hello.proto_min, hello.proto_max) or wire.PROTO_MAX
        self.say(Welcome(proto=proto, boot=BOOT, session=self.start.provider, version=__version__, pid=os.getpid()))

    def ask(self, text: str, *, prompt: bytes | None = None, **wishes: Any) -> Synthesize:
        """Send a Synthesize, every one as another attempt; with the life's own voice prompt if it has one and none is given."""
        self._attempts += 1
        standard = {"boot": BOOT, "epoch": self.start.epoch, "req": "trial", "attempt": self._attempts, "segment": 0}
        asked = Synthesize(**{**standard, "seed": 7, "sample_rate": 24000, **wishes})
        self.say(asked, text.encode(), self.prompt if prompt is None else prompt, not_known_in_this_version=[1])
        return asked

    def prepare(self, audio: bytes, sample_rate: int) -> Message | tuple[Message, bytes]:
        """Send a Prepare; the terminal message, with the voice prompt if it is Prepared."""
        self._attempts += 1
        own = Prepare(
            boot=BOOT,
            epoch=self.start.epoch,
            req="recording",
            attempt=self._attempts,
            segment=0,
            sample_rate=sample_rate,
        )
        self.say(own, audio)
        while True:
            message, payload = self.hear(ANSWER_S, CLONES)
            if isinstance(message, Prepared):
                return message, payload
            if isinstance(message, ENDS):
                return message

    def cancel(self, asked: Synthesize, epoch: int | None = None) -> None:
        """Stop it; with another `epoch`, a stale Cancel."""
        whose = asked.epoch if epoch is None else epoch
        self.say(Cancel(boot=BOOT, req=asked.req, epoch=whose, attempt=asked.attempt, segment=asked.segment))

    def leave(self) -> None:
        """Send Exit."""
        self.say(Exit(boot=BOOT, reason="the trial is over"))

    def answer(self, asked: Synthesize, within: float = ANSWER_S, paragraph: str = ANSWERS) -> Spoken:
        """Everything up to the terminal message, each within so many seconds of the one before."""
        spoken = Spoken(asked, self._budget.now())
        key = (asked.req, asked.attempt, asked.segment)
        while True:
            message, payload = self.hear(within, paragraph)
            own = (getattr(message, "req", None), getattr(message, "attempt", None), getattr(message, "segment", None))
            if own not in (key, (None, None, None)):
                raise Broken(ANSWERS, f"{type(message).__name__} for a segment that had ended, or was never asked for")
            spoken.heard.append((self._budget.now(), message, payload))
            if isinstance(message, ENDS):
                return spoken

    def weigh(self) -> tuple[int, int, int]:
        """Open descriptors, threads and resident bytes of the process and its children."""
        own = psutil.Process(self.process.pid)
        every = [own, *own.children(recursive=True)]
        count = "num_handles" if sys.platform == "win32" else "num_fds"
        return (
            sum(getattr(each, count)() for each in every),
            sum(each.num_threads() for each in every),
            sum(each.memory_info().rss for each in every),
        )
