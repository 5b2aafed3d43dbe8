"""Who has the loudspeaker: the table of priorities, row by row, then anything at all in any order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from voicebox_protocol.wire import PRIORITIES
from voiceboxd.turns import Begin, Cancel, Effect, SetAside, Silence, Turns

# In the tables a request is the first letter of its priority and a number: m1, t2.
PRIORITY = {name[0]: name for name in PRIORITIES}


class Listener:
    """Hears what `Turns` does, and writes it down: `heard` is who was spoken in which order, `m1-` cut off, `m1~` set aside."""

    def __init__(self, arrivals: str = "") -> None:
        self.turns = Turns()
        self.heard: list[str] = []
        self.cancelled: list[str] = []
        self.reasons: dict[str, str] = {}
        for req in arrivals.split():
            self.arrive(req)

    def arrive(self, req: str) -> list[Effect]:
        return self.note(self.turns.arrive(req, PRIORITY[req[0]]))

    def note(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            match effect:
                case Begin(req):
                    self.heard.append(req)
                case Cancel(req, reason):
                    self.cancelled.append(req)
                    self.reasons[req] = reason
                    self._mark(req, "-")
                case SetAside(req):
                    self._mark(req, "~")
        return effects

    def _mark(self, req: str, mark: str) -> None:
        if self.heard and self.heard[-1] == req:
            self.heard[-1] += mark

    def to_the_end(self) -> tuple[str, str]:
        """Everybody speaks to the end: who was heard, and who was ended by a rule."""
        while (current := self.turns.current) is not None:
            self.note(self.turns.ended(current))
        return " ".join(self.heard), " ".join(self.cancelled)


# In order of arrival; the first is being spoken when the others come. Then what is heard, and who is ended by a rule.
TABLE = [
    # important: at once, never interrupted, in order among itself; whoever else speaks is ended
    ("i1 i2 i3", "i1 i2 i3", ""),
    ("m1 i1", "m1- i1", "m1"),
    ("t1 i1", "t1- i1", "t1"),
    ("n1 i1", "n1- i1", "n1"),
    ("p1 i1", "p1- i1", "p1"),
    # ... what waits is postponed, but for a burst of progress: its last is postponed, too
    ("m1 m2 i1", "m1- i1 m2", "m1"),
    ("m1 t1 i1", "m1- i1 t1", "m1"),
    ("m1 p1 p2 i1", "m1- i1 p2", "p1 m1"),
    ("i1 m1 t1 i2", "i1 i2 m1 t1", ""),
    # message: in order, behind important ones; it ends text, notification and progress
    ("i1 m1", "i1 m1", ""),
    ("m1 m2 m3", "m1 m2 m3", ""),
    ("t1 m1", "t1- m1", "t1"),
    ("n1 m1", "n1- m1", "n1"),
    ("p1 m1", "p1- m1", "p1"),
    ("i1 t1 m1", "i1 m1", "t1"),
    ("m1 t1 m2", "m1 m2", "t1"),
    ("m1 p1 m2", "m1 m2 p1", ""),
    # text: behind important ones and messages; the newest replaces the others; it ends notification and progress
    ("i1 t1", "i1 t1", ""),
    ("m1 t1", "m1 t1", ""),
    ("t1 t2 t3", "t1- t2- t3", "t1 t2"),
    ("m1 t1 t2", "m1 t2", "t1"),
    ("n1 t1", "n1- t1", "n1"),
    ("p1 t1", "p1- t1", "p1"),
    ("m1 t1 i1 m2", "m1- i1 m2", "m1 t1"),
    # notification: only where nothing else is said or waits; the newest replaces the one that is spoken
    ("i1 n1", "i1", "n1"),
    ("m1 n1", "m1", "n1"),
    ("t1 n1", "t1", "n1"),
    ("n1 n2", "n1- n2", "n1"),
    ("p1 n1", "p1", "n1"),
    ("i1 p1 n1", "i1 p1", "n1"),
    # progress: does not interrupt other progress; while something else is said only the last of a burst is kept
    ("i1 p1", "i1 p1", ""),
    ("m1 p1", "m1 p1", ""),
    ("t1 p1", "t1 p1", ""),
    ("n1 p1", "n1- p1", "n1"),
    ("p1 p2", "p1 p2", ""),
    ("p1 p2 p3 p4", "p1 p4", "p2 p3"),
    ("m1 p1 p2 p3", "m1 p3", "p1 p2"),
    # ... for as long as it takes
    ("p1 p2 m1 t1 t2", "p1- m1 t2 p2", "p1 t1"),
    ("p1 p2 t1 i1 m1", "p1- t1- i1 m1 p2", "p1 t1"),
]


@pytest.mark.parametrize(("arrivals", "heard", "cancelled"), TABLE, ids=[row[0].replace(" ", "-") for row in TABLE])
def test_the_table(arrivals: str, heard: str, cancelled: str) -> None:
    assert Listener(arrivals).to_the_end() == (heard, cancelled)


# What comes when the first of a burst has been heard and its last has begun: that one is a message now.
LAST_OF_A_BURST = [
    ("i1", "p1 p2- i1", "p2"),
    ("m1", "p1 p2 m1", ""),
    ("t1", "p1 p2 t1", ""),
    ("n1", "p1 p2", "n1"),
    ("p3", "p1 p2 p3", ""),
    ("p3 p4", "p1 p2 p4", "p3"),
]


@pytest.mark.parametrize(("arrivals", "heard", "cancelled"), LAST_OF_A_BURST)
def test_the_last_of_a_burst_is_a_message_once_it_speaks(arrivals: str, heard: str, cancelled: str) -> None:
    listener = Listener("p1 p2")
    listener.note(listener.turns.ended("p1"))
    for req in arrivals.split():
        listener.arrive(req)
    assert listener.to_the_end() == (heard, cancelled)


def test_progress_that_begins_at_once_and_is_cut_off_counts_as_spoken() -> None:
    assert Listener("p1 t1").to_the_end() == ("p1- t1", "p1")


def test_the_reason_says_what_came() -> None:
    reasons = Listener("t1 t2 m1 n1").reasons
    assert reasons == {
        "t1": "a newer one of priority text took its place",
        "t2": "something of priority message came",
        "n1": "something else was to be said, and a notification does not wait",
    }


def test_who_speaks_is_silenced_before_the_next_begins() -> None:
    listener = Listener("t1")
    assert [type(effect) for effect in listener.arrive("m1")] == [Cancel, Begin]


def test_who_waits_is_told_in_the_order_of_turns() -> None:
    turns = Listener("i1 p1 m1 m2 t1 i2").turns
    assert turns.waiting == ["i2", "m1", "m2", "t1", "p1"]
    assert (turns.current, turns.upcoming) == ("i1", "i2")
    turns.pause("i2")
    assert turns.upcoming == "m1"
    assert turns.waiting[-1] == "i2"


def test_a_name_is_taken_until_it_has_ended() -> None:
    turns = Listener("m1").turns
    with pytest.raises(ValueError, match="m1"):
        turns.arrive("m1", "text")
    turns.ended("m1")
    assert not turns.knows("m1")
    assert turns.arrive("m1", "text") == [Begin("m1")]


def test_an_unknown_priority_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="important, message, text, notification, progress"):
        Turns().arrive("a", "urgent")


def test_unknown_names_may_end_but_not_pause() -> None:
    turns = Turns()
    assert turns.ended("nobody") == []
    for act in (turns.pause, turns.resume):
        with pytest.raises(KeyError, match="nobody"):
            act("nobody")


class TestPausedLoudspeaker:
    def test_the_current_one_keeps_its_turn(self) -> None:
        turns = Listener("m1").turns
        assert turns.pause() == [Silence(True)]
        assert (turns.current, turns.paused) == ("m1", True)
        assert turns.resume() == [Silence(False)]
        assert (turns.current, turns.paused) == ("m1", False)

    def test_twice_is_once(self) -> None:
        turns = Turns()
        assert turns.resume() == []
        assert turns.pause() == [Silence(True)]
        assert turns.pause() == []

    @pytest.mark.parametrize(
        ("arrivals", "heard", "cancelled"),
        [
            ("m1 m2", "m1 m2", ""),
            ("t1 t2", "t1- t2", "t1"),
            ("t1 m1", "t1- m1", "t1"),
            ("m1 n1", "m1", "n1"),
            ("m1 p1 p2", "m1 p2", "p1"),
        ],
    )
    def test_what_comes_keeps_to_the_table_and_waits(self, arrivals: str, heard: str, cancelled: str) -> None:
        first, *others = arrivals.split()
        listener = Listener(first)
        listener.turns.pause()
        for req in others:
            assert not any(isinstance(effect, Begin | Silence) for effect in listener.arrive(req))
        listener.note(listener.turns.resume())
        assert listener.to_the_end() == (heard, cancelled)

    def test_nobody_begins_when_the_current_one_ends(self) -> None:
        turns = Listener("m1 m2").turns
        turns.pause()
        assert turns.ended("m1") == []
        assert (turns.current, turns.upcoming) == (None, "m2")
        assert turns.resume() == [Silence(False), Begin("m2")]

    def test_what_is_important_is_spoken_all_the_same(self) -> None:
        turns = Listener("t1").turns
        turns.pause()
        assert turns.arrive("i1", "important") == [SetAside("t1"), Silence(False), Begin("i1")]
        assert turns.arrive("i2", "important") == []
        assert turns.waiting == ["i2", "t1"]
        assert turns.ended("i1") == [Begin("i2")]
        assert turns.ended("i2") == [Silence(True), Begin("t1")]
        assert turns.resume() == [Silence(False)]
        assert turns.current == "t1"

    def test_with_nobody_set_aside_it_is_silent_again(self) -> None:
        turns = Turns()
        turns.pause()
        turns.arrive("m1", "message")
        assert turns.arrive("i1", "important") == [Silence(False), Begin("i1")]
        assert turns.ended("i1") == [Silence(True)]
        assert (turns.current, turns.waiting) == (None, ["m1"])

    def test_it_may_be_resumed_meanwhile(self) -> None:
        turns = Listener("m1").turns
        turns.pause()
        turns.arrive("i1", "important")
        assert turns.resume() == []
        assert turns.ended("i1") == [Begin("m1")]

    def test_what_is_important_may_be_paused_by_hand_and_goes_on_with_the_next_important_one(self) -> None:
        turns = Listener("m1").turns
        turns.pause()
        turns.arrive("i1", "important")
        assert turns.pause() == [Silence(True)]
        assert turns.current == "i1"
        assert turns.arrive("i2", "important") == [Silence(False)]
        assert turns.ended("i1") == [Begin("i2")]
        assert turns.ended("i2") == [Silence(True), Begin("m1")]

    @pytest.mark.parametrize("newcomer", ["m1", "t2"])
    def test_whoever_was_set_aside_counts_as_waiting(self, newcomer: str) -> None:
        listener = Listener("t1")
        listener.turns.pause()
        listener.arrive("i1")
        listener.arrive(newcomer)
        assert listener.cancelled == ["t1"]
        assert listener.turns.ended("i1") == [Silence(True)]

    @pytest.mark.parametrize("aside", ["m1", "t1", "n1", "p1"])
    def test_important_ones_leave_what_was_set_aside(self, aside: str) -> None:
        listener = Listener(aside)
        listener.turns.pause()
        listener.arrive("i1")
        listener.arrive("i2")
        listener.note(listener.turns.resume())
        assert listener.to_the_end() == (f"{aside}~ i1 i2 {aside}", "")

    def test_whoever_was_set_aside_has_its_turn_before_a_message_that_was_resumed(self) -> None:
        turns = self.text_aside_and_message_held()
        assert turns.resume("m1") == []
        assert turns.ended("i1") == [Silence(True), Begin("t1")]

    def test_whoever_was_set_aside_and_then_held_is_a_text_as_any_other(self) -> None:
        turns = self.text_aside_and_message_held()
        for req in ("t1", "m1"):
            turns.pause(req)
            turns.resume(req)
        assert turns.resume("t1") == []
        assert turns.waiting == ["m1", "t1"]
        assert turns.ended("i1") == [Silence(True)]

    @staticmethod
    def text_aside_and_message_held() -> Turns:
        turns = Listener("m1").turns
        turns.pause("m1")
        turns.arrive("t1", "text")
        turns.pause()
        turns.arrive("i1", "important")
        return turns


class TestPausedRequest:
    def test_others_go_on(self) -> None:
        turns = Listener("m1 m2").turns
        assert turns.pause("m1") == [SetAside("m1"), Begin("m2")]
        assert turns.pause("m1") == []
        assert turns.ended("m2") == []
        assert turns.resume("m1") == [Begin("m1")]

    def test_who_waits_is_passed_over(self) -> None:
        turns = Listener("m1 m2 m3").turns
        assert turns.pause("m2") == []
        assert turns.ended("m1") == [Begin("m3")]

    def test_it_comes_back_at_the_front_of_its_priority(self) -> None:
        turns = Listener("i1 m1 m2 t1").turns
        turns.pause("m2")
        assert turns.resume("m2") == []
        assert turns.resume("m2") == []
        assert turns.waiting == ["m2", "m1", "t1"]

    def test_a_message_does_not_cut_off_a_text_by_being_resumed(self) -> None:
        turns = Listener("m1").turns
        turns.pause("m1")
        turns.arrive("t1", "text")
        assert turns.resume("m1") == []
        assert turns.ended("t1") == [Begin("m1")]

    def test_what_is_important_does_not_wait_to_be_resumed_but_ends_nobody(self) -> None:
        turns = Listener("i1 m1").turns
        assert turns.pause("i1") == [SetAside("i1"), Begin("m1")]
        assert turns.resume("i1") == [SetAside("m1"), Begin("i1")]
        assert turns.ended("i1") == [Begin("m1")]

    def test_what_is_important_is_resumed_in_a_paused_loudspeaker_too(self) -> None:
        turns = Listener("i1").turns
        turns.pause("i1")
        turns.pause()
        assert turns.resume("i1") == [Silence(False), Begin("i1")]
        assert turns.pause("i1") == [SetAside("i1"), Silence(True)]

    def test_rules_end_a_held_text_but_no_held_message(self) -> None:
        for held, ended in (("t1", ["t1"]), ("m1", [])):
            listener = Listener(held)
            listener.turns.pause(held)
            for req in ("i1", "m2", "t2"):
                listener.arrive(req)
            assert listener.cancelled == ended

    def test_a_notification_counts_it_as_waiting(self) -> None:
        listener = Listener("m1")
        listener.turns.pause("m1")
        listener.arrive("n1")
        assert listener.cancelled == ["n1"]

    def test_the_last_of_a_burst_is_held_as_any_other_and_replaced_as_any_other(self) -> None:
        listener = Listener("p1 p2")
        listener.turns.pause("p2")
        assert listener.turns.ended("p1") == []
        listener.arrive("p3")
        assert listener.cancelled == ["p2"]
        assert listener.turns.current == "p3"


class AnyOrder(RuleBasedStateMachine):
    """Anything may come, end, pause and go on at any time. `begun` and `over` are kept from the effects alone."""

    reqs = Bundle("reqs")

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()
        self.priority: dict[str, str] = {}
        self.begun: list[str] = []
        self.over: set[str] = set()
        self.ended_by_hand: set[str] = set()
        self.touched: set[str] = set()
        self.speaks: str | None = None
        self.silent = self.asked = False

    def take(self, effects: list[Effect], newcomer: str | None = None, by_hand: str | None = None) -> None:
        for effect in effects:
            if isinstance(effect, Silence):
                assert effect.on != self.silent
                self.silent = effect.on
                continue
            assert effect.req in self.priority
            assert effect.req not in self.over
            important = self.priority[effect.req] == "important"
            match effect:
                case Begin(req):
                    assert self.speaks is None
                    self.begins(req)
                case SetAside(req):
                    assert self.speaks == req
                    assert not important or req == by_hand
                    self.touched.add(req)
                    self.speaks = None
                case Cancel(req):
                    assert not important
                    self.cancels(req, newcomer)

    def begins(self, req: str) -> None:
        if self.priority[req] == "message" and req not in self.touched:
            earlier = [other for other, priority in self.priority.items() if priority == "message"]
            earlier = earlier[: earlier.index(req)]
            assert all(other in self.over or other in self.touched for other in earlier), "messages keep their order"
        rank = PRIORITIES.index(self.priority[req])
        before = [other for other in self.alive() if PRIORITIES.index(self.priority[other]) < rank]
        asides = req in self.touched and not any(self.priority[other] == "important" for other in before)
        assert asides or set(before) <= self.touched, "the higher priority goes first"
        self.begun.append(req)
        self.speaks = req

    def cancels(self, req: str, newcomer: str | None) -> None:
        assert newcomer is not None, "only what comes ends others"
        comes, kind = self.priority[newcomer], self.priority[req]
        if kind == "message":
            assert comes == "important"
            assert self.speaks == req
        if kind == "progress" and req not in self.begun:
            assert comes == "progress", "only newer progress takes the place of what was not begun"
        self.over.add(req)
        if self.speaks == req:
            self.speaks = None

    def alive(self) -> list[str]:
        return [req for req in self.priority if req not in self.over]

    @rule(target=reqs, priority=st.sampled_from(PRIORITIES))
    def arrive(self, priority: str) -> str:
        req = f"{priority[0]}{len(self.priority)}"
        others = [(other, self.priority[other]) for other in self.alive()]
        self.priority[req] = priority
        self.take(self.turns.arrive(req, priority), newcomer=req)
        alone = {"text": ("text", "notification"), "message": ("text", "notification"), "progress": ("notification",)}
        assert not [other for other, kind in others if kind in alone.get(priority, ()) and other not in self.over]
        if priority == "notification":
            assert (req in self.over) == any(kind != "notification" for _, kind in others)
        elif priority == "important":
            assert not self.turns.paused
            assert self.speaks is not None
            assert self.priority[self.speaks] == "important"
        return req

    @rule(req=consumes(reqs))
    def ended(self, req: str) -> None:
        self.end(req)
        assert self.turns.ended(req) == []

    @precondition(lambda self: self.speaks is not None)
    @rule()
    def heard(self) -> None:
        assert self.speaks is not None
        self.end(self.speaks)

    def end(self, req: str) -> None:
        if req not in self.over:
            self.ended_by_hand.add(req)
            self.over.add(req)
        if self.speaks == req:
            self.speaks = None
        self.take(self.turns.ended(req))

    @rule(req=reqs)
    def pause_one(self, req: str) -> None:
        if self.turns.knows(req):
            self.touched.add(req)
            self.take(self.turns.pause(req), by_hand=req)
            assert self.turns.current != req

    @rule(req=reqs)
    def resume_one(self, req: str) -> None:
        if self.turns.knows(req):
            self.take(self.turns.resume(req))

    @rule()
    def pause(self) -> None:
        self.asked = True
        before = self.turns.current
        self.take(self.turns.pause())
        assert self.silent
        assert self.turns.current == before

    @rule()
    def resume(self) -> None:
        self.asked = False
        self.take(self.turns.resume())
        assert not self.silent

    @invariant()
    def everybody_is_accounted_for(self) -> None:
        known = [self.turns.current, *self.turns.waiting] if self.turns.current else self.turns.waiting
        assert sorted(known) == sorted(self.alive())
        assert self.turns.current == self.speaks
        assert self.turns.paused == self.silent

    @invariant()
    def a_pause_is_lifted_only_for_what_is_important(self) -> None:
        lifted = self.asked and not self.silent
        assert not lifted or (self.speaks is not None and self.priority[self.speaks] == "important")

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if self.speaks is None and not self.silent:
            assert self.turns.upcoming is None
            assert set(self.turns.waiting) <= self.touched

    @invariant()
    def the_last_progress_is_heard_or_will_be(self) -> None:
        last = next((req for req, priority in reversed(self.priority.items()) if priority == "progress"), None)
        assert last is None or last in self.begun or last in self.ended_by_hand or self.turns.knows(last)

    def teardown(self) -> None:
        """Whatever happened: when everything goes on, everybody has a turn, and then nobody is left."""
        for req in self.alive():
            self.resume_one(req)
        self.resume()
        left = set(self.alive())
        while self.speaks is not None:
            self.heard()
        assert left <= set(self.begun)
        assert not self.alive()
        self.everybody_is_accounted_for()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
