from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from voicebox_protocol.startline import StartLine
from voicebox_provider import lifeline

START = StartLine("ipc:///x", "p", 1, "t", 2, "builtin")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor == writing, "only a test's own end may be closed already"


def test_the_start_line_is_read_from_the_pipe(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, START.encode())
    assert lifeline.read_start_line(5.0, reading) == START


def test_a_daemon_that_dies_first_is_told_apart(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, START.encode()[:-1])
    os.close(writing)
    with pytest.raises(EOFError):
        lifeline.read_start_line(5.0, reading)


def test_silence_has_an_end(pipe: tuple[int, int]) -> None:
    with pytest.raises(TimeoutError):
        lifeline.read_start_line(0.0, pipe[0])


def test_other_lines_are_refused(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"[]\n")
    with pytest.raises(ValueError, match="not a start line"):
        lifeline.read_start_line(5.0, pipe[0])


def test_only_the_end_of_file_cuts_the_lifeline(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"x")
    assert not lifeline.is_cut(reading)
    os.close(writing)
    assert lifeline.is_cut(reading)


def test_an_orphan_knows_it() -> None:
    assert not lifeline.is_orphan(os.getppid())
    assert lifeline.is_orphan(os.getpid())
