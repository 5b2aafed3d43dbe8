"""One provider: owns its worker processes, and sees to it that there are as many as there should be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio
import msgspec

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.configuration import ProviderConfig, keep_alive_seconds
from voicebox_protocol.errors import NoSuchProvider
from voicebox_protocol.fit import nearest
from voiceboxd import clock, recycling, staffing
from voiceboxd import provider_state as fsm
from voiceboxd.process import log_of, tail
from voiceboxd.provider_state import Phase
from voiceboxd.registry import Installed
from voiceboxd.restart import RestartPolicy
from voiceboxd.worker import Vram, Worker, Workshop

# Which worker's phase is the provider's: the first of these that one is in.
_TELLING = (
    Phase.BUSY, Phase.READY, Phase.LOADING, Phase.STARTING, Phase.SUSPECT, Phase.DRAINING, Phase.KILLING,
    Phase.BACKOFF, Phase.QUARANTINED, Phase.FAILED, Phase.STOPPED,
)  # fmt: skip

# Within this the one that took over has sounded; to start a process holds up everybody.
_START_WAITS_S = 0.25


class Listener(Protocol):
    """Who is told what happens to providers; all calls return at once."""

    def provider_up(self, provider: str) -> None:
        """It takes work."""

    def provider_described(self, provider: str) -> None:
        """It is known what it can do."""

    def provider_doubted(self, provider: str) -> None:
        """One of its workers has work and owes a sign of life."""

    def provider_lost(self, provider: str, epoch: int, reason: str, *, gone: bool) -> None:
        """What this incarnation had in work is lost; `gone`: nobody will start it again soon."""

    def leave(self, provider: str, epoch: int, reason: str) -> bool:
        """Tell it to exit; False if it has not said Hello yet."""

    def in_work(self, provider: str, epoch: int) -> int:
        """How many segments this incarnation has."""

    def waiting(self, provider: str) -> int:
        """How many segments could be spoken now, or taken over from a suspect, if it had workers for them."""


class WorkerStatistics(msgspec.Struct, frozen=True):
    """A snapshot of one process."""

    pid: int | None
    phase: str
    epoch: int
    rss_bytes: int | None
    vram_bytes: int | None
    jobs: int


class ProviderStatistics(msgspec.Struct, frozen=True):
    """A snapshot for `status`. `retry_in_s`: when it is started again, or may be tried again."""

    id: str
    engine: str | None
    version: str | None
    source: str
    phase: str
    epoch: int
    restarts: int
    failures: int
    retry_in_s: float | None
    device: str | None
    vram: Vram
    reason: str | None
    log_tail: tuple[str, ...]
    standby_pid: int | None
    workers: tuple[WorkerStatistics, ...]


class ProviderActor:
    """Owns what one provider's workers share, and the workers. `entry` says what is started."""

    def __init__(self, entry: Installed, workshop: Workshop, *, listener: Listener) -> None:
        self.entry = entry
        self.history = fsm.History()
        self.capabilities: Capabilities | None = None
        self.retired = False
        self._workshop = workshop
        self._listener = listener
        self._policy = _policy(entry.config)
        self._recycling = _recycling(entry.config)
        self._workers = [self._new_worker()]
        self._timer = workshop.timers.timer(self.review)
        self._changed: anyio.Event | None = None
        self._reason: str | None = None
        self._rested_since = -math.inf
        self._worn: dict[int, str] = {}

    def _new_worker(self) -> Worker:
        return Worker(self, self._workshop, _limits(self.entry.config))

    # --- how it is

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def workers(self) -> tuple[Worker, ...]:
        return tuple(self._workers)

    @property
    def phase(self) -> Phase:
        """That of the worker which tells most."""
        return min((worker.phase for worker in self._workers), key=_TELLING.index)

    @property
    def trouble(self) -> str | None:
        """Why it cannot be used and will not be soon, or None."""
        spent = next((worker for worker in self._workers if worker.phase in staffing.SPENT), None)
        if spent is None or any(_hopeful(worker) for worker in self._workers):
            return None
        return f"{spent.phase}: {spent.state.reason}"

    @property
    def fingerprint(self) -> str:
        """What makes its sound, as it said last."""
        return self.capabilities.fingerprint if self.capabilities else ""

    @property
    def reason(self) -> str | None:
        """Why one of its workers last ended, or was not what it should be."""
        return self._reason

    @property
    def depth(self) -> int:
        """How many segments of one request may be spoken before their turn."""
        return self.entry.config.workers - 1

    def worker(self, epoch: int | None) -> Worker | None:
        """The one whose present incarnation this is."""
        return next((worker for worker in self._workers if worker.epoch == epoch), None)

    def free_worker(self, in_work: Callable[[str, int], int]) -> Worker | None:
        """Who gets the next segment, if anybody."""
        if self.capabilities is None:  # it was never started
            return None
        # Who has spoken already goes first: its caches are warm, and the spare stays one.
        workers = sorted(self._workers, key=lambda worker: not worker.state.delivered)
        loads = [(in_work(self.id, worker.epoch), worker.serving) for worker in workers]
        chosen = staffing.free_worker(self.entry.config.workers, self.capabilities.concurrency, loads)
        return None if chosen is None else workers[chosen]

    # --- what is wanted of it

    def describe(self) -> None:
        """Somebody wants to know what it can do."""
        if self.phase is Phase.STOPPED:
            self._workers[0].post(fsm.Demand(speak=False))

    def want(self) -> None:
        """Somebody wants it loaded."""
        self._rested_since = clock.now()
        coming = self._coming()
        if not any(_hopeful(worker) for worker in self._workers if worker.phase is not Phase.DRAINING):
            self._start_one()
        for worker in coming:
            # One that was only asked what it can do shall load as well.
            worker.post(fsm.Demand(speak=True))

    def stop(self, reason: str) -> None:
        """Finish what is in work, and end; what kept it from being started is forgotten."""
        self.history = self.history._replace(failures=0)
        self._timer.set(None)
        for worker in self._workers:
            worker.post(fsm.StopAsked(reason))

    async def gone(self) -> None:
        """Wait until no process of this provider is left."""
        # Those of now: by the time one has ended, another may have been started again.
        for end in [worker.end for worker in self._workers]:
            await end.wait()

    async def changed(self) -> None:
        """Wait until something has happened to it."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    # --- how many there are

    def review(self) -> None:
        """Start or end processes until there are as many as there should be."""
        if self.retired:
            return
        wanted = staffing.staff(self._policy, self._situation())
        coming = self._coming()
        # One that dies is started again when it has ended: its memory is not asked for twice.
        restarting = sum(worker.phase is Phase.KILLING and worker.state.wanted for worker in self._workers)
        for _ in range(len(coming) + restarting, wanted.processes):
            self._start_one()
        self._end_some(coming, wanted.processes)
        self._timer.set(None if wanted.again is None else clock.now() + wanted.again)

    def has_place(self, worker: Worker) -> bool:
        """Whether there would be too few without it, or none at all."""
        others = [one for one in self._workers if one is not worker and _hopeful(one)]
        return not others or len(others) < staffing.staff(self._policy, self._situation()).processes

    def start_waits(self) -> float:
        """How many seconds the start of a process may wait: none, unless another one speaks."""
        return _START_WAITS_S if any(worker.serving and self._at_work(worker) for worker in self._workers) else 0.0

    def _end_some(self, coming: list[Worker], wanted: int) -> None:
        """End the youngest of those that rest; never one that is ready for one that is not yet."""
        resting = [worker for worker in coming if worker.phase is Phase.READY and not self._at_work(worker)]
        resting.sort(key=lambda worker: -worker.epoch)
        serving = sum(worker.serving for worker in coming)
        for worker in resting[: max(0, serving - wanted)]:
            worker.post(fsm.StopAsked("the spare is not needed" if wanted else _idle(self._policy.keep_alive)))

    def _coming(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.phase in staffing.COMING]

    def _start_one(self) -> None:
        if any(worker.phase in staffing.SPENT for worker in self._workers):
            return
        stopped = [worker for worker in self._workers if worker.phase in (Phase.STOPPED, Phase.DRAINING)]
        if not stopped:
            self._workers.append(self._new_worker())
        worker = min(stopped, key=lambda one: one.phase is not Phase.STOPPED, default=self._workers[-1])
        worker.post(fsm.Demand(speak=True))

    def _situation(self) -> staffing.Situation:
        now = clock.now()
        busy = [worker for worker in self._workers if worker.serving and self._at_work(worker)]
        # How many wait makes no difference where as many are at work as may be.
        waiting = self._listener.waiting(self.id) if len(busy) < self._policy.workers else 0
        if busy or waiting:
            self._rested_since = now
        proven = any(worker.state.delivered for worker in self._workers)
        return staffing.Situation(
            phases=[_doubt(worker) for worker in self._workers],
            at_work=len(busy),
            waiting=waiting,
            rested=now - self._rested_since,
            proven=proven,
            room=not proven or self._room_for_spare(),
            accelerated=self._accelerated(),
        )

    def _at_work(self, worker: Worker) -> bool:
        """It may have been given a segment of which its state machine is told only when it has taken what came before."""
        return worker.phase is Phase.BUSY or self._listener.in_work(self.id, worker.epoch) > 0

    def _room_for_spare(self) -> bool:
        if self._policy.standby != "auto" or len(self._coming()) > self._policy.workers:
            # Not asked, or it is there already and its memory with it.
            return True
        # Not before somebody speaks: it takes a while to load.
        import psutil

        memory = max((worker.memory() or 0 for worker in self._workers), default=0)
        return staffing.room_for_spare(memory or None, psutil.virtual_memory().available)

    def _accelerated(self) -> bool:
        return any(w.vram.own or (w.device or "cpu").split(":")[0] != "cpu" for w in self._workers)

    # --- what its workers tell

    def worker_stepped(self, worker: Worker, before: Phase) -> None:
        if worker.phase is not Phase.DRAINING or not any(one.serving for one in self._workers):
            self._note_reason(worker)
        if worker.phase is not before and worker.phase not in fsm.ALIVE:
            self._worn.pop(worker.epoch, None)
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()
        if worker.phase is not before:
            self._tell_of_end(worker)
        if worker.phase is Phase.READY and before in fsm.SERVING:
            self._rested_since = clock.now()

    def _tell_of_end(self, worker: Worker) -> None:
        """Nobody may be left waiting for one that does not come: not for its Hello, and not for its work."""
        if worker.phase is Phase.STOPPED and self.capabilities is None and not self.retired:
            self._listener.provider_described(self.id)
        if self.trouble is not None:
            self._listener.provider_lost(self.id, worker.epoch, self._reason or "it ended", gone=True)

    def _note_reason(self, worker: Worker) -> None:
        """Kept until one of them is loaded anew."""
        if worker.state.reason is not None or worker.phase is Phase.READY:
            self._reason = worker.state.reason

    def worker_up(self) -> None:
        self._listener.provider_up(self.id)

    def worker_doubted(self) -> None:
        self._listener.provider_doubted(self.id)

    def worker_lost(self, epoch: int, reason: str, *, gone: bool) -> None:
        # While another one lives, or will, what waits need not be given up.
        self._listener.provider_lost(self.id, epoch, reason, gone=gone and not self._coming())

    def worker_leaves(self, worker: Worker, reason: str) -> bool:
        return self._listener.leave(self.id, worker.epoch, reason)

    # --- wear

    def segment_done(self, worker: Worker) -> None:
        """One of its workers has spoken a segment."""
        worker.note_wear()
        if (why := recycling.worn(self._recycling, worker.wear)) is not None:
            self._worn[worker.epoch] = why

    @property
    def worn(self) -> bool:
        """Whether a worker should make room for a fresh one."""
        return bool(self._worn)

    def between_requests(self) -> None:
        """No request is half spoken: who is worn makes room for a fresh one."""
        for epoch, why in list(self._worn.items()):
            worker = self.worker(epoch)
            if worker is not None and worker.phase is Phase.READY:
                del self._worn[epoch]
                worker.post(fsm.StopAsked(why, again=True))

    # --- what it says of itself

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the state."""
        own, now = self.capabilities, clock.now()
        there = [worker for worker in self._workers if worker.pid or worker.phase is not Phase.STOPPED]
        lead = max(there, key=lambda worker: worker.phase is self.phase, default=self._workers[0])
        waits = lead.phase in fsm.RESTING and lead.state.wake_at is not None
        return ProviderStatistics(
            id=self.id,
            engine=own.engine if own else self.entry.config.engine,
            version=own.version if own else None,
            source=self.entry.source,
            phase=str(self.phase),
            epoch=lead.epoch,
            restarts=self.history.restarts,
            failures=self.history.failures,
            retry_in_s=round((lead.state.wake_at or now) - now, 3) if waits else None,
            device=lead.device,
            vram=lead.vram,
            reason=self._reason,
            log_tail=self._log_tail(),
            standby_pid=self._standby_pid(),
            workers=tuple(
                WorkerStatistics(one.pid, str(one.phase), one.epoch, one.memory(), one.vram.own, one.state.jobs)
                for one in there
            ),
        )

    def _log_tail(self) -> tuple[str, ...]:
        """What its process last wrote, while it is not what it should be."""
        if self.phase not in staffing.SPENT | {Phase.BACKOFF}:
            return ()
        return tuple(tail(log_of(self._workshop.log_dir, self.id)))

    def _standby_pid(self) -> int | None:
        """One that is ready though as many as may be at work are there."""
        loaded = [worker for worker in self._workers if worker.serving]
        ready = [worker for worker in loaded if worker.phase is Phase.READY]
        if len(loaded) <= self.entry.config.workers or not ready:
            return None
        return max(ready, key=lambda worker: worker.epoch).pid


def find(actors: Mapping[str, ProviderActor], provider: str | None) -> ProviderActor:
    """The one of that name. Raises `NoSuchProvider`, with the nearest."""
    actor = actors.get(provider or "")
    if actor is None or actor.retired:
        known = [each.id for each in actors.values() if not each.retired]
        raise NoSuchProvider(f"no provider is called {provider!r}{nearest(provider or '', known)}")
    return actor


def status_of(statistics: ProviderStatistics) -> dict[str, Any]:
    """One entry of `providers` in `status --json`."""
    lead = next((w for w in statistics.workers if w.epoch == statistics.epoch), None)
    return {
        "id": statistics.id,
        "kind": "tts",
        "engine": statistics.engine,
        "version": statistics.version,
        "state": statistics.phase,
        "pid": lead.pid if lead else None,
        "standby_pid": statistics.standby_pid,
        "workers": [
            {
                "pid": w.pid,
                "state": w.phase,
                "epoch": w.epoch,
                "rss_bytes": w.rss_bytes,
                "vram_bytes": w.vram_bytes,
                "jobs": w.jobs,
            }
            for w in statistics.workers
        ],
        "epoch": statistics.epoch,
        "restarts": statistics.restarts,
        "failures": statistics.failures,
        "retry_in_s": statistics.retry_in_s,
        "rss_bytes": sum(w.rss_bytes or 0 for w in statistics.workers) or None,
        "device": statistics.device,
        "vram_bytes": sum(w.vram_bytes or 0 for w in statistics.workers) or None,
        "vram_used_bytes": statistics.vram.used,
        "vram_total_bytes": statistics.vram.total,
        "reason": statistics.reason,
        "log_tail": list(statistics.log_tail),
        "source": statistics.source,
    }


def description_of(actor: ProviderActor) -> dict[str, Any]:
    """One entry of `provider list --json`."""
    return {
        "id": actor.id,
        "engine": actor.entry.config.engine,
        "source": actor.entry.source,
        "state": str(actor.phase),
        "reason": actor.reason,
        "capabilities": msgspec.to_builtins(actor.capabilities) if actor.capabilities else None,
    }


def _doubt(worker: Worker) -> Phase:
    """Its phase; but one that is silent while it loads has nothing that others could take over."""
    loads = worker.phase is Phase.SUSPECT and not worker.state.jobs
    return Phase.LOADING if loads else worker.phase


def _hopeful(worker: Worker) -> bool:
    """Whether it takes work, or will."""
    leaving = worker.phase in (Phase.KILLING, Phase.DRAINING)
    return worker.phase in staffing.COMING or (leaving and worker.state.wanted)


def _idle(keep_alive: float) -> str:
    return f"idle for {keep_alive:g} s"


def _policy(config: ProviderConfig) -> staffing.Policy:
    return staffing.Policy(config.workers, config.standby, keep_alive_seconds(config.keep_alive))


def _recycling(config: ProviderConfig) -> recycling.RecyclePolicy:
    return recycling.RecyclePolicy(config.recycle_jobs, int(config.recycle_growth_mb * 1_000_000))


def _limits(config: ProviderConfig) -> fsm.Limits:
    return fsm.Limits(
        hello=config.hello_s,
        load=config.load_s,
        # Others' programs were promised a second for their first sign of life.
        probe=config.suspect_s if config.command else config.probe_s,
        suspect=config.suspect_s,
        silence=config.silence_s,
        progress=config.progress_s,
        cancel=config.cancel_s,
        drain=config.drain_s,
        restart=RestartPolicy(
            base=config.restart_base_s,
            cap=config.restart_cap_s,
            budget=config.restart_budget,
            rest=config.quarantine_s,
        ),
    )
