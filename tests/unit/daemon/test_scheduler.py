"""Who is next: by priority, then fair between sessions, then first come; a full window waits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol import schema, wire
from voiceboxd.request import Request, Work
from voiceboxd.scheduler import pick
from voiceboxd.segmentation import Segment
from voiceboxd.window import WINDOW_SECONDS, Window

RATE = 8_000


def waiting(session: str, order: int, priority: str | None = None) -> Request:
    say = schema.Say(boot="b", req=f"{session}{order}", priority=priority)
    request = Request(say, session, 0.0, None, order, 1)
    request.work = Work(Segment(0, "Hello.", 0, 6), 0)
    return request


def windows(*sessions: str) -> dict[str, Window]:
    return {session: Window(0.0) for session in sessions}


def fill(window: Window, req: str) -> None:
    window.lend(req, 0, [int(WINDOW_SECONDS * RATE)], RATE, 0.0)


def test_nobody_waits_nobody_is_next() -> None:
    at_work = waiting("a", 1)
    assert at_work.work is not None
    at_work.work.attempt = 1
    assert pick([], {}, {}) is None
    assert pick([at_work], windows("a"), {}) is None


@given(st.permutations(list(wire.PRIORITIES)))
def test_the_more_urgent_goes_first(order: list[str]) -> None:
    requests = [waiting("a", number, priority) for number, priority in enumerate(order)]
    picked = []
    while (request := pick(requests, windows("a"), {})) is not None:
        picked.append(request.say.priority)
        requests.remove(request)
    assert picked == list(wire.PRIORITIES)


def test_no_priority_is_message() -> None:
    requests = [waiting("a", 1, "text"), waiting("a", 2), waiting("a", 3, "important")]
    assert pick(requests[:2], windows("a"), {}) is requests[1]
    assert pick(requests, windows("a"), {}) is requests[2]


def test_first_come_first_served_within_a_session() -> None:
    requests = [waiting("a", 2), waiting("a", 1)]
    assert pick(requests, windows("a"), {}) is requests[1]


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20), min_size=2))
def test_sessions_take_turns_however_many_requests_each_has(many: dict[str, int]) -> None:
    requests = [waiting(session, 100 * i + n) for i, (session, count) in enumerate(many.items()) for n in range(count)]
    served, turns = dict.fromkeys(many, 0), Counter()
    for turn in range(1, len(many) * min(many.values()) + 1):
        request = pick(requests, windows(*many), served)
        assert request is not None
        served[request.session] = turn
        turns[request.session] += 1
        requests.remove(request)
        assert max(turns.values()) - min(turns.get(session, 0) for session in many) <= 1


def test_a_full_window_waits_and_others_do_not() -> None:
    own, other = waiting("a", 1), waiting("b", 2)
    rooms = windows("a", "b")
    fill(rooms["a"], own.req)
    assert pick([own, other], rooms, {}) is other
    assert pick([own], rooms, {}) is None


def test_a_request_of_which_nothing_is_held_may_begin_although_the_window_is_full() -> None:
    """A client that reads its requests in another order than it asked must not wait for ever."""
    first, second = waiting("a", 1), waiting("a", 2)
    rooms = windows("a")
    fill(rooms["a"], first.req)
    assert pick([first, second], rooms, {}) is second


@pytest.mark.parametrize("priority", wire.PRIORITIES)
def test_priority_has_a_rank(priority: str) -> None:
    assert waiting("a", 1, priority).priority == wire.PRIORITIES.index(priority)
