"""The life of one worker process of a provider as a pure function: `advance(state, event, now) -> (state, effects)`.

It knows no process, socket or clock; `Worker` carries its effects out and wakes it at `wake_at`.

    STOPPED → STARTING → LOADING → READY ⇄ BUSY → DRAINING → STOPPED
    SUSPECT after owed silence, KILLING after more of it, or as soon as it is known to be dying
    any state → exit → BACKOFF → STARTING | STOPPED (nobody asks) | FAILED | QUARANTINED → STOPPED (half open)
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from voiceboxd.restart import RestartPolicy, after_failure

PERMANENT_EXIT = 78  # EX_CONFIG of sysexits.h


class Phase(StrEnum):
    """Where a provider stands; the words are those of `status`."""

    STOPPED = "stopped"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    SUSPECT = "suspect"
    KILLING = "killing"
    DRAINING = "draining"
    BACKOFF = "backoff"
    FAILED = "failed"
    QUARANTINED = "quarantined"


ALIVE = frozenset(
    {Phase.STARTING, Phase.LOADING, Phase.READY, Phase.BUSY, Phase.SUSPECT, Phase.KILLING, Phase.DRAINING}
)
SERVING = frozenset({Phase.READY, Phase.BUSY, Phase.SUSPECT})
RESTING = frozenset({Phase.BACKOFF, Phase.QUARANTINED})


class Limits(msgspec.Struct, frozen=True):
    """Deadlines in seconds. `probe` is the first sign of life that one owes who was at rest when work came; `drain` is for
    finishing work before a planned stop, `leave` for the process's end after that."""

    hello: float = 15.0
    load: float = 120.0
    probe: float = 0.5
    suspect: float = 3.0
    silence: float = 15.0
    progress: float = 60.0
    cancel: float = 10.0
    drain: float = 30.0
    leave: float = 5.0
    restart: RestartPolicy = RestartPolicy()


class History(NamedTuple):
    """What the workers of one provider share: epochs given out, failures in a row without progress, restarts."""

    epochs: int = 0
    failures: int = 0
    restarts: int = 0


class ProviderState(msgspec.Struct, frozen=True):
    """A snapshot, of a kind that is quick to make anew. Times are seconds of the daemon's monotonic clock; `wake_at` is when to
    send `Tick`, None for never."""

    limits: Limits = Limits()
    history: History = History()
    phase: Phase = Phase.STOPPED
    epoch: int = 0
    wake_at: float | None = None
    due: float = 0.0
    heard: float = 0.0
    jobs: int = 0
    cancelling: int = 0
    wanted: bool = False
    ready_at: float | None = None
    delivered: bool = False
    answered: bool = True
    steps: int = -1
    permanent: bool = False
    rest: float | None = None
    dying: bool = False
    reason: str | None = None


# --- events; those without fields are no tuples, which would all be equal


class Demand(NamedTuple):
    """Somebody needs this provider; with `speak` False only to know what it can do."""

    speak: bool


class HelloCame(msgspec.Struct, frozen=True):
    """The process introduced itself with the right token and epoch."""


class Extended(NamedTuple):
    """It asked for more time to load."""

    seconds: float


class Loaded(msgspec.Struct, frozen=True):
    """It is ready."""


class Faulted(NamedTuple):
    """It said that its engine cannot be used; with `rest`, not before so many seconds have passed."""

    reason: str
    permanent: bool
    rest: float | None = None


class Heard(NamedTuple):
    """Any message came; `steps` is its progress counter if it was a beat, `sound` whether it brought samples."""

    steps: int | None = None
    sound: bool = False


class JobStarted(msgspec.Struct, frozen=True):
    """A segment was handed to it."""


class JobEnded(NamedTuple):
    """A segment came to its end; `delivered` if it was spoken, `cancelled` if it had been asked to stop it."""

    delivered: bool
    cancelled: bool = False


class CancelSent(msgspec.Struct, frozen=True):
    """It was asked to stop a segment, and owes an answer."""


class Violated(NamedTuple):
    """It broke the protocol."""

    reason: str


class StopAsked(NamedTuple):
    """It shall finish what it has in work and end; `again`: and a fresh process take its place."""

    reason: str
    again: bool = False


class Dying(NamedTuple):
    """The process is dead, but the kernel has not given back all that it had; `Exited` follows."""

    reason: str


class Exited(NamedTuple):
    """The process is gone. `code` as subprocess gives it: negative for a signal, None if it could not be started.
    `chance`, uniform in [0, 1), decides the back-off; not `needed`: others have its place, and it is not started again."""

    reason: str
    code: int | None
    chance: float
    needed: bool = True


class Tick(NamedTuple):
    """`wake_at` has come. Not `needed`: others have its place, and it is not started again."""

    needed: bool = True


Event = (
    Demand
    | HelloCame
    | Extended
    | Loaded
    | Faulted
    | Heard
    | JobStarted
    | JobEnded
    | CancelSent
    | Violated
    | StopAsked
    | Dying
    | Exited
    | Tick
)


# --- effects


class Spawn(NamedTuple):
    """Start a process with this epoch."""

    epoch: int


class Leave(NamedTuple):
    """Ask the process to exit."""

    reason: str


class Kill(msgspec.Struct, frozen=True):
    """Kill the process group; `Exited` follows."""


class Up(msgspec.Struct, frozen=True):
    """It takes work from now on."""


class Doubted(msgspec.Struct, frozen=True):
    """It has work and owes a sign of life: somebody else may take the work over."""


class Lost(NamedTuple):
    """What the incarnation `epoch` had in work is lost; `gone` if nobody will start it again soon: its waiting requests
    fail."""

    epoch: int
    reason: str
    gone: bool


Effect = Spawn | Leave | Kill | Up | Doubted | Lost


def advance(state: ProviderState, event: Event, now: float) -> tuple[ProviderState, list[Effect]]:
    """One event's consequence. Events that make no sense in a phase (late messages) change nothing."""
    match event:
        case Demand(speak):
            return _demand(state, speak, now)
        case HelloCame() if state.phase is Phase.STARTING:
            return _hello(state, now)
        case Extended(seconds) if state.phase is Phase.LOADING:
            return _armed(replace(state, due=now + seconds, heard=now)), []
        case Loaded() if state.phase is Phase.LOADING:
            return _armed(replace(state, phase=Phase.READY, ready_at=now, reason=None)), [Up()]
        case Faulted(reason, permanent, rest) if state.phase in ALIVE:
            return _kill(replace(state, permanent=permanent, rest=rest), reason, now)
        case Heard(steps, sound) if state.phase in ALIVE:
            return _heard(state, steps, sound, now)
        case JobStarted() if state.phase in SERVING:
            return _job_started(state, now)
        case JobEnded() if state.jobs:
            return _job_ended(state, event, now)
        case CancelSent() if state.phase in (Phase.BUSY, Phase.SUSPECT):
            return _armed(
                replace(state, cancelling=state.cancelling + 1, due=min(state.due, now + state.limits.cancel))
            ), []
        case Violated(reason) if state.phase in ALIVE and state.phase is not Phase.KILLING:
            return _kill(state, reason, now)
        case StopAsked(reason, again):
            return _stop(state, reason, again, now)
        case Dying(reason) if state.phase in ALIVE:
            return _dying(state, reason, now)
        case Exited() if state.phase in ALIVE:
            return _exited(state, event, now)
        case Tick(needed) if state.wake_at is not None and now >= state.wake_at:
            return _tick(state, needed, now)
        case _:
            return state, []


def _armed(state: ProviderState) -> ProviderState:
    """With `wake_at` set for the nearest thing that may have to happen."""
    owed = state.heard + (state.limits.silence if state.phase is Phase.SUSPECT else _patience(state))
    match state.phase:
        case Phase.STOPPED | Phase.FAILED | Phase.READY:
            return replace(state, wake_at=None)
        case Phase.LOADING | Phase.BUSY | Phase.SUSPECT:
            return replace(state, wake_at=min(state.due, owed))
        case _:
            return replace(state, wake_at=state.due)


def _patience(state: ProviderState) -> float:
    """How long it may say nothing: one that was at rest may have been stopped meanwhile, and is asked to answer soon."""
    return state.limits.suspect if state.answered else min(state.limits.probe, state.limits.suspect)


def _start(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    epoch = state.history.epochs + 1
    started = replace(
        state,
        history=state.history._replace(epochs=epoch),
        phase=Phase.STARTING,
        epoch=epoch,
        due=now + state.limits.hello,
        jobs=0,
        cancelling=0,
        delivered=False,
        answered=True,
        rest=None,
        dying=False,
        ready_at=None,
        steps=-1,
    )
    return _armed(started), [Spawn(epoch)]


def _demand(state: ProviderState, speak: bool, now: float) -> tuple[ProviderState, list[Effect]]:
    state = replace(state, wanted=state.wanted or speak)
    if state.phase is Phase.STOPPED:
        return _start(state, now)
    return state, []


def _hello(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    if not state.wanted:
        # It was started only to say what it can do; loading gigabytes for that would be a waste.
        return _stop(state, "nobody asks it to speak", False, now)
    return _armed(replace(state, phase=Phase.LOADING, due=now + state.limits.load, heard=now)), []


def _heard(state: ProviderState, steps: int | None, sound: bool, now: float) -> tuple[ProviderState, list[Effect]]:
    recovered = state.phase is Phase.SUSPECT
    phase = state.phase if not recovered else (Phase.BUSY if state.jobs else Phase.LOADING)
    progress = sound or (steps is not None and steps > state.steps)
    moved = progress and phase is Phase.BUSY and not state.cancelling
    due = max(state.due, now + state.limits.progress) if moved else state.due
    steps = state.steps if steps is None else max(steps, state.steps)
    effects: list[Effect] = [Up()] if recovered and state.jobs else []
    return _armed(replace(state, phase=phase, heard=now, answered=True, due=due, steps=steps)), effects


def _job_started(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    heard = state.heard if state.jobs else now
    return _armed(
        replace(
            state,
            phase=Phase.SUSPECT if state.phase is Phase.SUSPECT else Phase.BUSY,
            jobs=state.jobs + 1,
            heard=heard,
            answered=state.answered and state.jobs > 0,
            due=state.due if state.cancelling else now + state.limits.progress,
        )
    ), []


def _job_ended(state: ProviderState, event: JobEnded, now: float) -> tuple[ProviderState, list[Effect]]:
    cancelling = max(0, state.cancelling - event.cancelled)
    state = replace(state, jobs=state.jobs - 1, heard=now, cancelling=cancelling)
    if event.delivered:
        state = replace(state, delivered=True, history=state.history._replace(failures=0))
    if state.phase is Phase.DRAINING and not state.jobs:
        return _leave(state, now)
    if state.phase not in SERVING:
        return _armed(state), []
    if state.jobs:
        # Another job's end does not excuse one that owes an answer to Cancel.
        return _armed(state if cancelling else replace(state, due=now + state.limits.progress)), []
    return _armed(replace(state, phase=Phase.READY, answered=True)), []


def _kill(state: ProviderState, reason: str, now: float) -> tuple[ProviderState, list[Effect]]:
    killing = replace(state, phase=Phase.KILLING, reason=reason, due=now + state.limits.leave, jobs=0)
    return _armed(killing), [*_lost(state, reason), Kill()]


def _dying(state: ProviderState, reason: str, now: float) -> tuple[ProviderState, list[Effect]]:
    """What it had in work is given to others at once; how it ended, and what follows, is told by `Exited`."""
    if state.phase in (Phase.KILLING, Phase.DRAINING):
        return _armed(replace(state, jobs=0)), [Lost(state.epoch, reason, gone=False)] if state.jobs else []
    # Nobody waited for one that was at rest.
    wanted = state.wanted and state.phase is not Phase.READY
    dying = replace(state, phase=Phase.KILLING, reason=reason, dying=True, wanted=wanted, jobs=0)
    return _armed(replace(dying, due=now + state.limits.leave)), _lost(state, reason)


def _lost(state: ProviderState, reason: str) -> list[Effect]:
    return [Lost(state.epoch, reason, gone=False)] if state.phase in SERVING or state.jobs else []


def _stop(state: ProviderState, reason: str, again: bool, now: float) -> tuple[ProviderState, list[Effect]]:
    wanted = again and state.wanted
    if state.phase in RESTING or state.phase is Phase.FAILED:
        cleared = state.history._replace(failures=0)
        stopped = replace(state, phase=Phase.STOPPED, wanted=False, permanent=False, history=cleared, reason=reason)
        return _armed(stopped), []
    if state.phase is Phase.KILLING:
        return replace(state, phase=Phase.DRAINING, wanted=wanted), []
    if state.phase not in ALIVE:
        return state, []
    if state.phase is Phase.DRAINING:
        return replace(state, wanted=wanted), []
    draining = replace(state, phase=Phase.DRAINING, wanted=wanted, reason=reason)
    if state.jobs:
        # Whoever owes an answer to Cancel has no more time for it than before.
        due = min(state.due, now + state.limits.drain) if state.cancelling else now + state.limits.drain
        return _armed(replace(draining, due=due)), []
    return _leave(draining, now)


def _leave(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    return _armed(replace(state, due=now + state.limits.leave)), [Leave(state.reason or "it is not needed")]


def _exited(state: ProviderState, event: Exited, now: float) -> tuple[ProviderState, list[Effect]]:
    if state.phase is Phase.DRAINING:
        return _rested(state, now)
    # What it said itself (a fault, a broken rule) explains more than how it then ended.
    reason = state.reason if state.phase is Phase.KILLING and state.reason and not state.dying else event.reason
    lost = state.phase in SERVING or state.jobs
    # Nobody waited for one that was at rest: it comes back when it is asked for.
    wanted = state.wanted and event.needed and state.phase is not Phase.READY
    failures = _failures(state, now)
    history = state.history._replace(failures=failures)
    state = replace(state, jobs=0, reason=reason, wanted=wanted, history=history)
    if state.permanent or event.code == PERMANENT_EXIT:
        return _armed(replace(state, phase=Phase.FAILED)), [Lost(state.epoch, reason, gone=True)]
    if state.rest is not None:
        due = now + min(state.rest, state.limits.restart.rest)
        return _armed(replace(state, phase=Phase.QUARANTINED, due=due)), [Lost(state.epoch, reason, gone=True)]
    verdict = after_failure(state.limits.restart, failures, event.chance)
    effects: list[Effect] = [Lost(state.epoch, reason, gone=verdict.quarantined)] if lost or verdict.quarantined else []
    if verdict.quarantined:
        return _armed(replace(state, phase=Phase.QUARANTINED, due=now + verdict.delay)), effects
    if not wanted:
        return _armed(replace(state, phase=Phase.STOPPED)), effects
    if verdict.delay:
        return _armed(replace(state, phase=Phase.BACKOFF, due=now + verdict.delay)), effects
    started, more = _restart(state, now)
    return started, [*effects, *more]


def _failures(state: ProviderState, now: float) -> int:
    """How many failures in a row this exit makes. To have said that it cannot now is none."""
    if state.delivered:
        return 0
    if state.rest is not None:
        return state.history.failures
    if state.ready_at is not None and now - state.ready_at >= state.limits.restart.healthy:
        return 1
    return state.history.failures + 1


def _rested(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    lost: list[Effect] = [Lost(state.epoch, state.reason or "it was stopped", gone=False)] if state.jobs else []
    stopped = replace(state, phase=Phase.STOPPED, jobs=0)
    if state.wanted:
        started, effects = _start(stopped, now)
        return started, [*lost, *effects]
    return _armed(stopped), lost


def _restart(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    return _start(replace(state, history=state.history._replace(restarts=state.history.restarts + 1)), now)


def _tick(state: ProviderState, needed: bool, now: float) -> tuple[ProviderState, list[Effect]]:
    limits = state.limits
    match state.phase:
        case Phase.STARTING:
            return _kill(state, f"it did not say Hello within {limits.hello:g} s", now)
        case Phase.BACKOFF if needed:
            return _restart(state, now)
        case Phase.BACKOFF:
            return _armed(replace(state, phase=Phase.STOPPED, wanted=False)), []
        case Phase.QUARANTINED:
            # Half open: the next request may try once; where the budget was spent, another failure closes it again at once.
            history = state.history._replace(failures=min(state.history.failures, limits.restart.budget - 1))
            return _armed(replace(state, phase=Phase.STOPPED, wanted=False, history=history)), []
        case Phase.DRAINING | Phase.KILLING:
            return _armed(replace(state, due=now + limits.leave)), [Kill()]
        case Phase.LOADING | Phase.BUSY | Phase.SUSPECT:
            return _owed(state, now)
        case _:
            return _armed(state), []


def _owed(state: ProviderState, now: float) -> tuple[ProviderState, list[Effect]]:
    limits = state.limits
    if now >= state.heard + limits.silence:
        return _kill(state, f"no sign of life for {limits.silence:g} s", now)
    if now >= state.due:
        what = "it made no progress" if state.jobs else "it did not finish loading"
        return _kill(state, f"{what} in time", now)
    if now >= state.heard + _patience(state) and state.phase is not Phase.SUSPECT:
        return _armed(replace(state, phase=Phase.SUSPECT)), [Doubted()] if state.jobs else []
    return _armed(state), []
