"""The tables of docs/supervision.md, read as what is to be expected: the page is the one place where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.chaos.cell import HOLD_S, Cell
from tests.providers import lying
from voicebox_provider import faults

PAGE = Path(__file__).resolve().parents[2] / "docs" / "supervision.md"

# Faults as the page names them; `exit` is three of them.
EXITS = ("exit:0", "exit:1", "exit:78")
FAULTS = (*(name for name in faults.WAYS if name != "exit"), *EXITS, *lying.LIES)
# As an engine knows them, and one that only a daemon does: it was asked to leave, and speaks on to the segment's end.
PHASES = (*faults.PHASES[:-1], "finishing", faults.PHASES[-1])

# What follows each heading: the standby, and whether the fault comes every time.
TABLES = {
    "Once": ("none", False),
    "Once, with a spare": ("warm", False),
    "Every time": ("none", True),
}
OUTCOMES = ("done", "done, exact", "done, next", "done, short", "done, unproven", "failed")
NO_SENSE = "—"

# The limits that a bound names are this short while its cell is played; all others are as they come. Within drain_s the fault
# must have struck, on a busy machine too: one that is ended before takes it along to its successor, which nobody drains.
SHORT = {"hello_s": 4.0, "load_s": 3.0, "silence_s": 4.0, "suspect_s": 1.5, "progress_s": 2.0, "drain_s": 6.0}
PROBE_S, LEAVE_S, BACKOFF_S = 0.5, 5.0, 0.1
# What a start may take, and a message, where two cores are shared by many.
START_S, AT_ONCE_S = 6.0, 1.5
LENIENT_S = 12.0
_TERMS = {
    **SHORT,
    "probe_s": PROBE_S,
    "leave": LEAVE_S,
    "backoff": BACKOFF_S,
    "hold": HOLD_S,
    "start": START_S,
    "at once": 0.0,
}


class Expected(NamedTuple):
    """A row of the page, for one cell. `sense` is False where the page says that the cell makes none, in `outcome`."""

    sense: bool
    state: str
    restarts: int
    within: tuple[str, ...]
    outcome: str
    code: str | None
    row: int

    @property
    def bound_s(self) -> float:
        """The bound in seconds, with the limits of `limits`."""
        return AT_ONCE_S + sum(_seconds(term) for term in self.within)

    def limits(self, cell: Cell) -> dict[str, float]:
        """The limits that the cell is played with, beside the usual ones."""
        named = {name: seconds for name, seconds in SHORT.items() if any(name in term for term in self.within)}
        bounded = ("probe_s", "suspect_s", "silence_s")
        if cell.fault != "stop" and not any(name in term for name in bounded for term in self.within):
            # On a busy machine one that is only slow would be thought to have stopped.
            named |= {"probe_s": LENIENT_S, "suspect_s": LENIENT_S}
        # One that never wakes is killed in the end, and that is waited for.
        return {**named, "silence_s": SHORT["silence_s"]} if cell.fault == "stop" else named


def _seconds(term: str) -> float:
    times, _, name = term.rpartition(" × ")
    return float(times or 1) * _TERMS[name]


def expectations(page: str) -> Iterator[tuple[Cell, Expected]]:
    """Each cell of each table, in order; one that stands twice comes twice."""
    for heading, (standby, always) in TABLES.items():
        section = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", page, re.M | re.S)
        assert section, f"no table {heading!r}"
        rows = re.findall(r"^\| (`.*) \|$", section.group(1), re.M)
        for number, row in enumerate(rows):
            yield from _cells([part.strip() for part in row.split("|")], number, standby, always=always)


def _cells(row: list[str], number: int, standby: str, *, always: bool) -> Iterator[tuple[Cell, Expected]]:
    names, phases, state, restarts, within, outcome = row
    sense = state != NO_SENSE
    verdict, _, code = outcome.partition(": ") if sense else (outcome, "", "")
    expected = Expected(
        sense,
        state,
        int(restarts) if sense else 0,
        tuple(within.split(" + ")) if sense else (),
        verdict,
        code or None,
        number,
    )
    for fault in re.findall(r"`(.+?)`", names):
        for phase in phases.split(", "):
            yield Cell(fault, phase, standby, always), expected


def whole() -> dict[Cell, Expected]:
    """All cells that make sense."""
    return {cell: expected for cell, expected in expectations(PAGE.read_text(encoding="utf-8")) if expected.sense}


def representative() -> dict[Cell, Expected]:
    """One cell of each row: the middle of its phases with the first of its faults."""
    rows: dict[tuple[str, bool, int], list[Cell]] = {}
    known = whole()
    for cell, expected in known.items():
        rows.setdefault((cell.standby, cell.always, expected.row), []).append(cell)
    chosen = [cells[len(cells) // 2] for cells in rows.values()]
    return {cell: known[cell] for cell in chosen}
