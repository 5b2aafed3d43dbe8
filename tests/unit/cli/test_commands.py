"""The commands beside `say`: what they print, for people and for programs, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.fake_daemon import PROVIDERS, STATUS, VOICES, FakeDaemon, answer_query
from voicebox_cli import log_tail, tables
from voicebox_cli.main import main
from voicebox_protocol import __version__, errors, schema

HEAVY = {"anyio", "asyncio", "email", "http", "httpx", "logging", "miniaudio", "msgspec", "numpy", "packaging"}
HEAVY |= {"platformdirs", "rich", "subprocess"}


def test_status_loads_no_more_than_it_needs(daemon: FakeDaemon) -> None:
    code = (
        "import json, sys\nfrom voicebox_cli.main import main\nassert main(['status']) == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert not HEAVY & set(json.loads(ended.stdout.splitlines()[-1]))


def test_status_for_programs_is_the_daemons_answer(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_status_for_people_names_daemon_and_providers(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "voiceboxd 0.1.0, pid 4711, up 1 min 15 s, 40 MB, connections: 1" in out
    assert "0 active, 0 queued, 3 done, 0 failed, 1 cancelled" in out
    assert out.splitlines()[-1].split() == ["builtin", "hibari", "0.2.1", "ready", "4712", "0", "200", "MB", "cpu", "-"]


def test_status_tells_the_whole_reason_of_one_in_trouble_below_it(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "it exited with code 1 (" + "words of its own " * 20 + "\x1b[2J)"
    told = {"state": "quarantined", "reason": reason, "retry_in_s": 75.4, "log_tail": ["one\x07", "two"]}
    broken = {**STATUS["providers"][0], **told, "id": "broken", "workers": [], "pid": None}
    daemon.script = answering({**STATUS, "providers": [*STATUS["providers"], broken]})
    assert main(["status"]) == 0
    row, *below = capsys.readouterr().out.splitlines()[-5:]
    assert row.split() == ["broken", "hibari", "0.2.1", "quarantined", "-", "0", "200", "MB", "cpu"]
    assert below == [
        "    reason: " + reason.replace("\x1b", "?"),
        "    may be tried again in 1 min 15 s",
        "    log: one?",
        "    log: two",
    ]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"vram_bytes": 4_200_000_000}, "cuda:1: 4200 MB its own"),
        (
            {"vram_bytes": 4_200_000_000, "vram_used_bytes": 9_000_000_000, "vram_total_bytes": 24_000_000_000},
            "cuda:1: 4200 MB its own, 9000 of 24000 MB in use",
        ),
    ],
)
def test_status_tells_of_the_accelerators_memory_below_the_provider_that_uses_it(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], told: dict[str, int], line: str
) -> None:
    one = {**STATUS["providers"][0], "device": "cuda:1", **told}
    daemon.script = answering({**STATUS, "providers": [one]})
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"    {line}"


def test_status_tells_of_each_process_where_there_are_several(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = [
        {"pid": pid, "state": state, "epoch": pid, "rss_bytes": 10**8} for pid, state in ((1, "busy"), (2, "ready"))
    ]
    one = {**STATUS["providers"][0], "workers": [*workers, {"pid": None, "state": "backoff"}], "standby_pid": 2}
    daemon.script = answering({**STATUS, "providers": [one]})
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["    worker 1: busy, 100 MB", "    standby 2: ready, 100 MB"]


def answering(status: dict[str, Any]) -> Any:
    """The script of a daemon that is as `status` says."""
    return lambda daemon, to, message, text: daemon.send(to, schema.StatusReply(query=message.query, status=status))


def test_status_starts_no_daemon(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "1")
    assert main(["status"]) == 3
    assert capsys.readouterr().err.startswith("voicebox: no daemon answers")
    assert os.listdir(runtime_dir) == []


def test_voices_are_listed_and_cannot_command_the_terminal(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["voices"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["anna", "builtin", "Anna", "en-US", "en-GB", "preset", "yes"]
    assert "\x1b" not in out
    assert main(["voices", "-l", "de", "--provider", "builtin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == VOICES[1:]
    assert daemon.wait_for("Voices", language="de", provider="builtin")


def test_providers_are_listed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provider", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["builtin", "hibari", "entry", "point", "ready", "-"]
    assert main(["provider", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == PROVIDERS


@pytest.mark.parametrize(("action", "state"), [("start", "ready"), ("stop", "stopped"), ("restart", "ready")])
def test_a_provider_is_controlled(
    daemon: FakeDaemon, action: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["provider", action, "builtin"]) == 0
    assert capsys.readouterr() == (f"builtin is {state}\n", "")
    assert main(["provider", action, "builtin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**PROVIDERS[0], "state": state}
    assert daemon.wait_for("ControlProvider", count=2, provider="builtin", action=action)


def test_a_terminal_shows_that_a_provider_is_waited_for(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        asked.append(message)
        if len(asked) == 1:  # a moment later
            daemon.do(lambda: script(daemon, to, message, text))
        else:
            answer_query(daemon, to, message)

    daemon.script = script
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["provider", "start", "builtin"]) == 0
    out, err = capsys.readouterr()
    assert out == "builtin is ready\n"
    assert err.startswith("\r\x1b[Kstarting builtin, 0 s")
    assert err.endswith("\r\x1b[K")


def test_words_of_a_provider_in_an_error_cannot_command_the_terminal(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        words = "builtin is not ready: failed: gone\x1b[2J\n  its last\x07 words"
        daemon.send(to, schema.Error(code="PROVIDER_FAILED", message=words, query=message.query))

    daemon.script = script
    assert main(["provider", "restart", "builtin"]) == 5
    assert capsys.readouterr().err == "voicebox: builtin is not ready: failed: gone?[2J\n  its last? words\n"


def test_stopping_a_provider_starts_no_daemon(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "1")
    assert main(["provider", "stop", "builtin"]) == 3
    assert os.listdir(runtime_dir) == []


def test_stop(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop"]) == 0
    assert main(["stop", "--all"]) == 0
    assert capsys.readouterr().out.splitlines() == ["nothing is being played", "stopped 1 request"]
    assert main(["stop", "unknown"]) == 4
    assert main(["stop", "unknown", "--all"]) == 2


def test_stop_without_a_daemon(runtime_dir: Path) -> None:
    assert main(["stop", "--all"]) == 3


def test_every_error_ends_with_its_own_code(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    for leaf in errors.LEAVES:

        def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes, code: str = leaf.code) -> None:
            daemon.send(to, schema.Error(code=code, message="as I said", query=message.query))

        daemon.script = script
        with subtests.test(leaf.code):
            assert main(["voices"]) == leaf.exit_code
            assert capsys.readouterr().err == "voicebox: as I said\n"


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["say", "--bogus"], ["stop", "a", "b"], ["daemon", "logs", "-n", "x"]]
)
def test_usage_errors_end_with_2_and_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("Usage: voicebox ")
    assert "\nvoicebox: " in err


@pytest.mark.parametrize("arguments", [["--help"], ["say", "-h"], ["status", "--help"], ["daemon", "stop", "--help"]])
def test_help_tells_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {'  ' * (code != '')}{code} " in out for code in ("0", "3", "75", "130"))


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"voicebox {__version__}\n"


# --- the daemon


def test_start_beside_a_running_daemon_is_content(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "start"]) == 0
    assert capsys.readouterr().out == f"voiceboxd 0.1.0 runs already (pid {os.getpid()})\n"


def test_stop_without_a_daemon_to_stop(runtime_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "stop"]) == 0
    assert capsys.readouterr().out == "no daemon runs\n"


def test_stop_waits_until_the_process_has_gone(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    daemon.pid = process.pid

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        assert answer_query(daemon, to, message)
        process.stdin.close()

    daemon.script = script
    assert main(["daemon", "stop"]) == 0
    assert capsys.readouterr().out == f"voiceboxd has ended (pid {process.pid})\n"
    process.wait()


def test_a_daemon_that_will_not_end_is_said(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicebox_cli.connect.GONE_S", 0.05)
    assert main(["daemon", "restart"]) == 1
    assert "has not within 0.05 s" in capsys.readouterr().err


def test_run_becomes_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda *arguments: became.append(arguments))
    main(["daemon", "run"])
    assert became == [(sys.executable, [sys.executable, "-P", "-m", "voiceboxd", "--foreground"])]


# --- an older daemon


@pytest.fixture
def old(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    daemon.version = "0.0.9"
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "1")
    return daemon


def test_an_older_daemon_that_is_busy_is_worked_with(old: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Shutdown):
            assert message.if_idle
            daemon.send(to, schema.Error(code="REFUSED", message="2 requests are active", query=message.query))
        else:
            answer_query(daemon, to, message)

    old.script = script
    assert main(["voices"]) == 0
    said = capsys.readouterr()
    assert "version 0.0.9, older than this command line" in said.err
    assert "goes on as it is (2 requests are active)" in said.err
    assert "anna" in said.out


def test_an_older_daemon_that_is_idle_is_replaced_in_its_own_mode(
    old: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old.mode = "start"
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    old.pid = process.pid
    started: list[str] = []

    def start(mode: str) -> Any:
        started.append(mode)
        old.version = __version__
        from voicebox_client import door

        return door.transport().connect_session(5)

    monkeypatch.setattr("voicebox_client.daemon_process.start", start)
    assert main(["voices"]) == 0
    assert started == ["--started"]
    assert f"is now version {__version__}" in capsys.readouterr().err
    process.wait()


@pytest.mark.parametrize("mode", ["run"])
def test_a_daemon_that_somebody_runs_is_not_replaced(
    old: FakeDaemon, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old.mode = mode
    assert main(["voices"]) == 0
    assert "older than this command line" in capsys.readouterr().err
    assert not [message for message in old.received if isinstance(message, schema.Shutdown)]


def test_a_newer_daemon_is_simply_used(old: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    old.version = "99.0"
    assert main(["voices"]) == 0
    assert capsys.readouterr().err == ""


# --- logs


def test_the_end_of_the_log(runtime_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "logs"]) == 1
    log = runtime_dir / "data" / "state" / "log" / "voiceboxd.log"
    assert str(log) in capsys.readouterr().err
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo\nthree\n")
    assert main(["daemon", "logs", "-n", "2"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"


def test_a_followed_log_goes_on_through_its_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\n")
    lines = log_tail.read(log, 1, follow=True)
    assert next(lines) == "two\n"
    with log.open("a") as file:
        file.write("three\n")
    assert next(lines) == "three\n"
    writer = threading.Timer(0.05, lambda: (log.rename(tmp_path / "log.1"), log.write_text("four\n")))
    writer.start()
    assert next(lines) == "four\n"
    writer.join()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, None), (0.4, "0 s"), (75, "1 min 15 s"), (3600, "1 h 0 s"), (90061, "1 d 1 h")],
)
def test_durations_are_said_in_two_units(seconds: float | None, said: str | None) -> None:
    assert tables.duration(seconds) == said
