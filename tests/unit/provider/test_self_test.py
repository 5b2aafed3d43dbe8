"""The first sentence of an engine, without a daemon; and what is said of work that takes long."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from voicebox_provider import patience

FAKE = "voicebox_provider.testing:FakeEngine"


def tried(engine: str, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    told = json.dumps({"engine": engine, "settings": settings})
    command = [sys.executable, "-m", "voicebox_provider.self_test"]
    return subprocess.run(command, input=told, capture_output=True, text=True, timeout=60, check=False)


def test_an_engine_speaks_a_sentence() -> None:
    done = tried(FAKE, {"voices": ["one", "two"], "ms_per_char": 10})
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["engine"], report["voices"], report["sample_rate"]) == ("fake", ["one", "two"], 24000)
    assert report["frames"] == 24000 * len("The kettle is on.") * 10 // 1000


def test_one_that_only_clones_is_given_a_recording() -> None:
    done = tried(FAKE, {"voices": [], "cloning": True, "ms_per_char": 10})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 24000 * len("The kettle is on.") * 10 // 1000


def test_one_without_a_voice_is_only_loaded() -> None:
    done = tried(FAKE, {"voices": []})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 0


@pytest.mark.parametrize(
    ("engine", "settings", "words"),
    [
        (FAKE, {"fail_load": True}, "as the setting says"),
        (FAKE, {"nothing": 1}, "no setting 'nothing'"),
        ("not.there:Engine", {}, "cannot be imported"),
    ],
)
def test_why_it_does_not_is_told(engine: str, settings: dict[str, Any], words: str) -> None:
    done = tried(engine, settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_what_takes_long_is_told_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_EVERY_S", 0.001)
    often = threading.Semaphore(0)
    with patience.steadily(often.release, 60.0):
        assert all(often.acquire(timeout=60) for _ in range(3))


def test_what_takes_too_long_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_EVERY_S", 0.0)
    told: list[None] = []
    with patience.steadily(lambda: told.append(None), 0.0):
        pass
    assert told == []
