"""The command line at a real loudspeaker, that of a real daemon and its player; it plays into nothing, in real time."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Any

import pytest

from tests.integration.aloud import LOUD
from tests.integration.daemon import DEADLINE, Daemon, Place, eventually, running
from voicebox_client import AsyncVoicebox, Heard, Voicebox

TEXT = "One is short. Two is not much longer."
# It goes on until it is stopped.
ENDLESS = "word " * 4000
VOICEBOX = [sys.executable, "-m", "voicebox_cli"]


@pytest.fixture(scope="module")
def playing() -> Iterator[Daemon]:
    """A daemon whose loudspeaker plays into nothing, in real time."""
    with running(LOUD, VOICEBOX_AUDIO_SINK="null") as daemon:
        yield daemon


@pytest.fixture
def place(playing: Daemon) -> Place:
    """Nothing is being spoken there, at full volume."""
    found = playing.place
    for command in (["stop", "--all"], ["resume"], ["volume", "100"], ["mute", "off"]):
        assert found.voicebox(*command).returncode == 0
    return found


@contextlib.contextmanager
def saying(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`voicebox say` of these arguments, killed at the end if it still goes on."""
    with place.popen(*VOICEBOX, "say", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def line(stream: IO[str] | None, begins: str) -> str:
    """The next line that begins so."""
    assert stream is not None
    return next(said for said in stream if said.startswith(begins))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, and what was left to read of its output and its errors."""
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def audio(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.voicebox("audio", "--json").stdout)
    return found


# --- say


def test_it_returns_when_it_was_heard(place: Place) -> None:
    begun = time.monotonic()
    done = place.voicebox("say", TEXT, "--json")
    took = time.monotonic() - begun
    said = json.loads(done.stdout)
    assert (done.returncode, done.stderr, said["state"], said["output"]) == (0, "", "done", None)
    assert (said["heard_chars"], said["heard_s"]) == (len(TEXT), said["duration_s"])
    assert took >= said["heard_s"] > 0.2


def test_a_line_tells_of_each_sentence_as_it_is_heard(place: Place) -> None:
    told = place.voicebox("say", TEXT, "--plain").stderr.splitlines()
    # One that is over before the next look at it has none.
    assert {each for each in told if each.startswith("segment")} <= {
        "segment 1: characters 0 to 14",
        f"segment 2: characters 14 to {len(TEXT)}",
    }
    assert any(each.startswith("segment") for each in told)
    assert " s heard" in told[-1]


def test_a_pipe_is_spoken_while_it_is_written(place: Place) -> None:
    with place.popen(
        *VOICEBOX, "say", "-", "--plain", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write("It begins here. And it")
        process.stdin.flush()
        line(process.stderr, "segment 1: characters 0 to 16")
        process.stdin.write(" goes on.")
        process.stdin.close()
        assert process.wait(DEADLINE) == 0


def test_without_waiting_it_is_spoken_when_its_client_has_gone(place: Place) -> None:
    said = json.loads(place.voicebox("say", ENDLESS, "--no-wait", "--json").stdout)
    assert said["state"] == "accepted"
    eventually(lambda: audio(place)["speaking"] == said["request_id"], "it has its turn")
    assert place.voicebox("stop", said["request_id"]).stdout == "stopped 1 request\n"
    eventually(lambda: audio(place)["speaking"] is None, "it has stopped")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_silences_it_and_tells_what_was_heard(place: Place, sign: signal.Signals) -> None:
    with saying(place, ENDLESS, "--plain", "--json") as process:
        line(process.stderr, "segment")
        process.send_signal(sign)
        code, out, err = ended(process)
    said = json.loads(out)
    assert (code, err.splitlines()[-1]) == (130, "voicebox: interrupted")
    assert said["state"] == "cancelled"
    assert 0 <= said["heard_chars"] < len(ENDLESS)
    assert 0 <= said["heard_s"] < 140
    assert audio(place)["speaking"] is None


def test_newer_text_takes_the_place_of_older_and_says_so(place: Place) -> None:
    with saying(place, ENDLESS, "--priority", "text", "--plain") as process:
        line(process.stderr, "segment")
        assert place.voicebox("say", TEXT, "--priority", "text").returncode == 0
        code, _, err = ended(process)
    assert code == 130
    assert err.splitlines()[-1].startswith("voicebox: the request was cancelled: ")


# --- what acts on it


def test_what_comes_in_a_pause_waits_says_so_and_goes_on(place: Place) -> None:
    assert place.voicebox("pause").stdout == "the loudspeaker is paused\n"
    with saying(place, TEXT, "--json") as process:
        assert "voicebox resume" in line(process.stderr, "voicebox: the loudspeaker is paused")
        eventually(lambda: audio(place)["waiting"], "it waits for its turn")
        assert audio(place)["paused"]
        assert place.voicebox("resume").stdout == "the loudspeaker goes on\n"
        code, out, _ = ended(process)
    assert (code, json.loads(out)["heard_chars"]) == (0, len(TEXT))


@pytest.mark.parametrize(
    ("command", "said", "why"),
    [
        ("skip", "skipped 1 request\n", "voicebox: the request was cancelled: it was skipped"),
        ("stop", "stopped 1 request\n", "voicebox: the request was cancelled"),
    ],
)
def test_what_is_being_spoken_is_ended_by_others(place: Place, command: str, said: str, why: str) -> None:
    with saying(place, ENDLESS, "--plain") as process:
        line(process.stderr, "segment")
        assert place.voicebox(command).stdout == said
        code, _, err = ended(process)
    assert code == 130
    assert err.splitlines()[-1].startswith(why)


def test_what_was_heard_is_heard_again(place: Place) -> None:
    before = json.loads(place.voicebox("say", TEXT, "--json").stdout)
    again = json.loads(place.voicebox("replay", "--json").stdout)
    named = json.loads(place.voicebox("replay", before["request_id"], "--json").stdout)
    for each in (again, named):
        assert (each["heard_s"], each["heard_chars"], each["seed"]) == (
            before["heard_s"],
            before["heard_chars"],
            before["seed"],
        )
    assert len({each["request_id"] for each in (before, again, named)}) == 3
    assert place.voicebox("replay", "nobody").returncode == 4


def test_volume_and_mute_outlive_the_daemon() -> None:
    with running(LOUD, VOICEBOX_AUDIO_SINK="null") as daemon:
        for command in (["volume", "60"], ["volume", "-15"], ["mute"]):
            assert daemon.place.voicebox(*command).returncode == 0
        daemon.terminate(DEADLINE)
        next_one = Daemon(daemon.place)
        try:
            assert daemon.place.voicebox("volume").stdout == "volume 45 %, muted\n"
            status = daemon.place.voicebox("status").stdout
            assert "loudspeaker: volume 45 %, muted, silent, 0 waiting" in status.splitlines()
        finally:
            next_one.process.kill()
            next_one.process.wait()


def test_the_devices(place: Place) -> None:
    (device,) = json.loads(place.voicebox("audio", "list", "--json").stdout)
    assert device["name"] == "null"
    assert place.voicebox("audio", "use", "NULL").stdout == "the loudspeaker plays at null\n"
    assert place.voicebox("audio", "use", "default").returncode == 0
    refused = place.voicebox("audio", "use", "nul")
    assert refused.returncode == 4
    assert "null" in refused.stderr
    said = json.loads(place.voicebox("audio", "test", "--json").stdout)
    assert (said["state"], said["heard_s"] > 0) == ("done", True)


# --- no device


def test_that_there_is_no_device_is_told_at_once_with_what_to_do() -> None:
    # A back end that no Linux has.
    with running(LOUD, VOICEBOX_AUDIO_BACKEND="coreaudio") as daemon:
        place = daemon.place
        failed = place.voicebox("say", TEXT, "--json")
        assert failed.returncode == 1
        assert len(failed.stderr.splitlines()) == 1
        assert all(words in failed.stderr for words in ("no sound device", "-o speech.wav", "--wait-device"))
        assert json.loads(failed.stdout)["error"]["code"] == "NO_AUDIO_DEVICE"
        place.environment["SSH_CONNECTION"] = "here there"
        assert "remote shell" in place.voicebox("say", TEXT).stderr
        assert "no sound device" in place.voicebox("status").stdout
        with saying(place, TEXT, "--wait-device") as process:
            line(process.stderr, "voicebox: waiting for a sound device")
            process.send_signal(signal.SIGINT)
            assert ended(process)[0] == 130


# --- the library


def test_the_library_hears_what_the_listener_does(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    with Voicebox() as box:
        speech = box.say(TEXT, sink="speaker", follow=True)
        heard = [event for event in speech.events() if isinstance(event, Heard)]
        result = speech.wait()
    assert [each.frames for each in heard] == sorted(each.frames for each in heard)
    assert {(each.segment, each.char_start) for each in heard} <= {(0, 0), (1, 14)}
    assert heard
    assert (result.heard_chars, result.heard_s) == (len(TEXT), result.duration_s)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_so_does_one_in_an_event_loop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    async with AsyncVoicebox() as box:
        assert (await (await box.say(TEXT, sink="speaker")).wait()).heard_chars == len(TEXT)


def test_with_resume_the_next_daemon_goes_on_with_the_sentence_that_was_being_heard() -> None:
    before, after = "This is the first of three sentences. And this is", " the second one, and longer. Here it ends."
    with running(LOUD, VOICEBOX_AUDIO_SINK="null") as daemon:
        command = [*VOICEBOX, "say", "-", "--resume", "--plain", "--json"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with daemon.place.popen(*command, **pipes) as process:
            assert process.stdin is not None
            process.stdin.write(before)
            process.stdin.flush()
            line(process.stderr, "segment 1")
            daemon.process.kill()
            line(process.stderr, "reconnected")
            process.stdin.write(after)
            process.stdin.flush()
            code, out, err = ended(process)
        said = json.loads(out)
        assert (code, said["reconnects"]) == (0, 1), err
        assert (said["heard_chars"], said["delivered_chars"]) == (len(before + after), len(before + after))
        assert said["heard_s"] == pytest.approx(said["duration_s"], abs=0.001)
        assert said["duration_s"] == pytest.approx(0.007 * len(before + after), abs=0.05)
        assert [run["outcome"] for run in said["attempts"]] == ["failed", "done"]
