"""Which slots of which arena are lent to whom: the lender's book, pure arithmetic.

A slot is the provider's until it sends sound in it, then the daemon's until it lends that to a session, and the session's until
that gives credit or ends. Then the provider is told, all in one, that it may write there again. A dead incarnation's arena is
kept for as long as anything of it is lent, and nobody writes there.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from voicebox_protocol.arena import SLOT_BYTES, SLOT_FRAMES
from voiceboxd.effects import Violation

Descriptor = tuple[int, int, int, int]


class Loan(NamedTuple):
    """A piece of sound that a session has."""

    seq: int
    arena: int
    slot: int


class Book(msgspec.Struct):
    """One arena's: `out` has a 1 for each slot that the provider may not write, `used` counts those of them that hold sound,
    and `back` are the others, which it is to be told of."""

    slots: int
    out: bytearray = msgspec.field(default_factory=bytearray)
    back: list[int] = msgspec.field(default_factory=list)
    used: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.out = bytearray(self.slots)


class Loans:
    """Owns the books of all arenas, and who has what."""

    def __init__(self) -> None:
        self._books: dict[int, Book] = {}
        self._lent: defaultdict[str, dict[str, deque[Loan]]] = defaultdict(dict)

    def __contains__(self, arena: int) -> bool:
        return arena in self._books

    @property
    def used(self) -> int:
        """How many slots are not their providers'."""
        return sum(book.used for book in self._books.values())

    def open(self, arena: int, slots: int) -> None:
        """A provider may write in this arena from now on."""
        self._books[arena] = Book(slots)

    def close(self, arena: int) -> bool:
        """Its provider is gone. True if nothing of it is lent, and it is forgotten."""
        book = self._books.get(arena)
        if book is None:
            return True
        book.closed = True
        return self._forget_if_free(arena)

    def take(self, arena: int, descriptors: Iterable[Descriptor]) -> list[int]:
        """Sound came in these slots, which were the provider's. `Violation` if they were not; then none of them is taken."""
        book, taken = self._books.get(arena), []
        try:
            for each in descriptors:
                taken.append(_slot(each, arena, book))
                assert book is not None
                book.out[taken[-1]] = 1
        except Violation:
            for slot in taken:
                assert book is not None
                book.out[slot] = 0
            raise
        if book is not None:
            book.used += len(taken)
        return taken

    def give(self, arena: int, slots: Iterable[int]) -> bool:
        """They are the provider's again, once it is told. True if the arena is of no use any more, and forgotten."""
        book = self._books[arena]
        for slot in slots:
            book.used -= 1
            book.back.append(slot)
        return self._forget_if_free(arena)

    def lend(self, session: str, req: str, seq: int, arena: int, slots: Iterable[int]) -> None:
        """A session has pieces `seq`, `seq` + 1, ... in these slots."""
        loans = self._lent[session].setdefault(req, deque())
        loans.extend(Loan(seq + index, arena, slot) for index, slot in enumerate(slots))

    def credit(self, session: str, req: str, first: int, last: int) -> list[int]:
        """The session is done with these pieces; those it does not have do not count. Gives arenas that were forgotten for it."""
        loans = self._lent[session].get(req) if session in self._lent else None
        if not loans or loans[0].seq > last:
            return []
        kept = deque(loan for loan in loans if not first <= loan.seq <= last)
        back = [loan for loan in loans if first <= loan.seq <= last]
        if kept:
            self._lent[session][req] = kept
        else:
            del self._lent[session][req]
        return self._give_all(back)

    def session_closed(self, session: str) -> list[int]:
        """A session has ended, and nobody reads what it had. Gives arenas that were forgotten for it."""
        lent = self._lent.pop(session, {})
        return self._give_all([loan for loans in lent.values() for loan in loans])

    def _give_all(self, loans: Iterable[Loan]) -> list[int]:
        by_arena: defaultdict[int, list[int]] = defaultdict(list)
        for loan in loans:
            by_arena[loan.arena].append(loan.slot)
        return [arena for arena, slots in by_arena.items() if self.give(arena, slots)]

    def due(self, arena: int) -> bool:
        """Whether so much is free that the provider should hear of it even if it has nothing to do."""
        book = self._books.get(arena)
        return book is not None and not book.closed and 4 * len(book.back) >= book.slots

    def news(self, arena: int, most: int) -> Iterator[list[tuple[int, int]]]:
        """What the provider has not been told yet, as ranges, at most so many at a time; it counts as told."""
        book = self._books.get(arena)
        if book is None or book.closed:
            return
        while book.back:
            ranges = list(islice(_ranges(sorted(book.back)), most))
            for first, last in ranges:
                book.out[first : last + 1] = bytes(last + 1 - first)
            book.back = [slot for slot in book.back if slot > ranges[-1][1]]
            yield ranges

    def _forget_if_free(self, arena: int) -> bool:
        book = self._books[arena]
        if book.closed and not book.used:
            del self._books[arena]
            return True
        return False


def _slot(descriptor: Descriptor, arena: int, book: Book | None) -> int:
    """The slot of a piece that a provider sent, or `Violation`."""
    named, offset, frames, _ = descriptor
    if book is None or named != arena:
        raise Violation(f"a piece in arena {named}, which is not its own")
    slot, rest = divmod(offset, SLOT_BYTES)
    if rest or slot >= book.slots or frames > SLOT_FRAMES:
        raise Violation(f"{frames} frames at byte {offset} are no slot of its arena")
    if book.out[slot]:
        raise Violation(f"a piece in slot {slot}, which is not free")
    return slot


def _ranges(slots: list[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as ranges, both ends inclusive."""
    first = last = -2
    for slot in slots:
        if slot != last + 1:
            if last >= 0:
                yield first, last
            first = slot
        last = slot
    if last >= 0:
        yield first, last
