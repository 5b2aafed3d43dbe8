"""`voicebox say`: where its words come from, where the sound goes, what it tells, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.unit.cli.conftest import WAIT_S
from tests.unit.client.fake_daemon import BOOT, RATE, FakeDaemon, speak, tone
from tests.unit.client.test_resumption import TEXT, begins, goes_on
from voicebox_cli import reporters, text_source
from voicebox_cli.main import main
from voicebox_client import Notice, Result
from voicebox_protocol import schema
from voicebox_protocol.errors import InvalidText

KEYS = [
    "request_id",
    "state",
    "provider",
    "voice",
    "sample_rate",
    "frames",
    "duration_s",
    "first_audio_ms",
    "total_ms",
    "attempts",
    "resumed",
    "reconnects",
    "delivered_chars",
    "heard_chars",
    "heard_s",
    "seed",
    "output",
    "error",
]


def hang(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    """The script of a daemon that accepts, sends one chunk and no more; Cancel ends it."""
    if isinstance(message, schema.Say):
        daemon.accept(to, message.req)
        daemon.chunk(to, message.req, 0, tone(2400))
    else:
        speak(daemon, to, message, text)


@pytest.fixture
def there(daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, beside a daemon that speaks."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing(code: str) -> Any:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.end(to, "Failed", message.req, 0, code=code, message="as I said")

    return script


# --- files and the object


def test_a_file_is_written_in_silence(there: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["say", "hello", "-o", "x.wav"]) == 0
    assert capfd.readouterr() == ("", "")
    with wave.open("x.wav") as file:
        assert file.getnframes() == 4800


def test_the_object_has_these_fields_and_no_others(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["say", "hello", "-o", "x.pcm", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == KEYS
    assert len(said.pop("request_id")) == 32
    assert said == {
        "state": "done",
        "provider": "builtin",
        "voice": "anna",
        "sample_rate": 24000,
        "frames": 4800,
        "duration_s": 0.2,
        "first_audio_ms": 80.0,
        "total_ms": 120.0,
        "attempts": [{"provider": "builtin", "voice": "anna", "outcome": "done", "reason": None}],
        "resumed": None,
        "reconnects": 0,
        "delivered_chars": 5,
        "heard_chars": None,
        "heard_s": None,
        "seed": 7,
        "output": "x.pcm",
        "error": None,
    }


def test_a_failure_has_its_code_its_object_and_its_words(
    daemon: FakeDaemon, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.script = failing("PROVIDER_FAILED")
    assert main(["say", "hello", "-o", "x.wav", "--json"]) == 5
    said = capsys.readouterr()
    assert said.err == "voicebox: as I said\n"
    assert list(json.loads(said.out)) == KEYS
    assert json.loads(said.out)["state"] == "failed"
    assert json.loads(said.out)["error"] == {"code": "PROVIDER_FAILED", "message": "as I said"}
    assert os.listdir(there) == []


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("UNSPEAKABLE", 1), ("BAD_OPTION", 2), ("NO_SUCH_VOICE", 4), ("DEADLINE", 6), ("QUEUE_FULL", 75), ("REFUSED", 77)],
)
def test_failures_end_with_their_codes(daemon: FakeDaemon, there: Path, code: str, exit_code: int) -> None:
    daemon.script = failing(code)
    assert main(["say", "hello", "-o", "x.wav"]) == exit_code


def test_a_refusal_before_the_request_has_an_object_too(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["say", "hello", "-o", "x.mp5", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert list(said) == KEYS
    assert (said["request_id"], said["state"], said["error"]["code"]) == (None, "failed", "BAD_FORMAT")


def test_a_lost_daemon_ends_with_3(daemon: FakeDaemon, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        daemon.accept(to, message.req)
        raise ConnectionAbortedError

    daemon.script = script
    assert main(["say", "hello", "-o", "x.wav", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert (said["state"], said["provider"], said["error"]["code"]) == ("failed", "builtin", "DAEMON_LOST")
    assert os.listdir(there) == []
    daemon.errors.clear()


def test_with_resume_a_lost_daemon_is_told_and_the_next_one_goes_on(
    runtime_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = threading.Event()

    def daemons() -> None:
        with FakeDaemon(runtime_dir, begins((0, 0, 300), (1, 0, 100))) as first:
            ready.set()
            first.wait_for("Say")
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            second.wait_for("EndAck")

    running = threading.Thread(target=daemons)
    running.start()
    assert ready.wait(WAIT_S)
    assert main(["say", TEXT, "--resume", "-o", str(tmp_path / "x.pcm"), "--json"]) == 0
    running.join()
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    assert (said["state"], said["reconnects"], said["resumed"], said["frames"]) == ("done", 1, "exact", 1000)
    assert [run["outcome"] for run in said["attempts"]] == ["failed", "done"]
    assert shown.err.startswith("voicebox: the daemon (pid ")
    assert shown.err.endswith(") goes on\n")
    assert (tmp_path / "x.pcm").stat().st_size == 2000


def test_a_place_that_cannot_be_written_asks_nothing_of_the_daemon(daemon: FakeDaemon, there: Path) -> None:
    assert main(["say", "hello", "-o", "missing/x.wav"]) == 1
    assert daemon.received == []


def test_a_full_device_cancels_the_request(daemon: FakeDaemon, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.script = hang
    assert main(["say", "hello", "-o", "/dev/full"]) == 1
    assert capsys.readouterr().err == "voicebox: cannot write /dev/full: No space left on device\n"
    daemon.wait_for_departures(1)


# --- the request


def test_the_options_reach_the_daemon(daemon: FakeDaemon, there: Path) -> None:
    line = "say hi -v anna -l en --provider builtin --model m --instruct softly --seed 3 --speed 1.5 --pitch 0.9"
    line += " --volume 0.5 -O a=1 -O b=text -O c=[true] --rate 16000 --priority text --deadline 2.5"
    line += " --on-failure fail --any-voice -o x.wav"
    assert main(line.split()) == 0
    (asked,) = daemon.wait_for("Say")
    assert asked == schema.Say(
        boot=BOOT,
        req=asked.req,
        voice="anna",
        language="en",
        provider="builtin",
        model="m",
        instruct="softly",
        seed=3,
        speed=1.5,
        pitch=0.9,
        volume=0.5,
        options={"a": 1, "b": "text", "c": [True]},
        sample_rate=16000,
        priority="text",
        deadline_ms=2500,
        on_failure="fail",
        any_voice=True,
    )


def test_a_file_begins_a_segment_again_and_a_pipe_goes_on(daemon: FakeDaemon, there: Path) -> None:
    assert main(["say", "hi", "-o", "x.wav"]) == 0
    assert main(["say", "hi", "-o", "/dev/null"]) == 0
    first, second = daemon.wait_for("Say", count=2)
    assert (first.on_failure, second.on_failure) == ("segment", "next")
    assert first.priority == "message"
    assert first.any_voice is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["hi", "-f", "x"],
        ["hi", "-O", "a", "-o", "x.wav"],
        ["hi", "-O", "a=1", "-O", "a=2", "-o", "x.wav"],
        ["hi", "--format", "wav"],
        ["-f", "missing.txt", "-o", "x.wav"],
        ["-f", ".", "-o", "x.wav"],
        ["hi", "--seed", "-1"],
        ["hi", "--priority", "urgent"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(there: Path, arguments: list[str]) -> None:
    assert main(["say", *arguments]) == 2


# --- where the words come from


def test_standard_input_is_spoken_while_it_is_written(daemon: FakeDaemon, there: Path) -> None:
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", "say", "-", "-o", "x.wav"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("über ".encode()[:1])
        process.stdin.flush()
        daemon.wait_for("Say")
        process.stdin.write("über ".encode()[1:])
        process.stdin.flush()
        daemon.wait_for("Text")
        process.stdin.write(b"all")
        process.stdin.close()
        assert process.wait(WAIT_S) == 0
    assert list(daemon.texts.values()) == ["über all".encode()]


def test_a_file_is_read(daemon: FakeDaemon, there: Path) -> None:
    (there / "story.txt").write_bytes(b"\xef\xbb\xbf" + b"Once.\r\n" * 10_000)
    assert main(["say", "-f", "story.txt", "-o", "x.wav"]) == 0
    assert list(daemon.texts.values()) == [b"Once.\r\n" * 10_000]


def test_a_long_file_is_no_error(daemon: FakeDaemon, there: Path) -> None:
    (there / "story.txt").write_bytes(b"x" * 60_000)
    assert main(["say", "-f", "story.txt", "-o", "x.wav"]) == 0


def test_bytes_that_are_no_text_are_named(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (there / "story.txt").write_bytes(b"x" * 20_000 + b"\xff")
    assert main(["say", "-f", "story.txt", "-o", "x.wav"]) == 2
    assert "not UTF-8 at byte 20000" in capsys.readouterr().err
    assert os.listdir(there) == ["story.txt"]


@pytest.mark.parametrize(
    ("writes", "offset"),
    [([b"\xc3", b"\xbc\xff"], 2), ([b"a\xe2\x82"], 1), ([b"abc", b"\x80"], 3), ([b"a\xe2", b"\x28"], 1)],
)
def test_the_offset_counts_from_the_beginning(writes: list[bytes], offset: int) -> None:
    assert offset_of_error(iter(writes)) == offset


def offset_of_error(writes: Iterator[bytes]) -> int:
    """Where the text of a pipe goes wrong, when it comes in these parts."""
    ours, theirs = os.pipe()
    found = text_source.pieces(ours)
    with open(ours, "rb"):
        with pytest.raises(InvalidText) as raised:
            _read_as_written(writes, theirs, found)
        return int(str(raised.value).rsplit(" ", 1)[1])


def _read_as_written(writes: Iterator[bytes], pipe: int, found: Iterator[str]) -> None:
    with open(pipe, "wb", buffering=0) as file:
        for data in writes:
            file.write(data)
            if data.isascii():
                next(found)
    list(found)


def test_text_too_long_for_an_argument_is_refused(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["say", "x" * (1024 * 1024 + 1), "-o", "x.wav"]) == 2


# --- standard output


def test_sound_on_standard_output_moves_the_object_aside(daemon: FakeDaemon, there: Path) -> None:
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()"]
    command += ["say", "hi", "-o", "-", "--format", "pcm", "--json"]
    ended = subprocess.run(command, capture_output=True, timeout=WAIT_S)
    assert ended.returncode == 0
    assert len(ended.stdout) == 9600
    assert json.loads(ended.stderr)["output"] == "-"


def test_a_reader_that_leaves_ends_it_quietly(daemon: FakeDaemon, there: Path) -> None:
    daemon.script = hang
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", "say", "hi", "-o", "-"]
    ended = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=WAIT_S)
    os.close(theirs)
    assert (ended.returncode, ended.stderr) == (141, b"")
    daemon.wait_for_departures(1)


def test_a_reader_of_a_list_that_leaves_ends_it_quietly(daemon: FakeDaemon) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", "voices"]
    ended = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=WAIT_S)
    os.close(theirs)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("arguments", "container"),
    [
        (["-o", "x.flac"], "FLAC"),
        (["-o", "x.mp3"], "MP3"),
        (["-o", "x.opus"], "OGG"),
        (["-o", "x.ogg"], "OGG"),
        (["-o", "x", "--format", "mp3"], "MP3"),
        (["-o", "x.wav", "--format", "flac"], "FLAC"),
    ],
)
def test_a_file_gets_its_format(there: Path, arguments: list[str], container: str) -> None:
    assert main(["say", "hello", *arguments]) == 0
    info = soundfile.info(arguments[1])
    assert (info.format, info.frames, info.samplerate) == (container, 4800, RATE)


@pytest.mark.parametrize("arguments", [["-o", "x.mp5"], ["-o", "x.wav", "--format", "vorbis"]])
def test_an_unknown_format_is_refused_before_anything_is_asked(
    runtime_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    arguments[1] = str(tmp_path / arguments[1])
    assert main(["say", "hello", *arguments]) == 2
    assert "wav, flac, mp3, opus, pcm" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


# --- interruption


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_and_leaves_no_half_file(daemon: FakeDaemon, there: Path, sign: signal.Signals) -> None:
    daemon.script = hang
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", "say", "hi", "-o", "x.wav", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        daemon.wait_for("Credit")
        process.send_signal(sign)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (130, b"voicebox: interrupted\n")
    daemon.wait_for("Cancel")
    said = json.loads(out)
    assert (said["state"], said["error"]["code"], said["provider"]) == ("cancelled", "CANCELLED", "builtin")
    assert os.listdir(there) == []


@pytest.mark.parametrize("kind", ["mp3", "opus"])
def test_what_an_interrupt_leaves_in_a_pipe_can_be_decoded(daemon: FakeDaemon, there: Path, kind: str) -> None:
    daemon.script = hang
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", "say", "hi", "-o", "-"]
    with subprocess.Popen([*command, "--format", kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        daemon.wait_for("Credit")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    sound, rate = soundfile.read(io.BytesIO(out))
    assert (len(sound) >= 2400, rate) == (True, RATE)


def test_an_interrupt_while_standard_input_is_silent(daemon: FakeDaemon, there: Path) -> None:
    """The thread that reads it sits in a read that nobody can end."""
    command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", "say", "-", "-o", "x.wav"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        daemon.wait_for("Say")
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (130, b"voicebox: interrupted\n")


def test_a_request_stopped_by_somebody_else(daemon: FakeDaemon, there: Path) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.end(to, "Cancelled", message.req, 0)

    daemon.script = script
    assert main(["say", "hello", "-o", "x.wav"]) == 130


# --- what it tells


def test_plain_is_one_line_an_event(daemon: FakeDaemon, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.send(to, schema.Notice(boot=BOOT, req=message.req, code="STARTING", message="a moment\x07"))
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(10), segment=0, char_start=0, char_end=4)
            daemon.chunk(to, message.req, 1, tone(10), segment=1, char_start=4, char_end=9)
            daemon.send(to, schema.Reset(boot=BOOT, req=message.req, segment=1, frames=10, reason="it died"))
            daemon.chunk(to, message.req, 2, tone(10), segment=1, char_start=4, char_end=9)
            daemon.end(to, "Done", message.req, 20)

    daemon.script = script
    assert main(["say", "hello", "-o", "x.wav", "--plain"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "starting: a moment?",
        "accepted: builtin/anna, 24000 Hz, seed 7",
        "segment 1: characters 0 to 4",
        "segment 2: characters 4 to 9",
        "again from the start of segment 2: it died",
        "segment 2: characters 4 to 9",
        "done: 0.0 s of sound, 0.0 × real time, first after 80 ms, x.wav",
    ]


@pytest.mark.parametrize(
    ("terminal", "plain", "as_json", "term", "reporter"),
    [
        (True, False, False, "xterm", reporters.LineReporter),
        (True, False, False, "dumb", reporters.QuietReporter),
        (True, False, True, "xterm", reporters.QuietReporter),
        (True, True, True, "xterm", reporters.PlainReporter),
        (False, False, False, "xterm", reporters.QuietReporter),
    ],
)
def test_the_line_that_changes_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, plain: bool, as_json: bool, term: str, reporter: type
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    assert type(reporters.choose(plain=plain, as_json=as_json)) is reporter


def test_the_line_ends_with_how_much_how_fast_and_how_soon(capsys: pytest.CaptureFixture[str]) -> None:
    line = reporters.LineReporter()
    line.event(Notice("STARTING", "a moment"))
    attempts: list[dict[str, Any]] = []
    numbers = ("done", "p", "v", 24000, 48000, 1, 5, 7, None, attempts, 80.0, 100.0, None, None, None, None)
    line.done(Result("id", *numbers), "x.wav")  # type: ignore[arg-type]
    lines = capsys.readouterr().err.split("\r")
    assert lines == ["", "a moment", "x.wav: 2.0 s of sound, 20.0 × real time, first after 80 ms\n"]


@pytest.mark.parametrize(
    ("reporter", "shown"),
    [
        (reporters.QuietReporter, "voicebox: a is failed; b/c goes on\n"),
        (reporters.PlainReporter, "starting: a moment\nfailover: a is failed; b/c goes on\n"),
        (reporters.LineReporter, "\ra moment\rvoicebox: a is failed; b/c goes on\n"),
    ],
)
def test_who_speaks_in_anothers_place_is_told_whatever_else_is_not(
    capsys: pytest.CaptureFixture[str], reporter: type[reporters.Reporter], shown: str
) -> None:
    teller = reporter()
    teller.event(Notice("STARTING", "a moment"))
    teller.event(Notice("FAILOVER", "a is failed; b/c goes on"))
    assert capsys.readouterr().err == shown
