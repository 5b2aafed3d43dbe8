"""Restarting: full jitter, a budget, a quarantine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceboxd.restart import RestartPolicy, Verdict, after_failure

POLICY = RestartPolicy()
PATIENT = RestartPolicy(budget=1000)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(CHANCES)
def test_a_failure_after_progress_is_followed_by_a_start_at_once(chance: float) -> None:
    assert after_failure(POLICY, 0, chance) == Verdict(0.0, quarantined=False)


@pytest.mark.parametrize(("count", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (7, 30.0), (64, 30.0)])
def test_the_ceiling_doubles_up_to_the_cap(count: int, ceiling: float) -> None:
    assert after_failure(PATIENT, count, 0.5).delay == ceiling / 2


@given(st.integers(1, 64), CHANCES)
def test_the_delay_lies_below_the_ceiling(count: int, chance: float) -> None:
    verdict = after_failure(PATIENT, count, chance)
    assert 0.0 <= verdict.delay < min(POLICY.cap, POLICY.base * 2 ** (count - 1))
    assert not verdict.quarantined


@pytest.mark.parametrize(("count", "quarantined"), [(4, False), (5, True), (6, True)])
def test_the_budget_counts_failures_in_a_row(count: int, quarantined: bool) -> None:
    verdict = after_failure(POLICY, count, 0.5)
    assert verdict.quarantined is quarantined
    assert not quarantined or verdict.delay == POLICY.rest
