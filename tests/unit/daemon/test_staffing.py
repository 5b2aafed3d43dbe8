"""How many processes a provider has: enough for the work, one to take over, and none for nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceboxd.provider_state import Phase
from voiceboxd.staffing import COMING, STANDBY_REST, Policy, Situation, Staff, free_worker, room_for_spare, staff

PHASES = st.lists(st.sampled_from(list(Phase)), max_size=6)
POLICIES = st.builds(
    Policy, st.integers(1, 4), st.sampled_from(["none", "auto", "warm"]), st.sampled_from([0.0, 5.0, 600.0, math.inf])
)
SITUATIONS = st.builds(
    Situation,
    PHASES,
    st.integers(0, 4),
    st.integers(0, 10),
    st.floats(0, 1e5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def situation(*phases: Phase, **fields: object) -> Situation:
    plain = {"at_work": 0, "waiting": 0, "rested": 0.0, "proven": False, "room": True}
    return Situation(phases, **{**plain, **fields})  # type: ignore[arg-type]


def processes(policy: Policy, *phases: Phase, **fields: object) -> int:
    return staff(policy, situation(*phases, **fields)).processes


def test_the_first_request_starts_one_and_no_spare_delays_it() -> None:
    assert processes(Policy(), Phase.STOPPED, waiting=1) == 1
    assert processes(Policy(standby="warm"), Phase.STARTING, waiting=1) == 1


@pytest.mark.parametrize(("standby", "count"), [("none", 1), ("auto", 2), ("warm", 2)])
def test_a_spare_comes_once_the_first_has_spoken_and_works_on(standby: str, count: int) -> None:
    assert processes(Policy(standby=standby), Phase.BUSY, at_work=1, proven=True) == count


@pytest.mark.parametrize("lacking", [{"room": False}, {"accelerated": True}])
def test_a_spare_nobody_asked_for_costs_next_to_nothing(lacking: dict[str, bool]) -> None:
    assert processes(Policy(), Phase.BUSY, at_work=1, proven=True, **lacking) == 1


def test_a_spare_that_is_there_stays_for_two_minutes_and_none_is_started_for_a_rest() -> None:
    assert processes(Policy(), Phase.READY, rested=1.0, proven=True) == 1
    kept = staff(Policy(), situation(Phase.READY, Phase.READY, rested=1.0, proven=True))
    assert kept == Staff(2, STANDBY_REST - 1.0)
    assert processes(Policy(), Phase.READY, Phase.READY, rested=STANDBY_REST, proven=True) == 1
    assert processes(Policy(standby="warm"), Phase.READY, Phase.READY, rested=STANDBY_REST, proven=True) == 2


@pytest.mark.parametrize(
    ("keep_alive", "rested", "count"), [(0.0, 0.0, 0), (5.0, 4.9, 1), (5.0, 5.0, 0), (math.inf, 1e9, 1)]
)
def test_one_without_work_is_kept_as_long_as_the_user_says(keep_alive: float, rested: float, count: int) -> None:
    assert processes(Policy(keep_alive=keep_alive), Phase.READY, rested=rested) == count


def test_workers_come_with_the_work_and_not_before() -> None:
    policy = Policy(workers=3, standby="none")
    assert processes(policy, Phase.STOPPED, waiting=1) == 1
    assert processes(policy, Phase.BUSY, at_work=1, waiting=1) == 2
    assert processes(policy, Phase.BUSY, at_work=1, waiting=9) == 3
    assert processes(policy, Phase.BUSY, Phase.READY, Phase.READY, at_work=1) == 3


def test_a_suspect_counts_for_nothing_unless_its_memory_is_dear() -> None:
    policy = Policy(standby="none")
    assert processes(policy, Phase.SUSPECT, waiting=1) == 2
    assert processes(policy, Phase.SUSPECT, waiting=1, accelerated=True) == 1


@given(POLICIES, SITUATIONS)
def test_there_is_never_more_than_workers_suspects_and_one_spare(policy: Policy, now: Situation) -> None:
    wanted = staff(policy, now)
    assert 0 <= wanted.processes <= policy.workers + now.phases.count(Phase.SUSPECT) + 1
    if now.waiting and not now.accelerated:
        assert wanted.processes > now.phases.count(Phase.SUSPECT)
    if policy.standby == "none":
        assert wanted.processes <= policy.workers + now.phases.count(Phase.SUSPECT)


@given(POLICIES, SITUATIONS)
def test_an_idle_provider_is_looked_at_again_only_when_there_will_be_less_to_keep(
    policy: Policy, now: Situation
) -> None:
    wanted = staff(policy, now)
    if wanted.again is None:
        return
    assert wanted.again > 0
    assert not now.works
    later = staff(policy, now._replace(rested=now.rested + wanted.again))
    there = sum(phase in COMING for phase in now.phases)
    assert later.processes <= wanted.processes or later.processes <= there


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6),
)
def test_no_more_are_at_work_than_may_be(workers: int, concurrency: int, loads: list[tuple[int, bool]]) -> None:
    chosen = free_worker(workers, concurrency, loads)
    at_work = sum(load > 0 and serving for load, serving in loads)
    if chosen is None:
        assert all(load >= concurrency for load, serving in loads if serving and load)
        assert at_work >= workers or all(load for load, serving in loads if serving)
        return
    load, serving = loads[chosen]
    assert serving
    assert load < concurrency
    assert load > 0 or at_work < workers


@pytest.mark.parametrize(
    ("memory", "available", "room"),
    [(200, 10_000, True), (250, 10_000, False), (None, 10_000, False), (1, None, False)],
)
def test_twice_the_memory_has_to_be_little(memory: int | None, available: int | None, room: bool) -> None:
    assert room_for_spare(memory, available) is room
