"""The loudspeaker's process at a real PulseAudio, whose sink is a pipe that the test reads in real time: to the sample what was heard.

A null sink recorded at its monitor will not do: wherever sound is taken back it repeats or leaves out up to 5 ms, whichever program plays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.integration.daemon import DEADLINE
from tests.integration.player_stand import RATE, Samples, Stand, noise, patiently, sounding, stand
from voicebox_player.device import CLOSE_S
from voicebox_player.libpulse import library
from voicebox_player.pulse import PulseStream

pytestmark = pytest.mark.skipif(shutil.which("pulseaudio") is None, reason="there is no PulseAudio")

_WIDTH = 4
_STEP = RATE // 50
# Linux' own number of it.
_F_SETPIPE_SZ = 1031
# What lies in the pipe and on both its ends was played, for the server.
_ON_ITS_WAY = RATE // 5
_NULL = "module-null-sink"
_SETTLED_S = 1.0


class Loudspeaker:
    """Owns the end of the sink's pipe, takes 20 ms of sound from it every 20 ms, and keeps them."""

    def __init__(self, path: str) -> None:
        self._pipe = os.open(path, os.O_RDONLY)
        fcntl.fcntl(self._pipe, _F_SETPIPE_SZ, 4096)
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        due = time.monotonic()
        while part := os.read(self._pipe, _STEP * _WIDTH):
            self._parts.append(part)
            due = max(due, time.monotonic() - 0.1) + len(part) / _WIDTH / RATE
            time.sleep(max(0.0, due - time.monotonic()))

    def heard(self) -> Samples:
        """What was heard so far, without its silence."""
        return sounding(np.frombuffer(b"".join(self._parts), np.float32))

    def settled(self) -> Samples:
        """What was heard, once nothing more comes."""
        before = -1
        while before != (before := len(self.heard())):
            time.sleep(_SETTLED_S)
        return self.heard()

    def whole(self, before: int, frames: int) -> Samples:
        """What was heard after so many frames, once it is as long as that."""
        patiently(lambda: len(self.heard()) >= before + frames, "all of it is heard")
        return self.heard()[before:]

    def close(self) -> None:
        """Once the server is gone."""
        self._thread.join()
        os.close(self._pipe)


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    made = tempfile.mkdtemp(prefix="vb-")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def loudspeaker(place: str) -> Iterator[Loudspeaker]:
    sink = f"module-pipe-sink sink_name=out file={place}/pipe rate={RATE} format=float32le channels=1"
    with _sound_server(place, sink):
        made = Loudspeaker(f"{place}/pipe")
        yield made
    made.close()


@pytest.fixture
def player(place: str, loudspeaker: Loudspeaker) -> Iterator[Stand]:
    with stand("device", **_environment(place)) as made:
        made.start()
        yield made


def test_what_is_said_is_heard_to_the_sample_and_over_when_it_was(player: Stand, loudspeaker: Loudspeaker) -> None:
    before = len(loudspeaker.settled())
    sound = noise(1.0)
    player.say("r", sound)
    assert player.last("r")["frames"] == len(sound)
    assert len(loudspeaker.heard()) - before >= len(sound) - _ON_ITS_WAY
    assert np.array_equal(loudspeaker.whole(before, len(sound)), sound)
    assert player.credited("r") == list(range(10))
    assert next(m for m in player.heard if m["kind"] == "Device")["name"].startswith("Unix FIFO sink")


def test_pauses_lose_no_sample_wherever_they_fall(player: Stand, loudspeaker: Loudspeaker) -> None:
    before = len(loudspeaker.settled())
    sound = noise(4.0, seed=2)
    player.say("r", sound)
    player.until(lambda message: message["kind"] == "Played")
    for _ in range(20):
        time.sleep(random.uniform(0.0, 0.1))
        player.speaker(paused=True)
        time.sleep(random.uniform(0.0, 0.05))
        player.speaker(paused=False)
    assert player.last("r")["frames"] == len(sound)
    assert np.array_equal(loudspeaker.whole(before, len(sound)), sound)


def test_a_pause_that_outlasts_the_open_device_loses_no_sample_either(player: Stand, loudspeaker: Loudspeaker) -> None:
    before = len(loudspeaker.settled())
    sound = noise(1.5, seed=3)
    player.say("r", sound)
    player.until(lambda message: message["kind"] == "Played" and message["frames"] > RATE // 3)
    player.speaker(paused=True)
    heard = len(loudspeaker.settled()) - before
    time.sleep(CLOSE_S + 1)
    assert len(loudspeaker.heard()) - before == heard
    position = player.page.read()
    assert position is not None
    assert position.frames == heard
    player.speaker(paused=False)
    assert player.last("r")["frames"] == len(sound)
    assert np.array_equal(loudspeaker.whole(before, len(sound)), sound)


def test_a_hush_takes_back_what_the_server_has_and_says_what_was_heard(player: Stand, loudspeaker: Loudspeaker) -> None:
    for number in range(3):
        before = len(loudspeaker.settled())
        sound = noise(3.0, seed=10 + number)
        player.say(f"r{number}", sound)
        player.until(lambda message: message["kind"] == "Played")
        time.sleep(random.uniform(0.1, 0.4))
        player.hush(f"r{number}")
        told = player.last(f"r{number}")["frames"]
        heard = loudspeaker.settled()[before:]
        assert np.array_equal(heard, sound[: len(heard)])
        assert 0 < told < len(heard) + _ON_ITS_WAY
        assert len(heard) < told + _ON_ITS_WAY
        assert player.credited(f"r{number}") == list(range(30))


def test_the_volume_changes_in_the_midst_of_what_the_server_has_and_costs_no_sample(
    player: Stand, loudspeaker: Loudspeaker
) -> None:
    before = len(loudspeaker.settled())
    sound = noise(3.0, seed=4)
    player.say("r", sound)
    player.until(lambda message: message["kind"] == "Played")
    volumes = [0.5, 1.0, 0.25, 1.0, 0.5, 0.25]
    for number, volume in enumerate(volumes, 1):
        player.until(lambda m: m["kind"] == "Played" and m["frames"] > number * RATE * 3 // 10)  # noqa: B023
        player.speaker(volume=volume)
    player.last("r")
    heard = loudspeaker.whole(before, len(sound))
    assert len(heard) == len(sound)
    share = np.round(heard / sound, 4)
    edges = np.flatnonzero(np.diff(share)) + 1
    assert [float(share[edge]) for edge in edges] == volumes


def test_who_wakes_before_the_wait_ends_it_as_well(
    place: str, loudspeaker: Loudspeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _environment(place).items():
        monkeypatch.setenv(name, value)
    stream = PulseStream(library(), RATE, None)
    try:
        begun = time.monotonic()
        stream.wake()
        stream.wait(2 * DEADLINE)
        threading.Timer(0.2, stream.wake).start()
        stream.wait(2 * DEADLINE)
        assert time.monotonic() - begun < DEADLINE
    finally:
        stream.close()


def test_a_server_that_gives_no_answer_is_told_and_does_not_hold_up(place: str) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as deaf:
        deaf.bind(f"{place}/deaf")
        deaf.listen()
        with stand("device", PULSE_SERVER=f"unix:{place}/deaf", PULSE_RUNTIME_PATH=place) as made:
            made.start()
            made.say("r", noise(0.1))
            told = made.until(lambda message: message["kind"] == "Device")
    assert told.get("name") is None
    assert "PulseAudio gave no answer within 3 s" in told["message"]


@pytest.mark.skipif(shutil.which("pactl") is None, reason="there is no pactl")
def test_it_follows_the_default_device_and_says_where_it_is_heard() -> None:
    place = tempfile.mkdtemp(prefix="vb-")
    sinks = [
        f"module-null-sink sink_name={name} sink_properties=device.description={name}" for name in ("Desk", "Kitchen")
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        stack.enter_context(_sound_server(place, *sinks))
        _use(place, "Desk")
        made = stack.enter_context(stand("device", **_environment(place)))
        made.start()
        made.play("r")
        seq = 0
        for _ in range(12):
            seq = made.chunk("r", seq, *np.array_split(noise(5.0), 50))
        made.until(lambda message: message["kind"] == "Device" and message.get("name") == "Desk")
        _use(place, "Kitchen")
        made.until(lambda message: message["kind"] == "Device" and message.get("name") == "Kitchen")
        made.hush("r")
        assert made.last("r")["frames"] < 60 * RATE


def _use(place: str, sink: str) -> None:
    environment = {**os.environ, **_environment(place)}
    subprocess.run(["pactl", "set-default-sink", sink], env=environment, check=True, timeout=DEADLINE)


def test_a_sound_server_that_dies_is_said_and_the_next_one_goes_on() -> None:
    place = tempfile.mkdtemp(prefix="vb-")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        first = stack.enter_context(_sound_server(place, _NULL))
        made = stack.enter_context(stand("device", **_environment(place)))
        made.start()
        sound = noise(2.0)
        made.say("r", sound)
        opened = made.until(lambda message: message["kind"] == "Device")
        assert opened["name"] == "Null Output"
        made.until(lambda message: message["kind"] == "Played")
        first.kill()
        gone = made.until(lambda message: message["kind"] == "Device")
        assert gone.get("name") is None
        assert "voicebox audio use" in gone["message"]
        stack.enter_context(_sound_server(place, _NULL))
        made.until(lambda message: message["kind"] == "Device" and message.get("name"))
        assert made.last("r")["frames"] == len(sound)


@contextlib.contextmanager
def _sound_server(place: str, *sinks: str) -> Iterator[subprocess.Popen[bytes]]:
    """One with these sinks, ended afterwards."""
    Path(place, "socket").unlink(missing_ok=True)
    modules = (*sinks, f"module-native-protocol-unix socket={place}/socket auth-anonymous=1")
    server = subprocess.Popen(
        ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        + [word for module in modules for word in ("-L", module)],
        env={**os.environ, "HOME": place, "XDG_RUNTIME_DIR": place, "XDG_CONFIG_HOME": place},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        patiently(Path(place, "socket").exists, "the sound server listens")
        yield server
    finally:
        server.kill()
        server.wait()


def _environment(place: str) -> dict[str, str]:
    return {"PULSE_SERVER": f"unix:{place}/socket", "PULSE_RUNTIME_PATH": place}
