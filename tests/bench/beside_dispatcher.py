"""speech-dispatcher as Debian packages it: a private instance with its packaged configuration, and a client of its protocol.

It finds its engines by itself. Of its configuration one line is changed: espeak-ng is the default module. The protocol (SSIP)
stands in its documentation, "Speech Synthesis Interface Protocol".
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.beside_side import Told
from tests.bench.beside_sound import Sink, patiently

ENGINE = "sd_espeak-ng"
QUESTION = "LIST OUTPUT_MODULES"

_CONFIGURATION = Path("/etc/speech-dispatcher")
_PROGRAMS = ("speech-dispatcher", "spd-say", "pulseaudio", "parec", "espeak-ng")
_LAST = ("702", "703")
_START_S = 20.0
_STARTS = 3
_REPLY_S = 60.0
_MODULES_S = 10.0


class Lost(Exception):
    """The daemon has closed the connection."""


def missing() -> list[str]:
    """The programs that the comparison needs and that are not installed."""
    return [name for name in _PROGRAMS if shutil.which(name) is None]


class Line:
    """Owns one connection; reads a whole reply at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._socket.close()

    def send(self, line: str) -> None:
        try:
            self._socket.sendall(f"{line}\r\n".encode())
        except OSError:
            raise Lost from None

    def reply(self) -> list[str]:
        """The lines of the next reply or event; the last of them has a space after its number. Raises `Lost`."""
        lines: list[str] = []
        while not lines or lines[-1][3] == "-":
            with contextlib.suppress(OSError, ValueError):
                if line := self._file.readline().decode().rstrip():
                    lines.append(line)
                    continue
            raise Lost
        return lines

    def ask(self, line: str) -> list[str]:
        self.send(line)
        return self.reply()


class Speaker:
    """A client that speaks and hears its events. Owns a connection whose replies a thread reads."""

    def __init__(self, path: Path) -> None:
        self._line = Line(path)
        self._replies: queue.Queue[list[str] | None] = queue.Queue()
        self._told: dict[str, Told] = {}
        self._early: list[list[str]] = []
        self._lock = threading.Lock()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._ask("SET SELF CLIENT_NAME bench:bench:main")
        self._ask("SET SELF NOTIFICATION ALL ON")

    def close(self) -> None:
        self._line.close()
        self._thread.join()

    def say(self, text: str) -> Told:
        """Raises `Lost`."""
        told = Told()
        self._ask("SPEAK")
        reply = self._ask(f"{text}\r\n.")
        told.hear(reply[-1][4:])
        with self._lock:
            self._told[reply[0].partition("-")[2]] = told
            early, self._early = self._early, []
        for event in early:
            self._hear(event)
        return told

    def _ask(self, line: str) -> list[str]:
        self._line.send(line)
        reply = self._replies.get(timeout=_REPLY_S)
        if reply is None:
            raise Lost
        assert reply[-1].startswith("2"), reply
        return reply

    def _read(self) -> None:
        with contextlib.suppress(Lost):
            while True:
                lines = self._line.reply()
                self._hear(lines) if lines[-1].startswith("7") else self._replies.put(lines)
        self.lost.set()
        self._replies.put(None)
        for told in self._told.values():
            if not told.over.is_set():
                told.hear("connection lost", last=True)

    def _hear(self, event: list[str]) -> None:
        """An event may come before its request's own reply has been looked at."""
        with self._lock:
            told = self._told.get(event[0].partition("-")[2])
            if told is None:
                self._early.append(event)
                return
        told.hear(event[-1][4:], last=event[-1][:3] in _LAST)


class Dispatcher:
    """Owns a private instance of it, and two clients: one that speaks and one that asks."""

    sign = "BEGIN"

    def __init__(self, home: Path, sink: Sink) -> None:
        self._home = home
        self._sink = sink
        shutil.copytree(_CONFIGURATION, home / "config" / "speech-dispatcher")
        with (home / "config" / "speech-dispatcher" / "speechd.conf").open("a") as file:
            file.write("\nDefaultModule espeak-ng\n")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            **sink.environment,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        self.path = home / "speech-dispatcher" / "speechd.sock"
        self._speaker: Speaker | None = None
        self._line: Line | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> Line:
        """Start it; gives a connection once it has answered on it."""
        self._server = subprocess.Popen(
            ["speech-dispatcher", "-s"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.perf_counter() + _START_S
        while True:
            with contextlib.suppress(OSError):
                self._line = Line(self.path)
                self._line.ask(QUESTION)
                return self._line
            assert time.perf_counter() < until, "speech-dispatcher does not answer"
            time.sleep(0.001)

    def prepare(self) -> bool:
        """Connect the client that speaks, and have it speak once: at the first time it opens the loudspeaker. Whether it did."""
        self._speaker = Speaker(self.path)
        return self.say("Ready.").over.wait(_START_S)

    def close(self) -> None:
        for client in (self._speaker, self._line):
            if client is not None:
                client.close()
        for process in self._own():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._server is not None:
            self._server.wait()
        patiently(lambda: not self._own(), time.perf_counter() + _START_S)

    # --- what the comparison asks of it

    def say(self, text: str) -> Told:
        if self._speaker is not None and not self._speaker.lost.is_set():
            with contextlib.suppress(Lost):
                return self._speaker.say(text)
        return self._by_command(text)

    def command(self, text: str) -> list[str]:
        return ["spd-say", "-w", text]

    def daemon(self) -> int:
        assert self._server is not None
        return self._server.pid

    def engine(self) -> int:
        return self.processes()[ENGINE]

    def at_work(self) -> bool | None:
        """It does not say."""
        return None

    def revive(self) -> None:
        """Have it start engines that died, as its manual says ("Signals"): it does so when it is told to."""
        os.kill(self.daemon(), signal.SIGUSR1)

    def processes(self) -> dict[str, int]:
        return {process.name(): process.pid for process in self._own() if process.status() != psutil.STATUS_ZOMBIE}

    def ask(self) -> None:
        self._ask(QUESTION)

    def ask_setting(self) -> None:
        """The cheapest question there is."""
        self._ask("GET RATE")

    def list_voices(self) -> int:
        return len(self._ask("LIST SYNTHESIS_VOICES")) - 1

    def modules(self) -> list[str]:
        """The engines that it says it has."""
        return [line[4:] for line in self._ask(QUESTION)[:-1]]

    def _ask(self, line: str) -> list[str]:
        assert self._line is not None
        return self._line.ask(line)

    def _by_command(self, text: str) -> Told:
        """By the command that comes with it, which starts the daemon where none runs."""
        told = Told()
        process = subprocess.Popen(self.command(text), env=self.environment, stderr=subprocess.DEVNULL)

        def wait() -> None:
            told.hear(f"`spd-say` ended with {process.wait()}", last=True)

        threading.Thread(target=wait, daemon=True).start()
        return told

    def _own(self) -> list[psutil.Process]:
        """Every process of this instance, found by its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("XDG_RUNTIME_DIR") == str(self._home):
                    found.append(process)
        return found


@contextlib.contextmanager
def resting(sink: Sink) -> Iterator[Dispatcher]:
    """An instance that is not started yet, ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="sd-", ignore_cleanup_errors=True) as directory:
        made = Dispatcher(Path(directory), sink)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def dispatcher(sink: Sink) -> Iterator[Dispatcher]:
    """One that runs and has spoken. Now and then it starts and never says a word; then another one is taken."""
    for _ in range(_STARTS):
        with resting(sink) as made:
            made.start()
            if made.prepare():
                yield made
                return
    raise AssertionError(f"speech-dispatcher was started {_STARTS} times and never spoke")


def version() -> str:
    """What is installed, as it says itself."""
    told = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].partition("  ")[0]
        for command in _TOLD
    ]
    return ", ".join(told)


_TOLD = (["speech-dispatcher", "--version"], ["espeak-ng", "--version"], ["pulseaudio", "--version"])
