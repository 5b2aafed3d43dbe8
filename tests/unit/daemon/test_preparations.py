"""Recordings to listen to: each has one answer, whatever becomes of who asked, of who listens, and of the time."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from voicebox_protocol import errors, schema, wire
from voiceboxd.effects import Effect, ToClient, ToProvider, Violation
from voiceboxd.preparations import MOST, MOST_OF_ONE, PATIENCE_MS, Preparation, Preparations

AUDIO = bytes(4 * 8000 * 2)


def ask(query: int = 1, **fields: Any) -> schema.PrepareVoice:
    return schema.PrepareVoice(query=query, sample_rate=8000, **fields)


class House:
    """The books, with one provider `p`, and what came of them."""

    def __init__(self) -> None:
        self.book = Preparations("b00t")
        self.now = 0.0
        self.names = (f"n{number}" for number in itertools.count())

    def admit(self, session: str = "s", query: int = 1, **fields: Any) -> Preparation:
        own = self.book.admit(next(self.names), session, ask(query, **fields), AUDIO, self.now)
        own.provider = "p"
        return own

    def begin(self, own: Preparation, epoch: int = 1) -> schema.Prepare:
        (effect,) = self.book.dispatch(own, epoch, self.now)
        assert isinstance(effect, ToProvider)
        assert isinstance(effect.message, schema.Prepare)
        assert effect.payload == AUDIO
        return effect.message


def done(order: schema.Prepare) -> schema.Prepared:
    return schema.Prepared(epoch=order.epoch, req=order.req, attempt=order.attempt, segment=0, model="m")


def failed(order: schema.Prepare, code: str = "BAD_REFERENCE") -> schema.SegmentFailed:
    return schema.SegmentFailed(
        epoch=order.epoch, req=order.req, attempt=order.attempt, segment=0, code=code, message="no"
    )


def stopped(order: schema.Prepare) -> schema.SegmentCancelled:
    return schema.SegmentCancelled(epoch=order.epoch, req=order.req, attempt=order.attempt, segment=0)


def answers(effects: list[Effect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, ToClient)]


@pytest.fixture
def house() -> House:
    return House()


def test_the_prompt_goes_to_who_asked(house: House) -> None:
    order = house.begin(house.admit(query=7, text="Hello.", model="m", deadline_ms=2000))
    assert (order.text, order.model, order.sample_rate, order.deadline_ms) == ("Hello.", "m", 8000, 2000)
    effects = house.book.prepared("p", 1, done(order), memoryview(b"prompt"))
    assert effects == [ToClient("s", schema.VoicePrepared(query=7, provider="p", model="m"), b"prompt")]
    assert not house.book.open
    assert house.book.in_work("p", 1) == 0
    assert house.book.prepared("p", 1, done(order), b"prompt") is None


@pytest.mark.parametrize("prompt", [b"", bytes(wire.MAX_PROMPT + 1)])
def test_no_prompt_and_too_much_of_one_break_the_rules(house: House, prompt: bytes) -> None:
    order = house.begin(house.admit())
    with pytest.raises(Violation):
        house.book.prepared("p", 1, done(order), prompt)


@pytest.mark.parametrize(("code", "told"), [("BAD_REFERENCE", "BAD_REFERENCE"), ("NEW_CODE", "PROVIDER_FAILED")])
def test_a_failure_is_an_answer(house: House, code: str, told: str) -> None:
    order = house.begin(house.admit())
    (answer,) = answers(house.book.failed("p", 1, failed(order, code)) or [])
    assert (answer.code, answer.query) == (told, 1)
    assert house.book.failed("p", 1, failed(order)) is None


def test_the_next_process_is_asked_once(house: House) -> None:
    own = house.admit()
    first = house.begin(own, epoch=1)
    assert house.book.provider_lost("p", 1, "p: it crashed") == []
    assert house.book.waiting("p") == [own]
    second = house.begin(own, epoch=2)
    assert (second.req, second.attempt) == (first.req, first.attempt + 1)
    assert house.book.prepared("p", 2, done(first), b"x") is None
    (answer,) = answers(house.book.provider_lost("p", 2, "p: it crashed"))
    assert (answer.code, "ended 2 times" in answer.message) == ("PROVIDER_FAILED", True)


def test_who_asks_no_more_has_it_stopped(house: House) -> None:
    order = house.begin(house.admit())
    house.admit("other")
    (effect,) = house.book.session_closed("s")
    assert isinstance(effect, ToProvider)
    assert isinstance(effect.message, schema.Cancel)
    assert (effect.message.req, effect.message.attempt) == (order.req, order.attempt)
    assert house.book.in_work("p", 1) == 1
    assert house.book.cancelled("p", 1, stopped(order)) == []
    assert house.book.in_work("p", 1) == 0
    assert len(house.book.open) == 1


def test_what_nobody_stopped_is_no_end(house: House) -> None:
    order = house.begin(house.admit())
    with pytest.raises(Violation):
        house.book.cancelled("p", 1, stopped(order))
    assert house.book.provider_lost("p", 1, "it broke the protocol") == []
    assert len(house.book.waiting("p")) == 1


def test_the_deadline_is_an_end(house: House) -> None:
    house.begin(house.admit(deadline_ms=1000))
    house.admit()
    assert house.book.next_deadline() == 1.0
    cancel, answer = house.book.expire(1.0)
    assert isinstance(cancel.message, schema.Cancel)
    assert answer.message.code == "DEADLINE"  # type: ignore[union-attr]
    assert house.book.next_deadline() == PATIENCE_MS / 1000


def test_there_is_room_for_so_many(house: House) -> None:
    for _ in range(MOST_OF_ONE):
        house.admit("s")
    with pytest.raises(errors.QueueFull, match="4 of them yours"):
        house.admit("s")
    for number in range(MOST - MOST_OF_ONE):
        house.admit(f"other {number}")
    with pytest.raises(errors.QueueFull):
        house.admit("late")


@pytest.mark.parametrize(
    ("rate", "size", "error"),
    [
        (8000, 4 * 7999, errors.BadReference),
        (8000, 4 * 8000 * 60 + 4, errors.BadReference),
        (8000, 4 * 8000 + 1, errors.BadReference),
        (48000, wire.MAX_REFERENCE + 4, errors.BadReference),
        (7999, 4 * 16000, errors.BadRequest),
        (192001, 4 * 192001, errors.BadRequest),
    ],
)
def test_what_nobody_could_listen_to_is_refused(rate: int, size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        Preparations("b").admit("n", "s", schema.PrepareVoice(query=1, sample_rate=rate), bytes(size), 0.0)


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: each question has one answer at most, and once all is over, all had one, or nobody asked
    any more."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House()
        self.asked: dict[tuple[str, int], int] = {}
        self.gone: set[str] = set()
        self.orders: dict[tuple[int, str, int], schema.Prepare] = {}
        self.epoch = 1
        self.queries = itertools.count()

    def take(self, effects: list[Effect] | None) -> None:
        for effect in effects or []:
            if isinstance(effect, ToClient):
                key = effect.session, effect.message.query  # type: ignore[union-attr]
                self.asked[key] += 1
                assert self.asked[key] == 1, "it is answered twice"
                assert effect.session not in self.gone, "nobody asks any more"
            elif isinstance(effect.message, schema.Cancel):  # type: ignore[union-attr]
                assert (effect.epoch, effect.message.req, effect.message.attempt) in self.orders  # type: ignore[union-attr]

    @rule(session=st.sampled_from("abc"), deadline=st.sampled_from([None, 5000]))
    def ask(self, session: str, deadline: int | None) -> None:
        query = next(self.queries)
        if session not in self.gone:
            try:
                self.house.admit(session, query, deadline_ms=deadline)
            except errors.QueueFull:
                return
            self.asked[session, query] = 0

    @precondition(lambda self: self.house.book.waiting("p"))
    @rule()
    def begin(self) -> None:
        order = self.house.begin(self.house.book.waiting("p")[0], self.epoch)
        self.orders[self.epoch, order.req, order.attempt] = order

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "stopped"]))
    def end(self, data: st.DataObject, how: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.orders)))
        order, book = self.orders[key], self.house.book
        if how == "done":
            self.take(book.prepared("p", order.epoch, done(order), b"x"))
        elif how == "failed":
            self.take(book.failed("p", order.epoch, failed(order)))
        else:
            try:
                self.take(book.cancelled("p", order.epoch, stopped(order)))
            except Violation:
                self.lose(order.epoch)

    @rule()
    def crash(self) -> None:
        self.lose(self.epoch)

    def lose(self, epoch: int) -> None:
        self.take(self.house.book.provider_lost("p", epoch, "p: it crashed"))
        self.orders = {key: order for key, order in self.orders.items() if key[0] != epoch}
        self.epoch = max(self.epoch, epoch + 1)

    @rule()
    def give_up(self) -> None:
        self.take(self.house.book.abandon("p", errors.ProviderFailed("quarantined")))

    @rule(session=st.sampled_from("abc"))
    def leave(self, session: str) -> None:
        self.gone.add(session)
        self.take(self.house.book.session_closed(session))

    @rule(seconds=st.sampled_from([1.0, 700.0]))
    def pass_time(self, seconds: float) -> None:
        self.house.now += seconds
        self.take(self.house.book.expire(self.house.now))

    @invariant()
    def books_agree(self) -> None:
        book = self.house.book
        waiting = {(own.session, own.ask.query) for own in book.open.values()}
        for key, times in self.asked.items():
            assert (key in waiting) == (times == 0 and key[0] not in self.gone)
        assert all(own.epoch is None or own.epoch == self.epoch for own in book.open.values())

    def teardown(self) -> None:
        self.take(self.house.book.fail_all(errors.ShuttingDown("the end")))
        self.lose(self.epoch)
        assert all(times == 1 for (session, _), times in self.asked.items() if session not in self.gone)
        assert not self.house.book.open
        assert not self.house.book._slots


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
