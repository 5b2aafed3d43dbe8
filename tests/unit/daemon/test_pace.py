"""What a repetition would cost: learnt from what was spoken, and forgotten as a provider changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceboxd.pace import Pace


def test_nothing_is_feared_of_one_that_was_never_heard() -> None:
    assert Pace().needed("p", 100.0) == 0.0


def test_one_that_is_slow_is_known_for_it_and_others_are_not() -> None:
    pace = Pace()
    pace.note("slow", took=30.0, sound=10.0)
    assert pace.needed("slow", 4.0) == pytest.approx(12.0)
    assert pace.needed("other", 4.0) == 0.0


def test_no_sound_teaches_nothing() -> None:
    pace = Pace()
    pace.note("p", took=5.0, sound=0.0)
    assert pace.needed("p", 1.0) == 0.0


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30))
def test_it_stays_within_what_was_seen(factors: list[float]) -> None:
    pace = Pace()
    for factor in factors:
        pace.note("p", took=factor, sound=1.0)
    assert min(factors) - 1e-9 <= pace.needed("p", 1.0) <= max(factors) + 1e-9
