"""The page says something of every fault in every phase, once, in words that can be held against what happens."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos import table
from tests.providers import lying
from voicebox_provider import faults
from voiceboxd.provider_state import Phase

PAGE = table.PAGE.read_text(encoding="utf-8")
ROWS = list(table.expectations(PAGE))


@pytest.mark.parametrize("fault", table.FAULTS)
def test_every_fault_is_told_of_in_every_phase_and_once(fault: str) -> None:
    told = Counter(cell.phase for cell, _ in ROWS if (cell.fault, cell.standby, cell.always) == (fault, "none", False))
    assert told == Counter(table.PHASES)


def test_no_cell_stands_twice_and_none_is_of_an_unknown_fault_or_phase() -> None:
    assert max(Counter(cell for cell, _ in ROWS).values()) == 1
    assert {cell.fault for cell, _ in ROWS} <= set(table.FAULTS)
    assert {cell.phase for cell, _ in ROWS} <= set(table.PHASES)


def test_every_row_can_be_held_against_what_happens() -> None:
    for cell, expected in ROWS:
        if not expected.sense:
            assert len(expected.outcome) > 10, "it says why it makes no sense"
            continue
        assert faults.parse(cell.word, {**faults.WAYS, **lying.LIES}).name == cell.fault.partition(":")[0]
        assert expected.state in set(Phase)
        assert expected.outcome in table.OUTCOMES
        assert (expected.code is not None) == (expected.outcome == "failed")
        assert expected.bound_s >= table.AT_ONCE_S
        assert len(cell.provider) <= 32


def test_what_makes_no_sense_to_an_engine_makes_none_on_the_page() -> None:
    for cell, expected in ROWS:
        if cell.fault in ("drop", "fail", "hang") and cell.phase != "finishing":
            known = True
            try:
                faults.parse(cell.word)
            except ValueError:
                known = False
            assert known == expected.sense, cell


def test_the_default_run_plays_a_cell_of_each_row() -> None:
    rows = {(c.standby, c.always, e.row) for c, e in table.whole().items()}
    assert {(c.standby, c.always, e.row) for c, e in table.representative().items()} == rows


def test_the_page_explains_every_word_of_its_tables() -> None:
    assert all(f"`{fault}`" in PAGE for fault in table.FAULTS)
    assert all(f"| {outcome} |" in PAGE for outcome in table.OUTCOMES)
