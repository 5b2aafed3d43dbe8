"""What a provider's configuration means to its workers."""

from __future__ import annotations

from voicebox_protocol.configuration import ProviderConfig
from voiceboxd.provider_actor import _limits, _policy, _recycling


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
