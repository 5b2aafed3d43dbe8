"""The lender's book against a model of it: whatever is taken, lent, credited and closed, in whichever order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voiceboxd.effects import Violation
from voiceboxd.loans import Descriptor, Loans

SLOTS = 8
SESSIONS = ("a", "b")
REQUESTS = ("one", "two")


def piece(arena: int, slot: int) -> Descriptor:
    return arena, slot * SLOT_BYTES, SLOT_FRAMES, 0


def numbers(ranges: list[tuple[int, int]]) -> list[int]:
    return [slot for first, last in ranges for slot in range(first, last + 1)]


# --- incidents


def test_the_first_slot_is_told_as_what_it_is() -> None:
    """A run that began with slot 0 was told as beginning with -1, which no provider could read: it never spoke again."""
    loans = Loans()
    loans.open(1, SLOTS)
    loans.give(1, loans.take(1, [piece(1, slot) for slot in (0, 1, 2, 5)]))
    assert list(loans.news(1, 99)) == [[(0, 2), (5, 5)]]


def test_news_is_told_in_parts_that_a_message_holds() -> None:
    loans = Loans()
    loans.open(1, SLOTS)
    loans.give(1, loans.take(1, [piece(1, slot) for slot in (0, 2, 4, 6)]))
    assert list(loans.news(1, 3)) == [[(0, 0), (2, 2), (4, 4)], [(6, 6)]]
    assert list(loans.news(1, 3)) == []


def test_of_news_that_is_not_asked_on_for_nothing_is_lost() -> None:
    """Whoever takes the first part alone finds the others the next time."""
    loans = Loans()
    loans.open(1, SLOTS)
    loans.give(1, loans.take(1, [piece(1, slot) for slot in (0, 2, 4)]))
    told = [next(loans.news(1, 1)) for _ in range(3)]
    assert told == [[(0, 0)], [(2, 2)], [(4, 4)]]


def test_a_provider_at_work_hears_of_a_quarter_that_is_free() -> None:
    loans = Loans()
    loans.open(1, SLOTS)
    loans.give(1, loans.take(1, [piece(1, 0)]))
    assert not loans.due(1)
    loans.give(1, loans.take(1, [piece(1, 1)]))
    assert loans.due(1)
    list(loans.news(1, 99))
    assert not loans.due(1)


LIES = {
    "another's": (2, 0, 1, 0),
    "the payload": (0, 0, 1, 0),
    "outside": (1, SLOTS * SLOT_BYTES, 1, 0),
    "far outside": (1, 2**64 - SLOT_BYTES, 1, 0),
    "misaligned": (1, 4, 1, 0),
    "too long": (1, 0, SLOT_FRAMES + 1, 0),
    "lent": piece(1, 7),
    "free, which it was not told of": piece(1, 3),
    "twice": piece(1, 5),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_provider_may_not_send_leaves_the_book_as_it_was(lie: str) -> None:
    loans = Loans()
    loans.open(1, SLOTS)
    loans.open(2, SLOTS)
    loans.take(1, [piece(1, 7)])
    loans.give(1, loans.take(1, [piece(1, 3)]))
    with pytest.raises(Violation):
        loans.take(1, [piece(1, 5), piece(1, 6), LIES[lie]])
    assert loans.used == 1
    assert loans.take(1, [piece(1, 5), piece(1, 6)]) == [5, 6]


def test_who_has_no_arena_can_send_nothing_in_one() -> None:
    loans = Loans()
    loans.open(1, SLOTS)
    with pytest.raises(Violation):
        loans.take(0, [piece(1, 0)])
    assert loans.used == 0


# --- anything


@dataclass
class Model:
    """One arena: what the provider may write, what the daemon has, what it was not told of yet."""

    free: set[int] = field(default_factory=lambda: set(range(SLOTS)))
    held: set[int] = field(default_factory=set)
    back: set[int] = field(default_factory=set)
    closed: bool = False


class Lender(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loans = Loans()
        self.arenas: dict[int, Model] = {}
        self.lent: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
        self.seq: dict[tuple[str, str], int] = {}
        self.last = 0

    def out(self, arena: int) -> set[int]:
        lent = {slot for pieces in self.lent.values() for where, slot in pieces.values() if where == arena}
        return lent | self.arenas[arena].held

    def forget(self, arena: int) -> bool:
        """Whether it has to be forgotten now; then it is."""
        if not self.arenas[arena].closed or self.out(arena):
            return False
        del self.arenas[arena]
        return True

    @initialize()
    def begin(self) -> None:
        self.open()

    @precondition(lambda self: len(self.arenas) < 4)
    @rule()
    def open(self) -> None:
        self.last += 1
        self.loans.open(self.last, SLOTS)
        self.arenas[self.last] = Model()

    @precondition(lambda self: self.arenas)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        """The provider writes where it knows that it may, or lies."""
        arena = data.draw(st.sampled_from(sorted(self.arenas)))
        model = self.arenas[arena]
        known = st.lists(st.sampled_from(sorted(model.free or {0})), min_size=1, max_size=4, unique=True)
        slots = data.draw(known | st.lists(st.integers(0, SLOTS - 1), min_size=1, max_size=4))
        if model.closed:
            return
        if len(set(slots)) < len(slots) or not set(slots) <= model.free:
            with pytest.raises(Violation):
                self.loans.take(arena, [piece(arena, slot) for slot in slots])
            return
        assert self.loans.take(arena, [piece(arena, slot) for slot in slots]) == slots
        model.free -= set(slots)
        model.held |= set(slots)

    @precondition(lambda self: any(model.held for model in self.arenas.values()))
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        arena = data.draw(st.sampled_from([number for number, model in self.arenas.items() if model.held]))
        model = self.arenas[arena]
        slots = data.draw(st.sets(st.sampled_from(sorted(model.held)), min_size=1))
        model.held -= slots
        model.back |= slots
        assert self.loans.give(arena, slots) == self.forget(arena)

    @precondition(lambda self: any(model.held for model in self.arenas.values()))
    @rule(data=st.data(), session=st.sampled_from(SESSIONS), req=st.sampled_from(REQUESTS), gap=st.integers(0, 3))
    def lend(self, data: st.DataObject, session: str, req: str, gap: int) -> None:
        """`gap` pieces before these came in the messages."""
        arena = data.draw(st.sampled_from([number for number, model in self.arenas.items() if model.held]))
        model = self.arenas[arena]
        slots = data.draw(st.lists(st.sampled_from(sorted(model.held)), min_size=1, unique=True))
        seq = self.seq.get((session, req), 0) + gap
        self.loans.lend(session, req, seq, arena, slots)
        model.held -= set(slots)
        pieces = self.lent.setdefault((session, req), {})
        pieces.update({seq + index: (arena, slot) for index, slot in enumerate(slots)})
        self.seq[session, req] = seq + len(slots)

    @rule(
        session=st.sampled_from((*SESSIONS, "nobody")),
        req=st.sampled_from((*REQUESTS, "none")),
        first=st.integers(0, 40),
        count=st.integers(-1, 40),
    )
    def credit(self, session: str, req: str, first: int, count: int) -> None:
        last = max(0, first + count)
        pieces = self.lent.get((session, req), {})
        back = {seq: where for seq, where in pieces.items() if first <= seq <= last}
        self.come_back(back)
        for seq in back:
            del pieces[seq]
        gone = self.loans.credit(session, req, first, last)
        assert sorted(gone) == sorted({arena for arena, _ in back.values() if self.forget(arena)})

    @rule(session=st.sampled_from(SESSIONS))
    def session_closed(self, session: str) -> None:
        back = {key: self.lent.pop(key) for key in list(self.lent) if key[0] == session}
        touched = {arena for pieces in back.values() for arena, _ in pieces.values()}
        for pieces in back.values():
            self.come_back(pieces)
        gone = self.loans.session_closed(session)
        assert sorted(gone) == sorted(arena for arena in touched if self.forget(arena))

    def come_back(self, pieces: dict[Any, tuple[int, int]]) -> None:
        for arena, slot in pieces.values():
            self.arenas[arena].back.add(slot)

    @precondition(lambda self: self.arenas)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        arena = data.draw(st.sampled_from(sorted(self.arenas)))
        self.arenas[arena].closed = True
        assert self.loans.close(arena) == self.forget(arena)
        assert (arena in self.loans) == (arena in self.arenas)

    @precondition(lambda self: self.arenas)
    @rule(data=st.data(), most=st.integers(1, 4))
    def news(self, data: st.DataObject, most: int) -> None:
        arena = data.draw(st.sampled_from(sorted(self.arenas)))
        model = self.arenas[arena]
        told = list(self.loans.news(arena, most))
        assert all(1 <= len(ranges) <= most for ranges in told)
        slots = [slot for ranges in told for slot in numbers(ranges)]
        assert len(slots) == len(set(slots))
        assert set(slots) == (set() if model.closed else model.back)
        model.free |= set(slots)
        model.back -= set(slots)

    @invariant()
    def nobody_has_what_another_has(self) -> None:
        assert self.loans.used == sum(len(self.out(arena)) for arena in self.arenas)
        for arena, model in self.arenas.items():
            lent = [slot for pieces in self.lent.values() for where, slot in pieces.values() if where == arena]
            everybodys = [*lent, *model.held, *model.free, *model.back]
            assert len(everybodys) == len(set(everybodys)) == SLOTS
        assert all(arena in self.loans for arena in self.arenas)

    def teardown(self) -> None:
        """All leave, and nothing is left."""
        for arena in list(self.arenas):
            if arena in self.loans:
                self.loans.give(arena, list(self.arenas[arena].held))
            self.loans.close(arena)
        for session in SESSIONS:
            self.loans.session_closed(session)
        assert self.loans.used == 0
        assert not any(arena in self.loans for arena in range(self.last + 1))


TestLender = Lender.TestCase
TestLender.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
