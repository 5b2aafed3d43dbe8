"""Processes: what is ours ends with us, what is not is left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import psutil
import pytest

from voicebox_protocol.startline import StartLine
from voiceboxd.process import Children, ProviderProcess, describe_exit

START = StartLine("ipc://x", "mine", 7, "secret", os.getpid(), settings={"colour": "red"})


def live(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with anyio.fail_after(60):
            await scenario()

    anyio.run(main)


async def spawn(tmp_path: Path, program: str, start: StartLine = START) -> ProviderProcess:
    return await ProviderProcess.spawn([sys.executable, "-c", program], start, tmp_path / "log" / "mine.log")


def test_a_process_gets_its_start_line_and_its_words_go_to_the_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = await spawn(tmp_path, "import sys; print(sys.stdin.readline(), 'bye'); sys.exit(3)")
        assert await process.wait() == 3
        log = (tmp_path / "log" / "mine.log").read_bytes()
        assert StartLine.decode(log.splitlines()[0]) == START
        assert process.last_words().endswith("bye")
        assert process.memory() is None

    live(scenario)


def test_the_pipe_stays_open_as_lifeline_until_the_process_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        os.mkfifo(tmp_path / "fifo")
        program = (
            f"import sys; sys.stdin.readline(); open({str(tmp_path / 'fifo')!r}, 'w').write('up'); sys.stdin.read()"
        )
        process = await spawn(tmp_path, program)
        assert await anyio.to_thread.run_sync((tmp_path / "fifo").read_text) == "up"
        assert (process.memory() or 0) > 100_000
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    live(scenario)


def test_a_process_that_dies_before_it_reads_is_told_by_its_exit_code(tmp_path: Path) -> None:
    async def scenario() -> None:
        big = START._replace(settings={"padding": "x" * 500_000})
        process = await spawn(tmp_path, "import os; os._exit(5)", big)
        assert await process.wait() == 5

    live(scenario)


def test_one_that_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(OSError, match="none"):
            await ProviderProcess.spawn([str(tmp_path / "none")], START, tmp_path / "log")

    live(scenario)


GRANDCHILD = "(echo up; exec sleep 1000) > {fifo} & "


@pytest.mark.parametrize("rest", ["exec sleep 1000", "read line; exit 0"], ids=["killed", "left by itself"])
def test_the_whole_group_ends_with_the_process(tmp_path: Path, rest: str) -> None:
    async def scenario() -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        command = ["sh", "-c", GRANDCHILD.format(fifo=fifo) + rest]
        process = await ProviderProcess.spawn(command, START, tmp_path / "log")
        with await anyio.to_thread.run_sync(fifo.open) as pipe:
            assert await anyio.to_thread.run_sync(pipe.readline) == "up\n"
            if "exit" not in rest:
                process.kill()
            await process.wait()
            # End of file: whoever wrote is gone.
            assert await anyio.to_thread.run_sync(pipe.read) == ""

    live(scenario)


def test_a_log_that_grew_long_is_put_aside(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "log" / "mine.log"
        log.parent.mkdir()
        log.write_bytes(b"x" * 1_000_001)
        process = await spawn(tmp_path, "print('new')")
        await process.wait()
        assert log.read_text() == "new\n"
        assert log.with_suffix(".log.1").stat().st_size == 1_000_001

    live(scenario)


def test_last_words_are_few_and_need_no_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = await spawn(tmp_path, "print('é' * 500); print('a'); print('b'); print('b' * 5000); print('end')")
        await process.wait()
        assert process.last_words().endswith("| end")
        assert len(process.last_words()) <= 600
        (tmp_path / "log" / "mine.log").unlink()
        assert process.last_words() == ""

    live(scenario)


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "it exited with code 1"), (-11, "it was killed by SIGSEGV"), (-63, "it was killed by signal 63")],
)
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


# --- survivors


@pytest.fixture
def survivor() -> Iterator[subprocess.Popen]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_successor_ends_what_a_dead_daemon_left(tmp_path: Path, survivor) -> None:
    Children(tmp_path / "children.json").add(survivor.pid)
    assert Children(tmp_path / "children.json").reap_survivors() == [survivor.pid]
    assert survivor.wait() == -signal.SIGKILL
    assert Children(tmp_path / "children.json").reap_survivors() == []


def test_another_process_that_has_the_number_by_now_is_left_alone(tmp_path: Path, survivor) -> None:
    file = tmp_path / "children.json"
    file.write_text(json.dumps({survivor.pid: psutil.Process(survivor.pid).create_time() - 1.0}))
    assert Children(file).reap_survivors() == []
    assert survivor.poll() is None


def test_what_ended_in_order_is_forgotten(tmp_path: Path, survivor) -> None:
    children = Children(tmp_path / "children.json")
    children.add(survivor.pid)
    children.remove(survivor.pid)
    children.remove(survivor.pid)
    assert Children(tmp_path / "children.json").reap_survivors() == []
    assert survivor.poll() is None


def test_a_process_that_is_gone_already_is_not_remembered(tmp_path: Path, survivor) -> None:
    survivor.kill()
    survivor.wait()
    Children(tmp_path / "children.json").add(survivor.pid)
    assert not (tmp_path / "children.json").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "null", '{"a": 1}', '{"1": "x"}', '{"1": null}', "{", "\xff", '{"-5": 1}']
)
def test_a_file_that_says_nothing_sensible_ends_nobody(tmp_path: Path, text: str) -> None:
    file = tmp_path / "children.json"
    file.write_bytes(text.encode("latin-1"))
    assert Children(file).reap_survivors() == []
