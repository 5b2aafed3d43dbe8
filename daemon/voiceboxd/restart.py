"""When a provider that died is started again: full-jitter back-off, a budget, and a quarantine; a pure function.

The delay before try n is uniform in (0, min(cap, base · 2^(n-1))), where n counts failures in a row *without progress*:
a start that became ready and delivered a segment is progress, and after it the next start follows at once, because a
crash loop is not what happened. "Full jitter" spreads the restarts of many machines that fell over together. After
`budget` failures without progress within `window` seconds restarting stops, and one probe follows every `probe` seconds,
until one of them makes progress.
"""

from __future__ import annotations

from typing import NamedTuple

# As many failures as can matter: more than any sensible budget, and few enough for 2^n.
REMEMBERED = 64


class RestartPolicy(NamedTuple):
    """All in seconds, but `budget`, which counts failures."""

    base: float = 0.5
    cap: float = 30.0
    budget: int = 5
    window: float = 60.0
    probe: float = 600.0


class Verdict(NamedTuple):
    """Start again after `delay` seconds; `quarantined` says that it is a probe after the budget was spent."""

    delay: float
    quarantined: bool


def after_failure(
    policy: RestartPolicy, failures: tuple[float, ...], now: float, chance: float, *, probe: bool = False
) -> Verdict:
    """What follows a failure at `now`.

    `failures` are the times of the failures in a row without progress, this one included if it made none; `chance` is
    drawn uniformly from [0, 1); `probe` says that what failed was a probe, and made no progress.
    """
    recent = [moment for moment in failures if now - moment <= policy.window]
    if probe or len(recent) >= policy.budget:
        return Verdict(policy.probe, quarantined=True)
    if not failures:
        return Verdict(0.0, quarantined=False)
    ceiling = min(policy.cap, policy.base * 2.0 ** (len(failures) - 1))
    return Verdict(ceiling * chance, quarantined=False)
