"""Faults on purpose: each does what its word says, in the phase that it names, as often as it is meant to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.unit.provider.fake_daemon import Provider, provider
from voicebox_protocol.schema import Chunk, Fault, Loading, Ready, SegmentDone, SegmentFailed
from voicebox_provider import faults
from voicebox_provider.engine import PermanentFault, Utterance
from voicebox_provider.faults import Faults, parse
from voicebox_provider.testing import FakeEngine

TENTHS: dict[str, Any] = {"ms_per_char": 100}


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("sigkill@loading", ("sigkill", 0, "loading", 2)),
        ("exit:78@idle", ("exit", 78, "idle", 2)),
        ("leak:50@speaking:3", ("leak", 50, "speaking", 3)),
    ],
)
def test_a_word_says_what_and_when(word: str, fault: tuple[str, int, str, int]) -> None:
    assert parse(word) == fault


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("sigkill", "NAME"),
        ("boredom@idle", "no fault 'boredom'"),
        ("sigkill@lunch", "phase 'lunch'"),
        ("hang@idle", "no hang"),
        ("drop@last", "first, speaking"),
    ],
)
def test_what_is_no_fault_is_refused_and_the_engine_says_so(word: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(word)
    with pytest.raises(PermanentFault, match=complaint):
        FakeEngine({"faults": [word]})


def test_the_page_lists_every_fault_and_phase() -> None:
    assert faults.__doc__ is not None
    assert all(f"`{name}" in faults.__doc__ for name in [*faults.WAYS, *faults.PHASES])


def test_once_means_while_the_flag_is_not_there(tmp_path: Path) -> None:
    struck: list[int] = []
    flag = tmp_path / "flag"
    planned = Faults(["note:7@first"], str(flag), {"note": struck.append})
    planned.strike("loading")
    assert not flag.exists()
    planned.strike("first")
    planned.strike("first")
    assert (struck, flag.exists()) == ([7], True)
    flag.unlink()
    planned.strike("first")
    assert struck == [7, 7]


def test_without_a_flag_it_goes_wrong_every_time() -> None:
    struck: list[int] = []
    planned = Faults(["note@first"], ways={"note": struck.append})
    planned.strike("first")
    planned.strike("first")
    assert len(struck) == 2


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("sigkill@first", -signal.SIGKILL),
        ("sigsegv@first", -signal.SIGSEGV),
        ("sigabrt@first", -signal.SIGABRT),
        ("exit:0@first", 0),
        ("exit:78@first", 78),
    ],
)
def test_a_death_is_the_one_asked_for(short_dir: str, word: str, code: int) -> None:
    with provider(short_dir, faults=[word]) as peer:
        peer.load()
        peer.ask("hello")
        assert peer.exit_code() == code


def test_before_hello_means_that_nothing_was_said(short_dir: str) -> None:
    with provider(short_dir, faults=["exit:3@hello"]) as peer:
        assert peer.exit_code() == 3
        assert not peer.router.poll(100)


def test_while_loading_means_after_hello_and_before_ready(short_dir: str) -> None:
    with provider(short_dir, faults=["exit:3@loading"]) as peer:
        peer.greet()
        assert peer.exit_code() == 3
        assert not any(isinstance(message, Ready) for message in _rest(peer))


def test_idle_means_a_rest_before_or_after_work(short_dir: str) -> None:
    with provider(short_dir, faults=["exit:3@idle"], fault_once=f"{short_dir}/flag") as peer:
        peer.load()
        assert peer.exit_code() == 3


def test_in_mid_segment_means_after_so_many_arrays(short_dir: str) -> None:
    with provider(short_dir, faults=["exit:3@speaking:4"], **TENTHS) as peer:
        peer.load()
        peer.ask("a" * 10)
        assert peer.exit_code() == 3
        assert _frames(_rest(peer)) == 4 * 2400


def test_last_means_after_all_of_the_sound_and_before_the_end(short_dir: str) -> None:
    with provider(short_dir, faults=["exit:3@last"], **TENTHS) as peer:
        peer.load()
        peer.ask("a" * 10)
        assert peer.exit_code() == 3
        messages = _rest(peer)
        assert _frames(messages) == 10 * 2400
        assert not any(isinstance(message, SegmentDone) for message in messages)


def test_leaving_means_when_it_was_asked_to(short_dir: str) -> None:
    with provider(short_dir, faults=["exit:3@leaving"]) as peer:
        peer.load()
        peer.speak("hello")
        assert peer.leave() == 3


def test_one_that_stops_itself_is_there_and_says_nothing(short_dir: str) -> None:
    with provider(short_dir, faults=["stop@first"]) as peer:
        peer.load()
        peer.ask("hello")
        process = psutil.Process(peer.process.pid)
        end = time.monotonic() + 10
        while process.status() != psutil.STATUS_STOPPED and time.monotonic() < end:
            time.sleep(0.02)
        assert process.status() == psutil.STATUS_STOPPED


def test_who_holds_the_lock_lets_no_thread_of_its_own_run() -> None:
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.monotonic())
            stop.wait(0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    Faults(["gil:500@first"]).strike("first")
    ended = time.monotonic()
    stop.set()
    thread.join()
    gaps = [after - before for before, after in zip(ticks, [*ticks[1:], ended], strict=True)]
    assert max(gaps) >= 0.49
    assert ended - began >= 0.5


LEAKS = """
import psutil
from voicebox_provider.faults import Faults

before = psutil.Process().memory_info().rss
Faults(["leak:40@first"]).strike("first")
print(psutil.Process().memory_info().rss - before)
"""


def test_what_leaks_is_really_there() -> None:
    """In a process of its own: one that has run many tests takes it from what those gave back."""
    done = subprocess.run([sys.executable, "-c", LEAKS], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 35_000_000


@pytest.mark.parametrize(("word", "frames"), [("drop@first", 0), ("drop@speaking:3", 3 * 2400)])
def test_what_is_dropped_is_missing_without_a_word(word: str, frames: int) -> None:
    engine = FakeEngine({"faults": [word], **TENTHS})
    assert sum(len(array) for array in engine.synthesize(Utterance(text="hello"))) == frames


def test_an_engine_that_fails_does_so_where_it_should(short_dir: str) -> None:
    with provider(short_dir, faults=["fail@speaking"], fault_once=f"{short_dir}/flag", **TENTHS) as peer:
        peer.load()
        assert isinstance(peer.speak("hello").end, SegmentFailed)
        assert isinstance(peer.speak("hello").end, SegmentDone)
    with provider(short_dir, faults=["fail@loading"]) as peer:
        peer.greet()
        assert not peer.expect(Fault).permanent


def _rest(peer: Provider) -> list[Any]:
    """What it said and nobody has read yet."""
    messages = []
    while peer.router.poll(200):
        messages.append(peer.hear()[0])
    return [message for message in messages if not isinstance(message, Loading)]


def _frames(messages: list[Any]) -> int:
    return sum(frames for m in messages if isinstance(m, Chunk) for _, _, frames, _ in m.descriptors)
