"""How many processes a provider has: workers, and a spare that takes over when one dies; a pure function.

Work is given to at most `workers` of them at once. The *standby* is no special process: it is one more than may be at
work, so whoever is free takes a dead one's segment over at once, and the dead one's successor is the next spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from voiceboxd.provider_state import Phase

STANDBY_REST = 120.0
# A standby nobody asked for is kept only where twice its memory is little of what is free.
_LITTLE = 0.05

COMING = frozenset({Phase.STARTING, Phase.LOADING, Phase.READY, Phase.BUSY, Phase.SUSPECT, Phase.BACKOFF})
SPENT = frozenset({Phase.FAILED, Phase.QUARANTINED})


class Policy(NamedTuple):
    """What the user set. `standby` is none, auto or warm; `keep_alive` in seconds, infinite for ever."""

    workers: int = 1
    standby: str = "auto"
    keep_alive: float = 600.0


class Situation(NamedTuple):
    """How it stands. `waiting` segments could be spoken if there were a worker; `rested` is for how many seconds there
    has been no work; `proven`: one of them has spoken; `room`: see `room_for_spare`."""

    phases: Sequence[Phase]
    at_work: int
    waiting: int
    rested: float
    proven: bool
    room: bool = False
    accelerated: bool = False

    @property
    def works(self) -> bool:
        return self.at_work + self.waiting > 0


class Staff(NamedTuple):
    """So many processes there should be; look again after so many seconds even if nothing happens, None: never."""

    processes: int
    again: float | None


def staff(policy: Policy, now: Situation) -> Staff:
    """How many processes there should be."""
    coming = sum(phase in COMING for phase in now.phases)
    # One that may have stopped counts for nothing; but no accelerator is asked to hold a model twice.
    doubted = 0 if now.accelerated else sum(phase is Phase.SUSPECT for phase in now.phases)
    if now.works:
        workers = min(policy.workers, max(now.at_work + now.waiting, coming - doubted))
    elif now.rested < policy.keep_alive:
        workers = min(policy.workers, coming - doubted)
    else:
        workers = 0
    spare = workers > 0 and _spare(policy, now, has_one=coming - doubted > workers)
    return Staff(workers + doubted + spare, None if now.works or not coming else _again(policy, now, spare))


def _spare(policy: Policy, now: Situation, *, has_one: bool) -> bool:
    # Not before the first one has spoken: the first sound is not to wait for a second process's start.
    if policy.standby == "warm":
        return has_one or now.proven
    if policy.standby != "auto" or now.accelerated or not now.room:
        return False
    if has_one:
        return now.works or now.rested < STANDBY_REST
    return now.works and now.proven


def room_for_spare(memory: int | None, available: int | None) -> bool:
    """Whether twice the memory of one process is little of what is free, both in bytes."""
    return memory is not None and available is not None and 2 * memory < _LITTLE * available


def _again(policy: Policy, now: Situation, spare: bool) -> float | None:
    """When less will do: the spare goes first, the workers when they have been kept long enough."""
    ends = [policy.keep_alive] + ([STANDBY_REST] if spare and policy.standby == "auto" else [])
    later = [end - now.rested for end in ends if now.rested < end < float("inf")]
    return min(later, default=None)


def free_worker(workers: int, concurrency: int, loads: Sequence[tuple[int, bool]]) -> int | None:
    """Which worker gets the next segment; `loads` has, for each, how many it has in work and whether it takes work.
    None: none may have one, for as many as may are at work already."""
    at_work = sum(load > 0 and serving for load, serving in loads)
    able = [
        (load, index)
        for index, (load, serving) in enumerate(loads)
        if serving and load < concurrency and (load > 0 or at_work < workers)
    ]
    return min(able)[1] if able else None
