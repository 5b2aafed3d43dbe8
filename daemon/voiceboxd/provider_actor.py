"""One provider: carries out what its state machine says, and owns its process, epoch and timer."""

from __future__ import annotations

import os
import random
import secrets
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.abc
import msgspec
import structlog

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.startline import StartLine
from voiceboxd import provider_state as fsm
from voiceboxd.process import Children, ProviderProcess, describe_exit, leashed, our_runner
from voiceboxd.registry import Installed
from voiceboxd.timers import Timers

log = structlog.get_logger()


class Door(NamedTuple):
    """Where providers connect: the address, and the key if the transport has one."""

    address: str
    server_key: str | None


class Listener(Protocol):
    """Who is told what happens to providers; all calls return at once."""

    def provider_up(self, provider: str) -> None:
        """It takes work."""

    def provider_described(self, provider: str) -> None:
        """It is known what it can do."""

    def provider_lost(self, provider: str, epoch: int, reason: str, *, gone: bool) -> None:
        """What this incarnation had in work is lost; `gone`: nobody will start it again soon."""

    def leave(self, provider: str, epoch: int, reason: str) -> bool:
        """Tell it to exit; False if it has not said Hello yet."""


@dataclass(frozen=True, slots=True)
class ProviderStatistics:
    """A snapshot for `status`."""

    id: str
    engine: str | None
    version: str | None
    source: str
    phase: str
    epoch: int
    restarts: int
    pid: int | None
    rss_bytes: int | None
    device: str | None
    vram_bytes: int | None
    reason: str | None
    jobs: int


class ProviderActor:
    """Sole writer of one provider's state. Everything that happens to it comes in by `post`."""

    def __init__(
        self,
        entry: Installed,
        door: Door,
        *,
        listener: Listener,
        children: Children,
        timers: Timers,
        tasks: anyio.abc.TaskGroup,
        log_dir: Path,
    ) -> None:
        self.entry = entry
        self._door = door
        self._listener = listener
        self._children = children
        self._tasks = tasks
        self._log_file = log_dir / f"provider-{entry.id}.log"
        self._timer = timers.timer(self._tick)
        self._state = fsm.ProviderState(limits=_limits(entry))
        self._inbox: deque[fsm.Event] = deque()
        self._processing = False
        self._process: ProviderProcess | None = None
        self._condemned = 0
        self._worked = 0
        self._gone = anyio.Event()
        self._gone.set()
        self._changed = anyio.Event()
        self.retired = False
        self.capabilities: Capabilities | None = None
        self.device: str | None = None
        self.vram_bytes: int | None = None
        self.token = ""

    @property
    def id(self) -> str:
        return self.entry.id

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
    def trouble(self) -> str | None:
        """Why it cannot be used and will not be soon, or None."""
        if self._state.phase in (fsm.Phase.FAILED, fsm.Phase.QUARANTINED):
            return f"{self._state.phase}: {self._state.reason}"
        return None

    @property
    def reason(self) -> str | None:
        return self._state.reason

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
        self._state, effects = fsm.advance(self._state, event, anyio.current_time())
        self._timer.set(self._state.wake_at)
        self._changed.set()
        self._changed = anyio.Event()
        if self._state.phase is not before and not {before, self._state.phase} <= fsm.SERVING:
            log.info("provider", provider=self.id, phase=str(self._state.phase), epoch=self.epoch, reason=self.reason)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: fsm.Effect) -> None:
        match effect:
            case fsm.Spawn(epoch):
                self.token = secrets.token_hex(16)
                self._gone = anyio.Event()
                self._tasks.start_soon(self._live, epoch, self._gone)
            case fsm.Leave(reason):
                if not self._listener.leave(self.id, self.epoch, reason):
                    self._kill()
            case fsm.Kill():
                self._kill()
            case fsm.Up():
                self._listener.provider_up(self.id)
            case fsm.Lost(epoch, reason, gone):
                self._listener.provider_lost(self.id, epoch, reason, gone=gone)

    def _kill(self) -> None:
        self._condemned = self.epoch
        if self._process is not None:
            self._process.kill()

    def _tick(self) -> None:
        self.post(fsm.Tick())

    async def _live(self, epoch: int, gone: anyio.Event) -> None:
        """One process from start to end."""
        try:
            reason, code = await self._run(epoch)
        except Exception as error:
            log.exception("a provider could not be run", provider=self.id)
            reason, code = f"it could not be run: {error}", None
        finally:
            gone.set()
        self.device = self.vram_bytes = None
        if epoch == self.epoch:
            self.post(fsm.Exited(reason, code, random.random()))

    async def _run(self, epoch: int) -> tuple[str, int | None]:
        config = self.entry.config
        start = StartLine(
            address=self._door.address,
            provider=self.id,
            epoch=epoch,
            token=self.token,
            parent_pid=os.getpid(),
            engine=config.engine or "",
            server_key=self._door.server_key,
            settings=config.settings,
        )
        try:
            command = leashed(config.command) if config.command else our_runner()
            process = await ProviderProcess.spawn(command, start, self._log_file)
        except (OSError, ValueError) as error:
            return f"it could not be started: {error}", None
        self._process = process
        try:
            self._children.add(process.pid)
            if self._condemned == epoch:
                # It was condemned while it was being started, when there was nothing to kill yet.
                process.kill()
            code = await process.wait()
        finally:
            # Also when the daemon itself ends: nothing of ours outlives us.
            process.kill()
            self._children.remove(process.pid)
            self._process = None
        # What an engine wrote once it had texts to speak may quote them, and goes no further than its own log.
        words = process.last_words() if code and self._worked != epoch else ""
        return describe_exit(code) + (f" ({words})" if words else ""), code

    async def changed(self) -> None:
        """Wait until something has happened to it."""
        await self._changed.wait()

    async def gone(self) -> None:
        """Wait until no process of this provider is left."""
        await self._gone.wait()

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the state."""
        own = self.capabilities
        process = self._process
        return ProviderStatistics(
            id=self.id,
            engine=own.engine if own else self.entry.config.engine,
            version=own.version if own else None,
            source=self.entry.source,
            phase=str(self._state.phase),
            epoch=self.epoch,
            restarts=self._state.restarts,
            pid=process.pid if process else None,
            rss_bytes=process.memory() if process else None,
            device=self.device,
            vram_bytes=self.vram_bytes,
            reason=self._state.reason,
            jobs=self._state.jobs,
        )


def status_of(statistics: ProviderStatistics) -> dict[str, Any]:
    """One entry of `providers` in `status --json`."""
    worker = {
        "pid": statistics.pid,
        "state": statistics.phase,
        "epoch": statistics.epoch,
        "rss_bytes": statistics.rss_bytes,
    }
    return {
        "id": statistics.id,
        "kind": "tts",
        "engine": statistics.engine,
        "version": statistics.version,
        "state": statistics.phase,
        "pid": statistics.pid,
        "standby_pid": None,
        "workers": [worker] if statistics.pid else [],
        "epoch": statistics.epoch,
        "restarts": statistics.restarts,
        "rss_bytes": statistics.rss_bytes,
        "device": statistics.device,
        "vram_used_bytes": statistics.vram_bytes,
        "reason": statistics.reason,
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


def _limits(entry: Installed) -> fsm.Limits:
    config = entry.config
    return fsm.Limits(
        hello=config.hello_s,
        load=config.load_s,
        silence=config.silence_s,
        progress=config.progress_s,
        cancel=config.cancel_s,
        idle=config.idle_minutes * 60,
    )
