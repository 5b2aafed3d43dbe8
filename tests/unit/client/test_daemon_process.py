"""Starting a daemon, with small programs in the place of one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unit.client.fake_daemon import FakeDaemon
from voicebox_client import Voicebox, daemon_process
from voicebox_protocol.errors import BadPlace, DaemonUnreachable

WAIT_S = 20.0


@pytest.fixture
def program(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shell script in the place of Python, which a Voicebox may start."""
    path = runtime_dir / "python"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "1")
    return path


def test_a_daemon_that_crashes_at_its_start_is_quoted(program: Path) -> None:
    program.write_text('#!/bin/sh\necho old-news >&2; echo "no room for sockets" >&2\nexit 3\n')
    with Voicebox() as box, pytest.raises(DaemonUnreachable, match=r"exit status 3\): old-news \| no room for sockets"):
        box.status()


def test_only_what_this_daemon_said_is_quoted(program: Path) -> None:
    program.write_text("#!/bin/sh\necho first >&2\nexit 3\n")
    with Voicebox() as box:
        with pytest.raises(DaemonUnreachable):
            box.status()
        program.write_text("#!/bin/sh\necho second >&2\nexit 3\n")
        with pytest.raises(DaemonUnreachable, match=r"3\): second$"):
            box.status()


def test_it_is_started_detached_and_with_a_reduced_environment(
    program: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    program.write_text(f'#!/bin/sh\n(echo "$@"; pwd; env; ps -o sid= -p $$; echo $$) > {runtime_dir}/seen\nexit 1\n')
    with Voicebox() as box, pytest.raises(DaemonUnreachable):
        box.status()
    seen = (runtime_dir / "seen").read_text().splitlines()
    assert seen[:2] == ["-P -m voiceboxd --autostart", "/"]
    assert f"VOICEBOX_RUNTIME_DIR={runtime_dir}" in seen
    assert "LC_TIME=C" in seen
    assert not any("secret" in line for line in seen)


def test_the_loser_of_the_lock_waits_for_the_winner(program: Path, runtime_dir: Path) -> None:
    """Ten clients start ten daemons at once; nine leave quietly, and all ten are served by the tenth."""
    program.write_text("#!/bin/sh\nexit 0\n")
    with FakeDaemon(runtime_dir / "later") as winner:
        (runtime_dir / "session.sock").symlink_to(runtime_dir / "later" / "session.sock")
        (runtime_dir / "control.sock").symlink_to(runtime_dir / "later" / "control.sock")
        with Voicebox() as box:
            assert box.say("hello").collect().frames == 4800
        winner.wait_for("Say")


def test_one_that_left_for_a_daemon_that_ended_is_started_again(program: Path, runtime_dir: Path) -> None:
    """The loser saw a daemon that was just ending: nobody would ever answer, were there no second try."""
    program.write_text(
        f"#!/bin/sh\necho x >> {runtime_dir}/starts\n[ $(wc -l < {runtime_dir}/starts) -lt 2 ] || exit 4\nexit 0\n"
    )
    with Voicebox() as box, pytest.raises(DaemonUnreachable, match="exit status 4"):
        box.status()


def test_a_log_directory_that_cannot_be_made_is_named(
    program: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime_dir / "file").touch()
    monkeypatch.setenv("VOICEBOX_DATA_DIR", str(runtime_dir / "file" / "data"))
    with Voicebox() as box, pytest.raises(BadPlace, match=r"voiceboxd\.stderr"):
        box.status()


def test_a_grown_stderr_begins_anew(program: Path, runtime_dir: Path) -> None:
    log = runtime_dir / "data" / "state" / "log"
    log.mkdir(parents=True)
    (log / "voiceboxd.stderr").write_bytes(b"x" * 100_000)
    program.write_text("#!/bin/sh\necho fresh >&2\nexit 3\n")
    with Voicebox() as box, pytest.raises(DaemonUnreachable):
        box.status()
    assert (log / "voiceboxd.stderr").read_bytes() == b"fresh\n"


def test_a_started_process_leaves_no_zombie(program: Path, runtime_dir: Path) -> None:
    """A client that lives for weeks is the parent of the daemon it started; somebody must take its exit status."""
    os.mkfifo(runtime_dir / "gate")
    program.write_text(f"#!/bin/sh\necho $$ > {runtime_dir}/pid\nread x < {runtime_dir}/gate\n")
    child = daemon_process._Child("--autostart")
    child.leave_alone()
    (reaper,) = [thread for thread in threading.enumerate() if thread.name == "voicebox-reaper"]
    (runtime_dir / "gate").write_text("go\n")
    reaper.join(WAIT_S)
    assert not reaper.is_alive()
    assert child._process.returncode == 0


def test_a_vigil_sees_a_process_end_though_nobody_has_taken_its_status() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with daemon_process.Vigil(process.pid) as vigil:
        assert not vigil.wait(0)
        process.stdin.close()
        assert vigil.wait(WAIT_S)
    process.wait()


def test_a_vigil_without_descriptors_sees_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    with daemon_process.Vigil(process.pid) as vigil:
        process.wait()
        assert vigil.wait(WAIT_S)


def test_the_time_to_start_is_bounded(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_process, "_START_S", 0.2)
    program.write_text("#!/bin/sh\nexec sleep 1\n")
    began = time.monotonic()
    with Voicebox() as box, pytest.raises(DaemonUnreachable, match=r"did not answer within 0\.2 s"):
        box.status()
    assert time.monotonic() - began >= 0.2
