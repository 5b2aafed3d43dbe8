"""Finding the daemon, losing it, finding the next; and the uses of a Voicebox that are refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.fake_daemon import BOOT, STATUS, FakeDaemon, speak
from voicebox_client import Daemon, Voicebox, connection, is_running
from voicebox_protocol import schema
from voicebox_protocol.errors import (
    BadRequest,
    CancelledByRequest,
    DaemonLost,
    DaemonUnreachable,
    DeadlineExceeded,
    Incompatible,
    NoSuchRequest,
    VoiceboxError,
)

WAIT_S = 20.0


def test_no_daemon_is_said_with_what_to_do(runtime_dir: Path) -> None:
    assert not is_running()
    with Voicebox(autostart=False) as box, pytest.raises(DaemonUnreachable, match=r"voicebox daemon start$"):
        box.status()
    with Voicebox() as box, pytest.raises(DaemonUnreachable, match="VOICEBOX_AUTOSTART=0 forbids"):
        box.status()


def test_queries_are_answered(daemon: FakeDaemon) -> None:
    assert is_running()
    with Voicebox() as box:
        assert box.connect() == Daemon("0.1.0", os.getpid(), "auto", 1, BOOT)
        assert box.status() == STATUS
        assert [voice["id"] for voice in box.voices(language="de")] == ["bert"]
        assert [provider["id"] for provider in box.providers()] == ["builtin"]
        assert box.stop() == ([], 0)
        assert box.stop(all=True) == (["r1"], 1)
        with pytest.raises(NoSuchRequest):
            box.stop("unknown")
        box.shutdown(if_idle=True)
    assert daemon.wait_for("Shutdown")[0].if_idle is True


@pytest.mark.parametrize("provider", ["\udcff", object(), 2**70])
def test_what_cannot_be_sent_leaves_nothing_half_sent(daemon: FakeDaemon, provider: Any) -> None:
    """Half a message stayed in the socket, and the next one broke the connection, with every Speech of it."""
    with Voicebox() as box:
        box.connect()
        with pytest.raises((UnicodeEncodeError, TypeError, OverflowError)):
            box.voices(provider)
        assert box.status() == STATUS


@pytest.mark.parametrize("timeout", [-1.0, 0.0, float("inf"), float("nan")])
def test_no_question_waits_for_less_than_a_moment_or_for_ever(daemon: FakeDaemon, timeout: float) -> None:
    with Voicebox() as box:
        with pytest.raises(BadRequest, match="timeout"):
            box.ping("builtin", timeout=timeout)
        assert box.status() == STATUS


def test_one_conversation_is_one_connection(daemon: FakeDaemon) -> None:
    """The door that was probed is the session's own, and stays open as long as the Voicebox."""
    with Voicebox() as box:
        box.status()
        list(box.say("hello"))
        assert len(daemon._doors) == 1
    daemon.wait_for_departures(1)


def test_the_next_call_finds_the_next_daemon(runtime_dir: Path) -> None:
    with Voicebox() as box:
        with FakeDaemon(runtime_dir):
            assert box.say("one").collect().frames == 4800
        with pytest.raises(DaemonUnreachable):
            box.status()
        with FakeDaemon(runtime_dir):
            assert box.say("two").collect().frames == 4800


def test_a_daemon_that_dies_over_a_query_is_lost(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        raise ConnectionAbortedError

    daemon.script = script
    with Voicebox() as box, pytest.raises(DaemonLost):
        box.status()
    daemon.errors.clear()


def test_an_end_that_is_noticed_before_its_answer_is_a_shutdown(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        raise ConnectionAbortedError

    daemon.script = script
    with Voicebox() as box:
        box.shutdown()
    daemon.errors.clear()


def test_a_daemon_that_does_not_answer_is_given_up(daemon: FakeDaemon) -> None:
    daemon.script = lambda *_: None
    with Voicebox(timeout=0.05) as box, pytest.raises(DaemonUnreachable, match=r"Status within 0\.05 s"):
        box.status()


def test_a_silent_daemon_is_asked_whether_it_lives(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped daemon keeps its sockets open: only an unanswered question tells it from one that works."""
    monkeypatch.setattr(connection, "_PATIENCE", 0.05)
    answered: list[int] = []

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
        elif isinstance(message, schema.Status) and len(answered) < 2:
            answered.append(message.query)
            daemon.send(to, schema.StatusReply(query=message.query, status={}))

    daemon.script = script
    with Voicebox(timeout=0.1) as box, pytest.raises(DaemonLost, match="has said nothing for"):
        list(box.say("hello"))
    assert len(answered) == 2


def test_what_takes_long_is_waited_for_while_the_daemon_lives(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading may take minutes; a daemon that is stopped meanwhile is noticed long before."""
    monkeypatch.setattr(connection, "_PATIENCE", 0.05)
    answered: list[int] = []

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Status) and len(answered) < 3:
            answered.append(message.query)
            daemon.send(to, schema.StatusReply(query=message.query, status={}))

    daemon.script = script
    with Voicebox(timeout=0.1) as box:
        with pytest.raises(DeadlineExceeded, match=r"has not done ControlProvider .* it goes on"):
            box.start_provider("builtin", timeout=0.06)
        with pytest.raises(DaemonLost, match="has said nothing for"):
            box.restart_provider("builtin")


def test_a_daemon_of_another_protocol_says_so(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(to: bytes) -> None:
        daemon.send(to, schema.Error(code="INCOMPATIBLE", message="we share no version"))

    monkeypatch.setattr(daemon, "_greet", greet)
    with Voicebox() as box, pytest.raises(Incompatible, match="share no version"):
        box.connect()


def test_closing_cancels_what_is_open(daemon: FakeDaemon) -> None:
    daemon.script = lambda daemon, to, message, text: (
        daemon.accept(to, message.req) if isinstance(message, schema.Say) else None
    )
    with Voicebox() as box:
        speech = box.say("hello")
        assert speech.accepted
    with pytest.raises(CancelledByRequest, match="closed"):
        next(speech)
    daemon.wait_for_departures(1)


def test_use_after_fork_is_refused_and_harms_nobody(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        speech = box.say("hello")
        next(speech)
        child = os.fork()
        if child == 0:
            os._exit(_refusals(box, speech))
        assert _status_of(child) == 0
        assert len(list(speech)) == 1
        assert box.status() == STATUS


def _refusals(box: Voicebox, speech: Any) -> int:
    """In the child: 0 if every use is refused and every farewell harmless."""
    refused = 0
    for use in (box.status, lambda: next(speech), lambda: box.say("x")):
        try:
            use()
        except RuntimeError as error:
            refused += "make a new Voicebox in the child" in str(error)
    speech.close()
    box.close()
    return 3 - refused


def test_a_child_that_lives_on_does_not_keep_its_parents_session_open(daemon: FakeDaemon) -> None:
    """The daemon must notice the death of a client whose forked child still has its descriptors."""
    box = Voicebox()
    box.connect()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    box.close()
    daemon.wait_for_departures(1)
    os.close(theirs)
    os.close(ours)
    assert _status_of(child) == 0


def _status_of(child: int) -> int:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child hangs")


def test_two_threads_at_once_are_refused(daemon: FakeDaemon) -> None:
    waiting = threading.Event()

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Voices):
            waiting.set()
        else:
            speak(daemon, to, message, text)

    daemon.script = script
    raised: list[BaseException] = []

    def ask(box: Voicebox) -> None:
        try:
            box.voices()
        except VoiceboxError as error:
            raised.append(error)

    with Voicebox(timeout=WAIT_S) as box:
        box.connect()
        thread = threading.Thread(target=ask, args=(box,))
        thread.start()
        assert waiting.wait(WAIT_S)
        with pytest.raises(RuntimeError, match="one Voicebox for each thread"):
            box.status()
        daemon.die()
        thread.join(WAIT_S)
    assert [type(error) for error in raised] == [DaemonLost]


def test_a_speech_dropped_while_another_thread_asks_is_cancelled_at_the_next_call(daemon: FakeDaemon) -> None:
    daemon.script = lambda daemon, to, message, text: (
        daemon.accept(to, message.req) if isinstance(message, schema.Say) else speak(daemon, to, message, text)
    )
    with Voicebox() as box:
        first, second = box.say("one"), box.say("two")
        assert first.accepted
        assert second.accepted
        with box._guard:
            del first
        assert not [message for message in daemon.received if isinstance(message, schema.Cancel)]
        second.cancel(wait=WAIT_S)
        daemon.wait_for("Cancel", count=2)
