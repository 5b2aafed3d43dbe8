"""`status --watch`: on a terminal, in a pipe, and through the daemon's going and coming back."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.fake_daemon import STATUS, FakeDaemon, answer_query
from voicebox_cli.main import main
from voicebox_protocol import schema

WAIT_S = 30.0
COMMAND = (sys.executable, "-c", "from voicebox_cli.main import run; run()", "status", "--watch", "--interval", "0.1")

EVIL = {
    "id": "[red]evil[/red]",
    "state": "backoff",
    "reason": "it said :smile: [bold]\x1b]0;title\x07 and \x1b[2J",
    "workers": [{"pid": 1, "state": "busy", "jobs": 2}, {"pid": 2, "state": "ready", "jobs": 0}],
    "standby_pid": 2,
    "restarts": 41,
    "rss_bytes": 123_000_000,
    "device": "cuda:0",
}


@contextlib.contextmanager
def watching(*options: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, ended in any case."""
    process = subprocess.Popen([*COMMAND, *options], stdin=subprocess.DEVNULL, **how)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class Screen:
    """What a terminal is sent, as bytes and as text without its sequences."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.sent = b""

    def text(self) -> str:
        return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r", b"", self.sent).decode()

    def until(self, words: str) -> str:
        """Read on until these words come, and give the text up to there; what was read before does not count."""
        self.sent, end = b"", time.monotonic() + WAIT_S
        while words not in self.text():
            assert time.monotonic() < end, (words, self.sent)
            self._read()
        return self.text()

    def rest(self) -> bytes:
        """All that still comes."""
        self.sent = b""
        while self._read():
            pass
        return self.sent

    def _read(self) -> bool:
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.sent += piece
        return bool(piece)


@contextlib.contextmanager
def terminal(**environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    ours, theirs = pty.openpty()
    with watching(
        stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment}
    ) as run:
        os.close(theirs)
        try:
            yield run, Screen(ours)
        finally:
            os.close(ours)


def as_evil(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    daemon.send(to, schema.StatusReply(query=message.query, status={**STATUS, "providers": [EVIL]}))


def test_a_terminal_shows_a_table_until_ctrl_c_and_is_left_as_it_was(daemon: FakeDaemon) -> None:
    with terminal() as (run, screen):
        shown = screen.until("ends")
        assert "voiceboxd 0.1.0, pid 4711, up 1 min 15 s" in shown
        assert "0 active, 0 queued, 3 done, 0 failed, 1 cancelled" in shown
        assert "builtin   ready  1        -        0         200 MB  cpu     0" in shown
        assert b"\x1b[?1049h" in screen.sent
        assert b"\x1b[32mready" in screen.sent
        run.send_signal(signal.SIGINT)
        assert run.wait(WAIT_S) == 0
        last = screen.rest()
        assert b"\x1b[?1049l" in last
        assert b"\x1b[?25h" in last
        assert b"Traceback" not in last


def test_it_outlives_the_daemon_and_starts_none(runtime_dir: Path) -> None:
    with terminal(VOICEBOX_AUTOSTART="1") as (run, screen):
        screen.until("no daemon (no daemon ")
        assert os.listdir(runtime_dir) == []
        for _ in range(2):
            with FakeDaemon(runtime_dir):
                # Not "ends", with which the lines without a daemon end too.
                screen.until("builtin")
            screen.until("no daemon")
        run.send_signal(signal.SIGTERM)
        assert run.wait(WAIT_S) == 0
        assert b"\x1b[?1049l" in screen.rest()


def test_what_a_provider_says_commands_neither_terminal_nor_table(daemon: FakeDaemon) -> None:
    daemon.script = as_evil
    with terminal(NO_COLOR="1") as (_, screen):
        shown = screen.until("ends")
    assert re.search(r"\[red\]evil\[/red\] +backoff +1 +2 +41 +123 MB +cuda:0 +2 ", shown)
    assert "[red]evil[/red]: reason: it said :smile: [bold]?]0;title? and ?[2J" in shown
    assert b"\x1b]0" not in screen.sent
    assert b"\x1b[31m" not in screen.sent


def test_a_dumb_terminal_gets_lines(daemon: FakeDaemon) -> None:
    with terminal(TERM="dumb") as (_, screen):
        screen.until("builtin")
        screen.until("builtin")
    assert b"\x1b" not in screen.sent


def test_a_pipe_gets_a_snapshot_an_interval(runtime_dir: Path) -> None:
    with watching(stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith(b"no daemon (")
        assert run.stdout.readline() == b"\n"
        with FakeDaemon(runtime_dir):
            heads = (line for line in run.stdout if line.startswith(b"voiceboxd 0.1.0"))
            assert next(heads) == next(heads)
        run.send_signal(signal.SIGINT)
        assert run.wait(WAIT_S) == 0


def test_programs_get_an_object_a_line(runtime_dir: Path) -> None:
    with watching("--json", stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        absent = json.loads(run.stdout.readline())
        assert (absent["daemon"], absent["error"]["code"]) == (None, "DAEMON_UNREACHABLE")
        with FakeDaemon(runtime_dir):
            there = next(line for line in map(json.loads, run.stdout) if line["daemon"])
        assert there == STATUS
        run.send_signal(signal.SIGINT)
        assert run.wait(WAIT_S) == 0


def test_nobody_reads_any_more(daemon: FakeDaemon) -> None:
    with watching(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(WAIT_S) == 141
        assert run.stderr.read() == b""
        run.stderr.close()


def test_a_daemon_that_refuses_is_no_answer(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        daemon.send(to, schema.Error(code="BAD_REQUEST", message="too\x1b long", query=message.query))

    daemon.script = script
    with watching(stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"no answer (too? long)\n"
        daemon.script = lambda daemon, to, message, text: answer_query(daemon, to, message) and None
        assert any(line.startswith(b"voiceboxd 0.1.0") for line in run.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--interval", "1"],
        ["--watch", "--interval", "0"],
        ["--watch", "--interval", "nan"],
        ["--watch", "--interval", "inf"],
    ],
)
def test_an_interval_that_makes_no_sense_is_a_usage_error(arguments: list[str]) -> None:
    assert main(["status", *arguments]) == 2


def test_rich_is_loaded_for_a_terminal_only(daemon: FakeDaemon) -> None:
    code = (
        "import sys, signal\nsignal.setitimer(signal.ITIMER_REAL, 1)\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\nfrom voicebox_cli.main import main\n"
        "assert main(['status', '--watch']) == 0\nassert 'rich' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WAIT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(b"voiceboxd 0.1.0")
