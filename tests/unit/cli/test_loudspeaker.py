"""The loudspeaker at the command line: `say` without `-o`, and what acts on what is being spoken."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import WAIT_S
from tests.unit.client.fake_daemon import AUDIO, BOOT, DEVICES, RATE, STATUS, FakeDaemon
from tests.unit.client.test_loudspeaker import cancels, silent
from voicebox_cli import audio_text, reporters
from voicebox_cli.audio import spoken_name
from voicebox_cli.main import main
from voicebox_cli.watch_table import drawn
from voicebox_client import Accepted, Heard
from voicebox_protocol import schema

COMMAND = [sys.executable, "-c", "from voicebox_cli.main import run; run()"]


def the_say(daemon: FakeDaemon) -> Any:
    (say,) = daemon.wait_for("Say")
    return say


# --- say


def test_it_is_asked_of_the_loudspeaker_and_ends_in_silence(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["say", "hello"]) == 0
    assert capfd.readouterr() == ("", "")
    asked = the_say(daemon)
    assert asked == schema.Say(boot=BOOT, req=asked.req, sink="speaker", priority="message")
    daemon.wait_for("EndAck")


def test_the_object_says_what_was_heard(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["say", "hello", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["state"], said["heard_chars"], said["heard_s"], said["output"]) == ("done", 5, 0.2, None)
    assert said["request_id"] == the_say(daemon).req


def test_plain_is_one_line_for_each_sentence_that_is_heard(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["say", "hello", "--plain"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "accepted: builtin/anna, 24000 Hz, seed 7",
        "segment 1: characters 0 to 2",
        "segment 2: characters 2 to 5",
        "done: 0.2 s heard, first after 80 ms",
    ]
    assert the_say(daemon).follow


def test_a_terminal_shows_how_far_the_listener_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = reporters.LineReporter()
    assert line.follows
    line.event(Accepted(7, RATE, "builtin", "anna", "en"))
    line.event(Heard(12_000, 9, 1, 6000, 5, 12))
    assert capsys.readouterr().err.replace("\x1b[K", "") == "\r0.5 s heard, 9 characters"


def test_without_waiting_it_prints_nothing_and_leaves_it_to_the_daemon(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    daemon.script = silent
    assert main(["say", "hello", "--no-wait"]) == 0
    assert capfd.readouterr() == ("", "")
    daemon.wait_for_departures(1)
    assert (the_say(daemon).detached, the_say(daemon).follow) == (True, None)
    assert cancels(daemon) == []


def test_without_waiting_the_object_names_the_request(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.script = silent
    assert main(["say", "hello", "--no-wait", "--json", "--plain"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["state"], said["request_id"], said["voice"]) == ("accepted", the_say(daemon).req, "anna")
    assert (said["error"], said["heard_s"]) == (None, None)


def test_without_waiting_a_failure_that_comes_at_once_is_told_all_the_same(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        daemon.end(to, "Failed", message.req, 0, code="NO_AUDIO_DEVICE", message="there is none")

    daemon.script = script
    assert main(["say", "hello", "--no-wait"]) == 1
    assert capsys.readouterr().err == "voicebox: there is none\n"


def test_without_waiting_a_text_from_a_pipe_is_read_to_its_end_first(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = silent
    (tmp_path / "story.txt").write_bytes(b"Once.\n" * 10_000)
    assert main(["say", "-f", str(tmp_path / "story.txt"), "--no-wait"]) == 0
    assert list(daemon.texts.values()) == [b"Once.\n" * 10_000]
    assert the_say(daemon).more is None


def test_without_waiting_a_text_without_end_is_refused(
    daemon: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.txt").write_bytes(b"Once.\n" * 200_000)
    assert main(["say", "-f", str(tmp_path / "long.txt"), "--no-wait", "--json"]) == 2
    shown = capsys.readouterr()
    assert "--no-wait" in shown.err
    assert json.loads(shown.out)["error"]["code"] == "TEXT_TOO_LONG"


def test_a_device_is_waited_for_if_asked(daemon: FakeDaemon) -> None:
    assert main(["say", "hello", "--wait-device", "--on-failure", "segment"]) == 0
    assert (the_say(daemon).wait_device, the_say(daemon).on_failure) == (True, "segment")


@pytest.mark.parametrize("option", ["--no-wait", "--wait-device"])
def test_what_is_of_the_loudspeaker_does_not_go_with_a_file(
    daemon: FakeDaemon, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["say", "hello", option, "-o", str(tmp_path / "x.wav")]) == 2
    assert f"{option} is for the loudspeaker" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_sound_and_tells_what_was_heard(daemon: FakeDaemon, sign: signal.Signals) -> None:
    daemon.script = silent
    command = [*COMMAND, "say", "hi", "--json", "--plain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"accepted")
        process.send_signal(sign)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (130, b"voicebox: interrupted\n")
    daemon.wait_for("Cancel")
    said = json.loads(out)
    assert (said["state"], said["heard_chars"], said["heard_s"]) == ("cancelled", 2, 0.1)


def test_a_rule_that_ended_it_is_named(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        daemon.accept(to, message.req)
        daemon.end(to, "Cancelled", message.req, 0, heard_chars=0, heard_s=0.0, reason="newer text took its place")

    daemon.script = script
    assert main(["say", "hello", "--priority", "text"]) == 130
    assert capsys.readouterr().err == "voicebox: the request was cancelled: newer text took its place\n"


def test_that_it_waits_is_told_whatever_else_is_not(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        daemon.accept(to, message.req)
        words = "the loudspeaker is paused; voicebox resume goes on"
        daemon.send(to, schema.Notice(boot=BOOT, req=message.req, code="WAITING", message=words))
        daemon.end(to, "Done", message.req, 0, heard_chars=0, heard_s=0.0)

    daemon.script = script
    assert main(["say", "hello"]) == 0
    assert capsys.readouterr().err == "voicebox: the loudspeaker is paused; voicebox resume goes on\n"


def test_a_daemon_without_a_loudspeaker_is_named_with_what_to_do(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.features.remove("loudspeaker")
    assert main(["say", "hello"]) == 3
    assert capsys.readouterr().err.endswith("cannot play on the loudspeaker; run: voicebox daemon restart\n")


# --- replay


def test_a_replay_is_heard_as_a_say_is(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay"]) == 0
    daemon.script = silent
    assert main(["replay", "r1", "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "accepted"
    first, second = daemon.wait_for("Say", count=2)
    assert [(each.replay, each.sink, each.detached) for each in (first, second)] == [
        ("last", "speaker", None),
        ("r1", "speaker", True),
    ]


def test_a_replay_of_what_is_not_known(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.script = lambda daemon, to, message, text: daemon.send(
        to, schema.Error(code="NO_SUCH_REQUEST", message="nothing was heard yet", req=message.req)
    )
    assert main(["replay"]) == 4
    assert capsys.readouterr().err == "voicebox: nothing was heard yet\n"


@pytest.mark.parametrize("command", ["replay", "pause", "resume", "skip"])
def test_what_needs_something_spoken_starts_no_daemon(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "1")
    assert main([command]) == 3
    assert list(runtime_dir.iterdir()) == []


# --- pause, resume, skip, stop


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["pause"], "the loudspeaker is paused\n"),
        (["resume"], "the loudspeaker goes on\n"),
        (["skip"], "skipped 2 requests\n"),
        (["skip", "--all"], "skipped 2 requests\n"),
        (["pause", "--json"], '{"requests": ["r1", "r2"], "total": 2}\n'),
        (["stop", "--all", "--json"], '{"requests": ["r1"], "total": 1}\n'),
    ],
)
def test_what_acts_on_the_loudspeaker_says_what_it_did(
    daemon: FakeDaemon, command: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert capsys.readouterr() == (said, "")


@pytest.mark.parametrize("command", ["pause", "resume", "skip", "stop"])
def test_a_request_that_is_not_there(daemon: FakeDaemon, command: str) -> None:
    assert main([command, "unknown"]) == 4
    assert main([command, "unknown", "--all"]) == 2


# --- volume, mute


@pytest.mark.parametrize(
    ("before", "arguments", "after", "said"),
    [
        (0.8, [], 0.8, "volume 80 %"),
        (0.8, ["70"], 0.7, "volume 70 %"),
        (0.8, ["0"], 0.0, "volume 0 %"),
        (0.8, ["+10"], 0.9, "volume 90 %"),
        (0.8, ["-10"], 0.7, "volume 70 %"),
        (0.95, ["+10"], 1.0, "volume 100 %"),
        (0.05, ["-10"], 0.0, "volume 0 %"),
    ],
)
def test_the_volume_is_set_or_told(
    daemon: FakeDaemon, before: float, arguments: list[str], after: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.audio["volume"] = before
    assert main(["volume", *arguments]) == 0
    assert capsys.readouterr().out == f"{said}\n"
    assert daemon.audio["volume"] == after


@pytest.mark.parametrize("wrong", ["101", "loud", "-", "+", "", "--loud", "1000", "٣"])
def test_what_is_no_volume_is_a_usage_error(daemon: FakeDaemon, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", wrong]) == 2
    assert "0 to 100" in capsys.readouterr().err
    assert daemon.received == []


def test_mute(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mute"]) == 0
    assert main(["volume", "40"]) == 0
    assert main(["mute", "off"]) == 0
    assert capsys.readouterr().out.splitlines() == ["volume 80 %, muted", "volume 40 %, muted", "volume 40 %"]
    assert main(["mute", "on", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**AUDIO, "volume": 0.4, "muted": True}
    assert main(["mute", "maybe"]) == 2


# --- audio


def test_how_the_loudspeaker_is(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.audio |= {"speaking": "r7", "waiting": ["r8", "r9"], "trouble": "it vanished\x1b[2J", "muted": True}
    assert main(["audio"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "device:    Speakers",
        "volume:    80 %, muted",
        "paused:    no",
        "speaking:  r7",
        "waiting:   2",
        "underruns: 0",
        "sink:      device",
        "trouble:   it vanished?[2J",
    ]
    assert main(["audio", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == daemon.audio


def test_the_devices_are_listed_and_cannot_command_the_terminal(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audio", "list"]) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "DEVICE",
        "Speakers",
        "USB Headset?[2J",
    ]
    assert main(["audio", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == DEVICES


def test_that_there_is_no_device_is_said_with_the_reason(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.unit.client.fake_daemon.DEVICES", [])
    assert main(["audio", "list"]) == 0
    daemon.audio["trouble"] = "no sound server answers"
    assert main(["audio", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["there is no sound device", "no sound server answers"]


def test_a_device_is_chosen_by_its_name(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audio", "use", "speakers"]) == 0
    assert daemon.audio["device"] == "Speakers"
    assert main(["audio", "use", "default"]) == 0
    assert daemon.audio["device"] == ""
    assert capsys.readouterr().out.splitlines() == [
        "the loudspeaker plays at Speakers",
        "the loudspeaker plays at the system's default",
    ]


def test_a_device_that_there_is_not_is_refused_with_the_nearest(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audio", "use", "Speaker"]) == 4
    err = capsys.readouterr().err
    assert "'Speaker'" in err
    assert "Speakers" in err
    assert "voicebox audio list" in err
    assert daemon.audio["device"] == "Speakers"


def test_the_test_names_the_device(daemon: FakeDaemon) -> None:
    assert main(["audio", "test"]) == 0
    assert the_say(daemon).sink == "speaker"
    assert list(daemon.texts.values()) == [b"You hear this through Speakers."]


@pytest.mark.parametrize(
    ("audio", "name"),
    [
        ({"device": "HDA Intel PCH, ALC257 (Analog)"}, "HDA Intel PCH ALC257 Analog"),
        ({"device": None, "devices": [{"name": "A"}, {"name": "B", "default": True}]}, "B"),
        ({"device": "耳机"}, "the loudspeaker"),
        ({"device": "wav:/tmp/heard.wav", "sink": "wav:/tmp/heard.wav"}, "the loudspeaker"),
        ({}, "the loudspeaker"),
    ],
)
def test_what_a_voice_calls_a_device(audio: dict[str, Any], name: str) -> None:
    assert spoken_name({"sink": "device", **audio}) == name


def test_the_object_of_a_command_goes_behind_it(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audio", "--json", "list"]) == 2
    assert "--json goes behind list" in capsys.readouterr().err


# --- status


def test_status_shows_the_loudspeaker(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    audio = {**AUDIO, "paused": True, "speaking": "r7", "waiting": ["r8"]}
    daemon.script = lambda daemon, to, message, text: daemon.send(
        to, schema.StatusReply(query=message.query, status={**STATUS, "audio": audio})
    )
    assert main(["status"]) == 0
    line = "loudspeaker: volume 80 %, paused, speaking, 1 waiting"
    assert line in capsys.readouterr().out.splitlines()
    assert audio_text.audio_line({**AUDIO, "trouble": "no\x07ne"}).endswith("silent, 0 waiting, no?ne")
    assert drawn({**STATUS, "audio": audio})


def test_the_devices_of_a_daemon_without_a_loudspeaker_are_not_guessed(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.features.remove("loudspeaker")
    for command in (["audio"], ["audio", "list"], ["volume"], ["mute"], ["skip"]):
        assert main(command) == 3
        assert "voicebox daemon restart" in capsys.readouterr().err
