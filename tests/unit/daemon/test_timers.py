"""The alarm clock: each timer rings once, at its last time, in order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceboxd.timers import Timers


class FakeClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time leaps to the next thing to do instead of passing."""

    def __init__(self) -> None:
        super().__init__()
        self._leaped = 0.0
        select = self._selector.select

        def leap(timeout: float | None) -> list:
            ready = select(0)
            if timeout and not ready:
                self._leaped += timeout
            return ready

        self._selector.select = leap

    def time(self) -> float:
        return self._leaped


def live(scenario: Callable[[Timers], object]) -> None:
    """Run a scenario beside the timers' task, in a time of its own."""

    async def main() -> None:
        timers = Timers()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(timers.run)
            await scenario(timers)
            tasks.cancel_scope.cancel()

    anyio.run(main, backend_options={"loop_factory": FakeClockLoop})


@given(st.lists(st.floats(0.001, 10_000), max_size=20))
def test_timers_ring_in_order_each_at_its_time(times: list[float]) -> None:
    rung: list[tuple[float, float]] = []

    async def scenario(timers: Timers) -> None:
        for at in times:
            timers.timer(lambda at=at: rung.append((at, anyio.current_time()))).set(at)
        await anyio.sleep(10_001)

    live(scenario)
    assert [at for at, _ in rung] == sorted(times)
    assert all(now == pytest.approx(at, abs=0.01) and now >= at for at, now in rung)


def test_a_timer_that_is_moved_rings_at_its_last_time_only() -> None:
    rung = []

    async def scenario(timers: Timers) -> None:
        timer = timers.timer(lambda: rung.append(anyio.current_time()))
        for at in (50.0, 10.0, 100.0, 70.0):
            timer.set(at)
        await anyio.sleep(1000)

    live(scenario)
    assert rung == [pytest.approx(70.0, abs=0.01)]


@pytest.mark.parametrize("never", [None, math.inf])
def test_a_timer_can_be_stopped(never: float | None) -> None:
    rung = []

    async def scenario(timers: Timers) -> None:
        timer = timers.timer(lambda: rung.append(1))
        timer.set(10.0)
        timer.set(never)
        await anyio.sleep(1000)

    live(scenario)
    assert rung == []


def test_an_earlier_timer_wakes_the_sleeper() -> None:
    rung = []

    async def scenario(timers: Timers) -> None:
        timers.timer(lambda: rung.append("late")).set(1000.0)
        await anyio.sleep(5)
        timers.timer(lambda: rung.append("soon")).set(10.0)
        await anyio.sleep(10)
        assert rung == ["soon"]

    live(scenario)


def test_a_timer_may_be_set_by_its_own_ring() -> None:
    rung = []

    async def scenario(timers: Timers) -> None:
        def ring() -> None:
            rung.append(anyio.current_time())
            if len(rung) < 5:
                timer.set(anyio.current_time() + 1)

        timer = timers.timer(ring)
        timer.set(1.0)
        await anyio.sleep(1000)

    live(scenario)
    assert len(rung) == 5


def test_nobody_wakes_up_for_a_timer_that_was_unset() -> None:
    """An idle daemon woke up three times in half a minute for deadlines of work that was long done."""

    async def scenario(timers: Timers) -> None:
        done, other = timers.timer(lambda: None), timers.timer(lambda: None)
        done.set(anyio.current_time() + 5)
        done.set(anyio.current_time() + 3)
        other.set(anyio.current_time() + 100)
        done.set(None)
        assert [timer for _, _, timer in timers._heap] == [other]
        done.set(anyio.current_time() + 1)
        assert timers._heap[0][2] is done, "it may be set again"

    live(scenario)
