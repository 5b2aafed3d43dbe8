"""Whether there is a device to play on: a process of its own says so, or is given up in time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voicebox_cli.checkup import sound
from voicebox_cli.checkup.facts import Sound
from voicebox_player.device_list import BACKEND

PATIENCE_S = 60.0


def test_a_device_is_named_by_its_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND, "null")
    assert sound.Search().result(PATIENCE_S) == Sound(backend="null")


def test_why_there_is_none_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND, "nonsense")
    found = sound.Search().result(PATIENCE_S)
    assert found.backend is None
    assert (found.trouble or "").startswith(f"{BACKEND} is 'nonsense'; it takes ")


@pytest.mark.parametrize(
    ("script", "trouble"),
    [("exec sleep 600", "the sound system gave no answer within 0.5 s"), ("kill -11 $$", "it could not be looked for")],
)
def test_a_sound_system_that_hangs_or_crashes_takes_nobody_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, trouble: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert sound.Search().result(0.5 if "sleep" in script else PATIENCE_S) == Sound(trouble=trouble)
