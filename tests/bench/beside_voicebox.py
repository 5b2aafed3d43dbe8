"""voiceboxd with its provider `espeak`, as it is installed; a client of the library that follows what is heard."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.beside_side import Told
from tests.bench.beside_sound import Sink
from tests.bench.listener import Onlooker
from tests.integration.daemon import Daemon, Place
from voicebox_client import Voicebox
from voicebox_player.device_list import BACKEND
from voicebox_protocol.errors import VoiceboxError

PROVIDER = "espeak"
_VOICEBOX = Path(sys.executable).with_name("voicebox")
_START_S = 60.0


def missing() -> list[str]:
    """What the comparison needs of us and is not installed."""
    return [] if find_spec("espeakng_loader") else ["the extra `espeak` (pip install '.[espeak]')"]


class Client:
    """Speaks with one provider."""

    sign = "heard"

    def __init__(self, box: Voicebox, provider: str) -> None:
        self._box = box
        self._provider = provider

    def say(self, text: str) -> Told:
        """What `voicebox say --resume` does."""
        told = Told()
        threading.Thread(target=self._say, args=(text, told), daemon=True).start()
        return told

    def _say(self, text: str, told: Told) -> None:
        try:
            with self._box.say(text, provider=self._provider, resume=True, sink="speaker") as speech:
                for event in speech.events():
                    told.hear(type(event).__name__.lower())
                result = speech.wait()
                if result.resumed:
                    told.hear(f"resumed: {result.resumed}")
                told.hear(result.state, last=True)
        except VoiceboxError as error:
            told.hear(f"error {error.code}", last=True)


class Ours(Client):
    """Owns a place for a daemon, and a client of it. While it is there this process's environment leads to it."""

    def __init__(self, sink: Sink) -> None:
        self.place = Place("", **sink.environment, **{BACKEND: "pulseaudio"})
        self._before = dict(os.environ)
        os.environ.update(self.environment)
        self._daemon: Daemon | None = None
        self._onlooker: Onlooker | None = None
        super().__init__(Voicebox(), PROVIDER)
        self.builtin = Client(self._box, "builtin")

    def start(self) -> None:
        self._daemon = Daemon(self.place)

    def prepare(self) -> None:
        """Connect, and speak once: the provider is loaded then."""
        assert self._daemon is not None
        self._onlooker = Onlooker(self._daemon)
        assert self.say("Ready.").over.wait(_START_S)

    def close(self) -> None:
        self._box.close()
        if self._onlooker is not None:
            self._onlooker.close()
        if self._daemon is not None:
            self._daemon.process.kill()
            self._daemon.process.wait()
        self.place.remove()
        os.environ.clear()
        os.environ.update(self._before)

    # --- what the comparison asks of it

    @property
    def environment(self) -> dict[str, str]:
        return self.place.environment

    def command(self, text: str) -> list[str]:
        return [str(_VOICEBOX), "say", "--provider", PROVIDER, text]

    def daemon(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def engine(self) -> int:
        entry = self._entry()
        pids = [worker["pid"] for worker in entry["workers"] if worker["pid"] not in (None, entry["standby_pid"])]
        assert pids, entry
        return int(pids[0])

    def at_work(self) -> bool:
        assert self._onlooker is not None
        return self._onlooker.busy(PROVIDER) is not None

    def processes(self) -> dict[str, int]:
        entry = self._entry()
        workers = [worker["pid"] for worker in entry["workers"] if worker["pid"]]
        engines = {f"{PROVIDER} {n}": pid for n, pid in enumerate(workers, 1)}
        return {"voiceboxd": self.daemon(), **engines, "voicebox_player": self._player()}

    def ask(self) -> None:
        self._box.status()

    def ping(self) -> None:
        """A question that the engine's process answers."""
        self._box.ping(PROVIDER)

    def list_voices(self) -> int:
        return len(self._box.voices(provider=PROVIDER))

    def _player(self) -> int:
        assert self._daemon is not None
        return player(self._daemon)

    def _entry(self) -> dict[str, Any]:
        assert self._onlooker is not None
        return self._onlooker.provider(PROVIDER)


def player(daemon: Daemon) -> int:
    """The process that plays."""
    started = [line["pid"] for line in daemon.log() if line["event"] == "player" and line["phase"] == "started"]
    return int(started[-1])


@contextlib.contextmanager
def resting(sink: Sink) -> Iterator[Ours]:
    """One that is not started yet, ended and removed afterwards."""
    made = Ours(sink)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def ours(sink: Sink) -> Iterator[Ours]:
    """One that runs and has spoken."""
    with resting(sink) as made:
        made.start()
        made.prepare()
        yield made
