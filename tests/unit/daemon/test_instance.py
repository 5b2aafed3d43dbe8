"""One daemon a directory, however many are started, and none in the way of the next when one dies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voiceboxd.instance import AlreadyRunning, InstanceLock

HOLD = """
import sys
from pathlib import Path
from voiceboxd.instance import InstanceLock
lock = InstanceLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock until it is told to end, or killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_is_first(tmp_path: Path, holder) -> None:
    with pytest.raises(AlreadyRunning, match=rf"pid {holder.pid}\b") as caught:
        InstanceLock(tmp_path / "lock")
    assert caught.value.pid == str(holder.pid)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder) -> None:
    holder.kill()
    holder.wait()
    InstanceLock(tmp_path / "lock").release()


def test_the_file_holds_our_process_id_and_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("99999999999999\n")
    lock = InstanceLock(tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(3):
        lock = InstanceLock(tmp_path / "lock")
        with pytest.raises(AlreadyRunning):
            InstanceLock(tmp_path / "lock")
        lock.release()


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "lock")
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    lock.release()
