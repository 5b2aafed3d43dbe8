"""`say --clone`: a recording is listened to once, and what is kept of it is little, private and never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.unit.client.fake_daemon import FakeDaemon
from tests.unit.client.test_voice_prompts import listening
from voicebox_cli import likeness
from voicebox_cli.main import main
from voicebox_client import VoicePrompt
from voicebox_protocol import schema


@pytest.fixture
def there(daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a recording, beside a daemon that listens."""
    daemon.script = listening
    monkeypatch.chdir(tmp_path)
    record("me.wav", 200.0)
    return tmp_path


def record(name: str, hertz: float) -> None:
    when = np.arange(2 * 16_000) / 16_000
    soundfile.write(name, 0.5 * np.sin(2 * np.pi * hertz * when), 16_000)


def say(*more: str) -> int:
    return main(["say", "hello", "-o", "x.pcm", "--clone", "me.wav", *more])


def kept() -> list[Path]:
    return sorted(likeness.kept_dir().iterdir())


def test_each_recording_text_provider_and_model_is_listened_to_once(daemon: FakeDaemon, there: Path) -> None:
    others: tuple[tuple[str, ...], ...] = ((), ("--clone-text", "What I say there."), ("--provider", "builtin"))
    for more in (*others, *others):
        assert say(*more) == 0
    record("me.wav", 300.0)
    assert say() == 0
    asked = daemon.wait_for("PrepareVoice")
    assert [(each.text, each.provider) for each in asked] == [
        (None, None),
        ("What I say there.", None),
        (None, "builtin"),
        (None, None),
    ]
    assert len(daemon.wait_for("Say")) == 7
    assert len(kept()) == 4
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept())


def test_what_is_kept_and_cannot_be_read_is_made_anew(daemon: FakeDaemon, there: Path) -> None:
    assert say() == 0
    kept()[0].write_bytes(b"damaged")
    assert say() == 0
    assert len(daemon.wait_for("PrepareVoice")) == 2
    assert VoicePrompt.load(kept()[0]).model == "small"


def test_where_nothing_can_be_kept_it_speaks_all_the_same(daemon: FakeDaemon, there: Path) -> None:
    likeness.kept_dir().parent.mkdir(parents=True)
    likeness.kept_dir().write_text("no directory")
    assert say() == say() == 0
    assert len(daemon.wait_for("PrepareVoice")) == 2


def test_the_oldest_go_first(tmp_path: Path) -> None:
    for number in range(likeness.MOST_KEPT + 3):
        path = tmp_path / f"{number}.voice"
        path.touch()
        os.utime(path, (number, number))
    (tmp_path / "something.else").touch()
    likeness.prune(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{number}.voice" for number in range(3, likeness.MOST_KEPT + 3)} | {"something.else"}


def refusing(code: str, times: int) -> Any:
    """The script of a daemon that refuses so many requests with a prompt."""
    left = [times]

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say) and left[0]:
            left[0] -= 1
            daemon.accept(to, message.req, voice="cloned")
            daemon.end(to, "Failed", message.req, 0, code=code, message="as I said")
        else:
            listening(daemon, to, message, text)

    return script


@pytest.mark.parametrize("code", ["BAD_PROMPT", "BAD_OPTION", "NO_SUCH_PROVIDER"])
def test_what_is_kept_of_a_model_that_has_gone_is_made_anew_once(daemon: FakeDaemon, there: Path, code: str) -> None:
    assert say() == 0
    daemon.script = refusing(code, 1)
    assert say() == 0
    assert len(daemon.wait_for("PrepareVoice")) == 2
    daemon.script = refusing(code, 2)
    assert say() in (2, 4)
    assert len(daemon.wait_for("PrepareVoice")) == 3


def test_what_was_just_made_and_is_refused_is_an_error(
    daemon: FakeDaemon, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.script = refusing("BAD_PROMPT", 1)
    assert say() == 2
    assert "as I said" in capsys.readouterr().err
    assert len(daemon.wait_for("PrepareVoice")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--clone", "none.wav"],
        ["--clone", "me.wav", "-v", "anna"],
        ["--clone", "me.wav", "--any-voice"],
        ["--clone", "me.wav", "--clone-text", " "],
        ["--clone-text", "Hello."],
    ],
)
def test_what_cannot_be_is_refused_before_a_daemon_is_asked(daemon: FakeDaemon, there: Path, wrong: list[str]) -> None:
    assert main(["say", "hello", "-o", "x.pcm", *wrong]) == 2
    assert not daemon.received
    assert not (there / "x.pcm").exists()
