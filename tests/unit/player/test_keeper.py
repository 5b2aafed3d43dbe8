"""The device itself: miniaudio's own that plays in real time into nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniaudio
import numpy as np
import pytest

from tests.conftest import PATIENCE
from voicebox_player import device, keeper
from voicebox_player.device_list import BACKEND
from voicebox_player.keeper import Keeper
from voicebox_player.playback import Played
from voicebox_player.speaker import Opened, Speaker
from voicebox_protocol.position import PositionPage

# Long enough for any machine.
PATIENT_S = 3 * PATIENCE


class Room:
    """A speaker with its keeper, the devices that were opened, and what was told."""

    def __init__(self, page: PositionPage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[Any] = []
        self.opened: list[str | None] = []
        self.devices: list[Any] = []
        self.closed: list[Any] = []
        self.news = threading.Event()
        self.speaker = Speaker(page, self.news.set)
        monkeypatch.setattr(keeper, "open_device", self._open)
        self.keeper = Keeper(self.speaker, None)

    def _open(self, rate: int, name: str | None) -> Any:
        opened: Any = device.open_device(rate, name)
        close = opened.close

        def closed() -> None:
            close()
            self.closed.append(opened)
            self.news.set()

        opened.close = closed
        self.opened.append(name)
        self.devices.append(opened)
        return opened

    def say(self, req: str, frames: int) -> None:
        with self.speaker.changed:
            self.speaker.playback.begin(req, 48_000, 0, 0)
            self.speaker.playback.append(req, 0, np.ones(frames, np.float32))
            self.speaker.playback.finish(req, frames)
            self.speaker.stir()

    def until(self, met: Any) -> None:
        while True:
            self.told += self.speaker.news()
            if met():
                return
            assert self.news.wait(PATIENT_S), self.told
            self.news.clear()

    def heard(self, req: str) -> bool:
        return any(isinstance(told, Played) and told.req == req and told.last for told in self.told)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setenv(BACKEND, "null")
    page = PositionPage(str(tmp_path / "page"))
    made = Room(page, monkeypatch)
    yield made
    made.keeper.close()
    page.close()


def test_a_device_is_open_while_there_is_sound_and_closed_after_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "CLOSE_S", 0.2)
    assert room.opened == []
    room.say("a", 4800)
    room.until(lambda: room.heard("a") and room.closed)
    assert Opened("NULL Playback Device") in room.told
    room.say("b", 4800)
    room.until(lambda: room.heard("b") and len(room.closed) == 2)
    assert room.opened == [None, None]


def test_another_device_is_opened_in_the_midst_of_a_request(room: Room) -> None:
    room.say("a", 48_000)
    room.until(lambda: Opened("NULL Playback Device") in room.told)
    with room.speaker.changed:
        room.keeper.use("NULL Playback Device")
        room.speaker.stir()
    room.until(lambda: room.heard("a"))
    assert room.opened == [None, "NULL Playback Device"]


def test_a_name_that_no_device_has_is_told_with_those_that_there_are(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RETRY_S", 0.1)
    room.keeper.use("Kitchen")
    room.say("a", 480)
    room.until(lambda: any(isinstance(told, Opened) and told.name is None for told in room.told))
    assert room.told[0].message == (
        "there is no sound device 'Kitchen'; there is 'NULL Playback Device'. Choose with: voicebox audio use DEVICE"
    )
    # Waiting for it: nothing was lost meanwhile.
    with room.speaker.changed:
        room.keeper.use(None)
        room.speaker.stir()
    room.until(lambda: room.heard("a"))


def test_a_device_that_takes_nothing_any_more_is_given_up(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "LOST_S", 0.2)
    monkeypatch.setattr(keeper, "RETRY_S", 0.05)
    room.say("a", 48_000)
    room.until(lambda: Opened("NULL Playback Device") in room.told)
    # As one that was unplugged: nobody says so.
    miniaudio.lib.ma_device_stop(room.devices[0]._device._device)
    room.until(lambda: any(isinstance(told, Opened) and told.name is None for told in room.told))
    room.until(lambda: room.heard("a"))
    assert len(room.opened) >= 2


def test_devices_are_listed(room: Room) -> None:
    assert room.keeper.list_devices() == [{"name": "NULL Playback Device", "default": True, "backend": "null"}]


def test_a_system_that_is_not_there_is_no_device(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND, "gramophone")
    assert room.keeper.list_devices() == []
    room.say("a", 480)
    room.until(lambda: any(isinstance(told, Opened) and told.name is None for told in room.told))
    assert "VOICEBOX_AUDIO_BACKEND is 'gramophone'; it takes " in room.told[0].message


def test_the_next_request_is_told_of_the_missing_device_at_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND, "gramophone")
    monkeypatch.setattr(keeper, "RETRY_S", 10 * PATIENT_S)
    for number in range(3):
        room.say(str(number), 480)
        room.until(lambda: sum(isinstance(told, Opened) for told in room.told) > number)  # noqa: B023
        with room.speaker.changed:
            room.speaker.playback.hush(str(number))


def test_a_thread_that_fails_takes_the_player_along(tmp_path: Path) -> None:
    """Who starts it again would otherwise never know that nothing is heard."""
    program = f"""
import time
from voicebox_player import keeper
from voicebox_player.speaker import Speaker
from voicebox_protocol.position import PositionPage

keeper.open_device = lambda rate, name: 1 / 0
speaker = Speaker(PositionPage({str(tmp_path / "page")!r}), lambda: None)
keeper.Keeper(speaker, None)
with speaker.changed:
    speaker.playback.begin("r", 48_000, 0, 0)
    speaker.stir()
time.sleep({PATIENT_S})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
