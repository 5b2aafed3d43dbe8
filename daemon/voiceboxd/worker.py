"""One worker process of a provider: carries out what its state machine says, and owns its process, epoch and timer."""

from __future__ import annotations

import os
import random
from collections import deque
from pathlib import Path
from typing import NamedTuple, Protocol

import anyio
import anyio.abc
from msgspec.structs import replace

from voicebox_protocol.startline import StartLine
from voiceboxd import clock, tokens
from voiceboxd import provider_state as fsm
from voiceboxd.arenas import Arena, Arenas
from voiceboxd.logs import log
from voiceboxd.process import Children, ProviderProcess, describe_exit, leashed, log_of, our_runner
from voiceboxd.recycling import Wear
from voiceboxd.registry import Installed
from voiceboxd.timers import Timers


class Door(NamedTuple):
    """Where providers connect: the address, and the key if the transport has one."""

    address: str
    server_key: str | None


class Workshop(NamedTuple):
    """What workers need of the daemon."""

    door: Door
    children: Children
    timers: Timers
    tasks: anyio.abc.TaskGroup
    log_dir: Path
    arenas: Arenas


class Vram(NamedTuple):
    """The memory of a worker's accelerator, in bytes: its own share, all that is in use, and what there is; None where unknown."""

    own: int | None = None
    used: int | None = None
    total: int | None = None


class Foreman(Protocol):
    """Whose worker it is; all calls return at once."""

    entry: Installed
    history: fsm.History

    def has_place(self, worker: Worker) -> bool:
        """Whether it is still needed, now that it would be started again."""

    def start_waits(self) -> float:
        """How many seconds the start of a process may wait, so that nobody's sound waits for it."""

    def worker_stepped(self, worker: Worker, before: fsm.Phase) -> None:
        """Something happened to it."""

    def worker_up(self) -> None:
        """One takes work."""

    def worker_doubted(self) -> None:
        """One owes a sign of life."""

    def worker_lost(self, epoch: int, reason: str, *, gone: bool) -> None:
        """What this incarnation had in work is lost."""

    def worker_leaves(self, worker: Worker, reason: str) -> bool:
        """Tell it to exit; False if it cannot be reached."""


class Worker:
    """Owns one process slot. `post` lets something happen; effects come back through the `Foreman`."""

    def __init__(self, foreman: Foreman, workshop: Workshop, limits: fsm.Limits) -> None:
        self._foreman = foreman
        self._workshop = workshop
        self._timer = workshop.timers.timer(self._tick)
        self._state = fsm.ProviderState(limits=limits)
        self._inbox: deque[fsm.Event] = deque()
        self._processing = False
        self._process: ProviderProcess | None = None
        self._condemned = 0
        self._worked = 0
        self._gone = anyio.Event()
        self._gone.set()
        self.token = ""
        self.device: str | None = None
        self.vram = Vram()
        self.wear = Wear(0)
        self._memory: Arena | None = None
        self.arena: Arena | None = None

    # --- how it is

    @property
    def provider(self) -> str:
        return self._foreman.entry.id

    @property
    def state(self) -> fsm.ProviderState:
        return self._state

    @property
    def epoch(self) -> int:
        return self._state.epoch

    @property
    def phase(self) -> fsm.Phase:
        return self._state.phase

    @property
    def alive(self) -> bool:
        """Whether a process of its present epoch may be sending."""
        return self._state.phase in fsm.ALIVE

    @property
    def serving(self) -> bool:
        """Whether it takes work now."""
        return self._state.phase in (fsm.Phase.READY, fsm.Phase.BUSY)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def memory(self) -> int | None:
        """Resident bytes, None if there is no process."""
        return self._process.memory() if self._process else None

    def note_wear(self) -> None:
        """A segment is done: note what it cost."""
        jobs, memory = self.wear.jobs + 1, self.memory()
        first = self.wear if self.wear.jobs else Wear(0, memory, memory, self.vram.own, self.vram.own)
        self.wear = first._replace(jobs=jobs, memory=memory, vram=self.vram.own)

    def share(self, *, mapped: bool) -> None:
        """Its process has mapped the memory that it was given for its sound, or has not."""
        memory = self._memory
        if memory is not None and mapped and self._workshop.arenas.open(memory):
            self.arena = memory
        else:
            self._unshare()

    def _unshare(self) -> None:
        memory, self._memory, self.arena = self._memory, None, None
        if memory is not None:
            self._workshop.arenas.close(memory)

    @property
    def end(self) -> anyio.Event:
        """Set once the process that it has now is gone."""
        return self._gone

    # --- what happens to it

    def post(self, event: fsm.Event) -> None:
        """Let something happen. Effects may post again; events are taken in order."""
        self._inbox.append(event)
        if self._processing:
            return
        self._processing = True
        try:
            while self._inbox:
                self._step(self._inbox.popleft())
        finally:
            self._processing = False

    def _step(self, event: fsm.Event) -> None:
        before = self._state.phase
        if isinstance(event, fsm.JobStarted):
            self._worked = self.epoch
        state = self._state
        if state.history is not self._foreman.history:
            state = replace(state, history=self._foreman.history)
        self._state, effects = fsm.advance(state, event, clock.now())
        self._foreman.history = self._state.history
        self._timer.set(self._state.wake_at)
        phase = self._state.phase
        if phase is not before and not {before, phase} <= fsm.SERVING:
            provider, reason = self._foreman.entry.id, self._state.reason
            log.info("provider", provider=provider, phase=str(phase), epoch=self.epoch, reason=reason)
        self._foreman.worker_stepped(self, before)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: fsm.Effect) -> None:
        match effect:
            case fsm.Spawn(epoch):
                self.token = tokens.token(16)
                self.wear = Wear(0)
                self._gone = anyio.Event()
                self._workshop.tasks.start_soon(self._live, epoch, self._gone)
            case fsm.Leave(reason):
                if not self._foreman.worker_leaves(self, reason):
                    self._kill()
            case fsm.Kill():
                self._kill()
            case fsm.Up():
                self._foreman.worker_up()
            case fsm.Doubted():
                self._foreman.worker_doubted()
            case fsm.Lost(epoch, reason, gone):
                self._foreman.worker_lost(epoch, reason, gone=gone)

    def _tick(self) -> None:
        self.post(fsm.Tick(self._foreman.has_place(self)))

    def _kill(self) -> None:
        self._condemned = self.epoch
        if self._process is not None:
            self._process.kill()

    # --- its process

    async def _live(self, epoch: int, gone: anyio.Event) -> None:
        """One process from start to end."""
        try:
            reason, code = await self._run(epoch)
        except Exception as error:
            log.exception("a provider could not be run", provider=self._foreman.entry.id)
            reason, code = f"it could not be run: {error}", None
        finally:
            gone.set()
        self.device, self.vram = None, Vram()
        if epoch == self.epoch:
            self.post(fsm.Exited(reason, code, random.random(), self._foreman.has_place(self)))

    async def _run(self, epoch: int) -> tuple[str, int | None]:
        config = self._foreman.entry.config
        await anyio.sleep(self._foreman.start_waits())
        try:
            command = leashed(config.command) if config.command else our_runner(config.python)
            # Others' programs know nothing of the death notice; their process handle tells.
            told = None if config.command else lambda reason: self._dies(epoch, reason)
            self._memory = None if config.command else self._workshop.arenas.make()
            log_file = log_of(self._workshop.log_dir, self._foreman.entry.id)
            process = await ProviderProcess.spawn(command, self._start_line(epoch), log_file, told)
        except (OSError, ValueError) as error:
            self._unshare()
            return f"it could not be started: {error}", None
        self._process = process
        try:
            self._workshop.children.add(process.pid)
            if self._condemned == epoch:
                # It was condemned while it was being started, when there was nothing to kill yet.
                process.kill()
            code = await process.wait()
        finally:
            # Also when the daemon itself ends: nothing of ours outlives us.
            process.kill()
            self._workshop.children.remove(process.pid)
            self._process = None
            self._unshare()
        # What an engine wrote once it had texts to speak may quote them, and goes no further than its own log.
        words = process.last_words() if code and self._worked != epoch else ""
        return describe_exit(code) + (f" ({words})" if words else ""), code

    def _dies(self, epoch: int, reason: str) -> None:
        """The death notice comes before the process's end; what was in work need not wait for that."""
        if epoch == self.epoch:
            self.post(fsm.Dying(reason))

    def _start_line(self, epoch: int) -> StartLine:
        entry, door, memory = self._foreman.entry, self._workshop.door, self._memory
        return StartLine(
            address=door.address,
            provider=entry.id,
            epoch=epoch,
            token=self.token,
            parent_pid=os.getpid(),
            engine=entry.config.engine or "",
            server_key=door.server_key,
            settings=entry.config.settings,
            arena_fd=memory.descriptor if memory else None,
            arena=memory.id if memory else 0,
            arena_slots=memory.slots if memory else 0,
        )
