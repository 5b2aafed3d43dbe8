"""When a provider that died is started again: full-jitter back-off, a budget, and a quarantine; a pure function.

The delay before try n is uniform in (0, min(cap, base · 2^(n-1))), where n counts failures in a row *without progress*:
a start that became ready and delivered a segment is progress, and after it the next start follows at once, because a
crash loop is not what happened. "Full jitter" spreads the restarts of many machines that fell over together.

After `budget` failures in a row restarting stops for `rest` seconds; then the next request may try once. Failures count
in a row however long each start took (five that hang until their deadline are as hopeless as five that crash), unless
the provider was ready for `healthy` seconds in between.
"""

from __future__ import annotations

from typing import NamedTuple


class RestartPolicy(NamedTuple):
    """All in seconds, but `budget`, which counts failures."""

    base: float = 0.5
    cap: float = 30.0
    budget: int = 5
    healthy: float = 60.0
    rest: float = 600.0


class Verdict(NamedTuple):
    """Start again after `delay` seconds; `quarantined` says that the budget is spent."""

    delay: float
    quarantined: bool


def after_failure(policy: RestartPolicy, failures: int, chance: float) -> Verdict:
    """What follows the failure number `failures` in a row without progress, 0 if there was progress before it.

    `chance` is drawn uniformly from [0, 1).
    """
    if failures >= policy.budget:
        return Verdict(policy.rest, quarantined=True)
    if not failures:
        return Verdict(0.0, quarantined=False)
    ceiling = min(policy.cap, policy.base * 2.0 ** (failures - 1))
    return Verdict(ceiling * chance, quarantined=False)
