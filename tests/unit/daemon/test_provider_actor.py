"""What a provider's configuration means to its workers."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from voicebox_protocol.configuration import ProviderConfig
from voiceboxd.provider_actor import ProviderActor, _limits, _policy, _recycling
from voiceboxd.provider_state import Phase


def test_each_deadline_is_the_configurations() -> None:
    config = ProviderConfig(
        engine="builtin", hello_s=1, load_s=2, probe_s=3, suspect_s=4, silence_s=5, progress_s=6, cancel_s=7, drain_s=8,
        restart_base_s=9, restart_cap_s=10, restart_budget=11, quarantine_s=12,
    )  # fmt: skip
    limits = _limits(config)
    assert (limits.hello, limits.load, limits.probe, limits.suspect) == (1, 2, 3, 4)
    assert (limits.silence, limits.progress, limits.cancel, limits.drain) == (5, 6, 7, 8)
    restart = limits.restart
    assert (restart.base, restart.cap, restart.budget, restart.rest) == (9, 10, 11, 12)


def test_somebody_elses_program_may_take_until_its_first_beat() -> None:
    """The protocol promises it a second; half of one would take its work away at each request."""
    assert _limits(ProviderConfig(command=["provider"])).probe == ProviderConfig().suspect_s
    assert _limits(ProviderConfig(engine="builtin")).probe == ProviderConfig().probe_s


def test_how_many_and_for_how_long() -> None:
    config = ProviderConfig(workers=3, standby="warm", keep_alive="5m", recycle_jobs=7, recycle_growth_mb=1.5)
    assert _policy(config) == (3, "warm", 300.0)
    assert _recycling(config) == (7, 1_500_000)


@dataclass
class Colleague:
    """As much of a worker as is asked."""

    phase: Phase
    epoch: int = 1
    jobs: int = 0

    @property
    def serving(self) -> bool:
        return self.phase in (Phase.READY, Phase.BUSY)


@pytest.mark.parametrize(
    ("colleagues", "waits"),
    [
        ([Colleague(Phase.KILLING), Colleague(Phase.BUSY)], True),
        ([Colleague(Phase.KILLING), Colleague(Phase.READY, jobs=1)], True),
        ([Colleague(Phase.KILLING), Colleague(Phase.READY)], False),
        ([Colleague(Phase.SUSPECT, jobs=1), Colleague(Phase.LOADING)], False),
        ([], False),
    ],
)
def test_a_start_waits_only_while_another_one_speaks(colleagues: list[Colleague], waits: bool) -> None:
    """It held the daemon up for 5 to 14 ms just when the successor's first sound came."""
    listener = SimpleNamespace(in_work=lambda provider, epoch: sum(one.jobs for one in colleagues))
    actor: Any = ProviderActor.__new__(ProviderActor)
    actor.entry = SimpleNamespace(id="mine")
    actor._listener = listener
    actor._workers = colleagues
    assert (actor.start_waits() > 0) is waits
