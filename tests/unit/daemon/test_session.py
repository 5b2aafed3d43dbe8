"""Sessions: one a peer, opened once by their token, and bounded where nothing would tell of their death."""

from __future__ import annotations

import pytest

from voiceboxd.session import MAX_UNATTACHED, Sessions


def test_a_session_is_found_by_its_peer_and_by_its_name() -> None:
    sessions = Sessions()
    session, gone = sessions.open(b"p", "agent/1")
    assert gone == []
    assert sessions.of_peer(b"p") is session
    assert sessions.get(session.id) is session
    assert sessions.of_peer(b"q") is None
    assert len(sessions) == 1


def test_a_second_hello_of_a_peer_replaces_its_session() -> None:
    sessions = Sessions()
    first, _ = sessions.open(b"p", "agent/1")
    second, gone = sessions.open(b"p", "agent/1")
    assert gone == [first]
    assert sessions.get(first.id) is None
    assert sessions.of_peer(b"p") is second


def test_a_former_session_that_closes_late_does_not_take_its_successor_along() -> None:
    sessions = Sessions()
    first, _ = sessions.open(b"p", "agent/1")
    second, _ = sessions.open(b"p", "agent/1")
    sessions.close(first)
    assert sessions.of_peer(b"p") is second


def test_a_token_opens_its_session_once() -> None:
    sessions = Sessions()
    session, _ = sessions.open(b"p", "agent/1")
    sessions.open(b"q", "agent/1")
    assert sessions.attach(session.token) is session
    assert (session.attached, sessions.attached) == (True, 1)
    assert sessions.attach(session.token) is None


@pytest.mark.parametrize("token", ["", "wrong", "é", "\0", "x" * 10_000])
def test_another_token_opens_nothing(token: str) -> None:
    sessions = Sessions()
    sessions.open(b"p", "agent/1")
    assert sessions.attach(token) is None


def test_a_closed_sessions_token_opens_nothing() -> None:
    sessions = Sessions()
    session, _ = sessions.open(b"p", "agent/1")
    sessions.close(session)
    assert sessions.attach(session.token) is None


def test_the_oldest_that_never_opened_the_door_goes_and_those_that_did_stay() -> None:
    sessions = Sessions()
    attached, _ = sessions.open(b"first", "agent/1")
    sessions.attach(attached.token)
    opened = [sessions.open(b"%d" % number, "agent/1") for number in range(MAX_UNATTACHED)]
    assert all(not gone for _, gone in opened)
    _, gone = sessions.open(b"one more", "agent/1")
    assert gone == [opened[0][0]]
    assert sessions.get(attached.id) is attached
    assert len(sessions) == MAX_UNATTACHED + 1
