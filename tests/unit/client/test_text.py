"""Text that is still being written: sent in whole characters, within the window, as the reader waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.fake_daemon import BOOT, FakeDaemon, speak
from voicebox_client import Voicebox
from voicebox_client.feeder import PIECE, Feeder
from voicebox_protocol import schema, wire
from voicebox_protocol.errors import BadRequest, InvalidText, TextTooLong

WAIT_S = 20.0


def drained(parts: Iterator[str] | list[str], room: int) -> list[bytes]:
    """All that a feeder gives, with so much room each time."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(WAIT_S)
        feeder = Feeder(parts, theirs)
        pieces = []
        while True:
            piece, last = feeder.take(room)
            pieces.append(piece)
            if last:
                return pieces
            if not piece:
                ours.recv(4096)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"))), st.integers(4, 50))
def test_nothing_is_lost_and_no_character_is_cut(parts: list[str], room: int) -> None:
    pieces = drained(parts, room)
    assert "".join(piece.decode() for piece in pieces) == "".join(parts)
    assert all(len(piece) <= room for piece in pieces)


def test_a_great_string_goes_out_in_pieces() -> None:
    text = "über" * 100_000
    pieces = drained([text], 10**9)
    assert max(len(piece) for piece in pieces) <= PIECE
    assert b"".join(pieces).decode() == text


def test_text_is_spoken_while_it_is_written(daemon: FakeDaemon) -> None:
    """The second word is written only once the first has arrived: nobody waits for the end of the text."""

    def words() -> Iterator[str]:
        yield "one "
        daemon.wait_for("Text", count=1)
        yield "two"

    with Voicebox() as box:
        speech = box.say(words())
        assert speech.collect().frames == 4800
    assert daemon.texts[speech.request_id] == b"one two"
    assert daemon.wait_for("Say")[0].more is True
    assert daemon.wait_for("Text", last=True)


def test_text_stays_within_the_window(daemon: FakeDaemon) -> None:
    sizes: list[int] = []

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, (schema.Say, schema.Text)):
            size = len(daemon.texts[message.req])
            sizes.append(size)
            if size == wire.TEXT_WINDOW:
                daemon.send(to, schema.TextCredit(boot=BOOT, req=message.req, upto=wire.TEXT_WINDOW + 1000))
        if not isinstance(message, schema.Text) or message.last:
            speak(daemon, to, message, text)

    daemon.script = script
    with Voicebox() as box:
        box.say(["x" * wire.TEXT_WINDOW, "y" * 1000]).collect()
    assert wire.TEXT_WINDOW in sizes
    assert sizes[-1] == wire.TEXT_WINDOW + 1000


def test_an_error_of_the_text_cancels_and_comes_out(daemon: FakeDaemon) -> None:
    def words() -> Iterator[str]:
        yield "one"
        raise LookupError("the story has no end")

    with Voicebox() as box, pytest.raises(LookupError, match="no end"):
        box.say(words()).collect()
    daemon.wait_for("Cancel")


def test_text_that_is_no_string_is_refused(daemon: FakeDaemon) -> None:
    with Voicebox() as box, pytest.raises(TypeError, match="not bytes"):
        box.say([b"bytes"]).collect()  # type: ignore[list-item]


def test_the_feeding_thread_ends_with_its_speech(daemon: FakeDaemon) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "again " * 10_000

    with Voicebox() as box:
        speech = box.say(endless())
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "voicebox-text"]
        del speech
        thread.join(WAIT_S)
        assert not thread.is_alive()
    daemon.wait_for("Cancel")


def test_half_a_surrogate_pair_is_named(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        with pytest.raises(InvalidText, match=r"character 2 .* U\+D800"):
            box.say("ab\ud800")
        with pytest.raises(InvalidText):
            box.say(iter(["\udfff"])).collect()


def test_a_long_string_is_refused_before_a_daemon_is_looked_for(runtime_dir: object) -> None:
    with Voicebox() as box, pytest.raises(TextTooLong, match="1048578 bytes"):
        box.say("é" * (wire.MAX_TEXT // 2 + 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": "urgent"},
        {"on_failure": "retry"},
        {"sink": "tape"},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": True},
        {"speed": float("nan")},
        {"speed": "fast"},
        {"volume": float("inf")},
        {"sample_rate": 2**32},
        {"voice": "x" * 129},
        {"provider": "x" * 65},
        {"instruct": "x" * 4097},
        {"options": [1]},
        {"options": {1: 2}},
        {"options": {"a": object()}},
        {"options": {"a": "x" * 40_000}},
        {"any_voice": "yes"},
        {"deadline": 0},
        {"deadline": float("inf")},
    ],
)
def test_what_cannot_be_right_is_refused_by_name(runtime_dir: object, wrong: dict[str, Any]) -> None:
    with Voicebox() as box, pytest.raises(BadRequest, match=next(iter(wrong))):
        box.say("hello", **wrong)
