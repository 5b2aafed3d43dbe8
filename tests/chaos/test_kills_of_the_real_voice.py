"""The built-in voice killed after any number of delivered pieces: the file that comes of it is the undisturbed one."""

from __future__ import annotations

import os
import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.chaos.conftest import LONG
from tests.integration.daemon import Daemon, running
from voicebox_client import Voicebox
from voicebox_client.events import Chunk, Event, Result
from voicebox_client.speech import Speech

pytestmark = pytest.mark.timeout(600)

KILLS = 50 if LONG else 5
SEED = 7
DAYS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
TEXT = " ".join(
    f"On the {day} day the tide was out, and the harbour lay quiet. Nobody had come to look for the boats."
    for day in DAYS[: None if LONG else 4]
)


class Reader:
    """Owns what is known of one speech that is read: which attempts gave sound to which segment. Kills after `pieces`."""

    def __init__(self, daemon: Daemon, pieces: int | None) -> None:
        self._daemon = daemon
        self._pieces = pieces
        self.read = 0
        self.attempts: defaultdict[int, set[int]] = defaultdict(set)

    def heard(self, kind: str, header: dict[str, Any]) -> None:
        if kind == "Chunk":
            self.attempts[header["segment"]].add(header["attempt"])

    def took(self, event: Event | None) -> None:
        self.read += isinstance(event, Chunk)
        if self.read == self._pieces:
            self._pieces = None
            os.kill(self._worker(), signal.SIGKILL)

    def _worker(self) -> int:
        """The process that speaks, or the one that would."""
        (provider,) = [each for each in self._daemon.status()["providers"] if each["id"] == "builtin"]
        workers = sorted(provider["workers"], key=lambda worker: -worker["jobs"])
        pid: int = next(worker["pid"] for worker in workers if worker["pid"])
        return pid


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running() as daemon:
        yield daemon


@pytest.fixture
def found(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The daemon, where a client in this process looks for it."""
    for name, value in daemon.place.environment.items():
        if name.startswith("VOICEBOX_"):
            monkeypatch.setenv(name, value)
    return daemon


def save(reader: Reader, path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """The text as a file, as any program would have it, while `reader` looks on."""
    receive, take = Speech.receive, Speech.take

    def received(speech: Speech, kind: str, header: dict[str, Any], payload: memoryview) -> None:
        reader.heard(kind, header)
        receive(speech, kind, header, payload)

    def taken(speech: Speech) -> Event | None:
        event = take(speech)
        reader.took(event)
        return event

    with monkeypatch.context() as patched, Voicebox(autostart=False) as box:
        patched.setattr(Speech, "receive", received)
        patched.setattr(Speech, "take", taken)
        return box.say(TEXT, voice="heart", seed=SEED).save(path)


def test_every_file_is_the_undisturbed_one(found: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole.wav"
    undisturbed = Reader(found, None)
    assert save(undisturbed, whole, monkeypatch).resumed is None
    samples, rate = soundfile.read(whole, dtype="int16")
    assert len(samples) > 15 * rate
    seed = random.randrange(2**32)
    print(f"{KILLS} kills over {undisturbed.read} pieces, seed {seed}")
    chance, broken = random.Random(seed), 0
    for number in range(KILLS):
        pieces = chance.randint(1, undisturbed.read)
        path, reader = tmp_path / f"{number}.wav", Reader(found, pieces)
        result = save(reader, path, monkeypatch)
        where = f"killed after {pieces} of {undisturbed.read} pieces, seed {seed}"
        assert result.state == "done", where
        assert path.read_bytes() == whole.read_bytes(), where
        assert result.resumed in (None, "exact"), where
        if any(len(attempts) > 1 for attempts in reader.attempts.values()):
            assert result.resumed == "exact", where
        broken += any(attempt["outcome"] == "failed" for attempt in result.attempts)
    print(f"{broken} of them while it spoke")
    assert broken, "some of the kills met a segment in work"
