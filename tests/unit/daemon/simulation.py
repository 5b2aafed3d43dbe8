"""The daemon's core in virtual time: all that decides is real; the processes, the link, the clients and the clock are not.

Nothing here waits and nothing runs by itself: a test lets one thing after another happen, in an order that a real machine
would show once in a thousand runs. What fails in a callback fails in the test.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import psutil
import pytest

from tests.unit.daemon.simulated_player import SimulatedPlayer
from voicebox_protocol import errors, schema, wire
from voicebox_protocol.arena import FEATURE, SLOT_BYTES
from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.configuration import Config, ProviderConfig
from voiceboxd import clock as daemon_clock
from voiceboxd import provider_state as fsm
from voiceboxd.arenas import Arena, Arenas
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.dispatcher import Dispatcher
from voiceboxd.effects import Payload, ToClient
from voiceboxd.ledger import Ledger
from voiceboxd.provider_actor import ProviderActor
from voiceboxd.provider_gateway import ProviderGateway
from voiceboxd.registry import Installed
from voiceboxd.tally import Tally
from voiceboxd.timers import Timers
from voiceboxd.worker import Door, Vram, Worker, Workshop

BOOT = "b00t"
FRAMES_PER_CHAR = 800
CHUNK_FRAMES = 12_000
# So few that sound often finds none free.
SLOTS = 4
# It never maps what it is offered.
POOR_SESSION = "b"
SIGKILL = -9
# What a process exits with that need not be started again.
CONFIG_EXIT = 78
ABLE = Capabilities(
    engine="e",
    version="1",
    voices=[Voice(id="anna", languages=["en"])],
    deterministic=True,
    fingerprint="f",
    max_chars=100,
    cloning=True,
    languages=["en"],
)
RECORDING = bytes(4 * 8000)
# A suspect has a successor, and one that ends is not there for long.
_COUNTED = frozenset({fsm.Phase.STARTING, fsm.Phase.LOADING, fsm.Phase.READY, fsm.Phase.BUSY})

End = schema.Done | schema.Failed | schema.Cancelled


class Clock:
    """Owns the virtual time, in seconds. No two readings are the same."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        self.now += 1e-7
        return self.now


def virtual_time(patch: pytest.MonkeyPatch) -> Clock:
    """A clock that the daemon's code reads instead of the real one, on a machine with much memory, until `patch` ends."""
    clock = Clock()
    patch.setattr(anyio, "current_time", clock.read)
    patch.setattr(daemon_clock, "now", clock.read)
    patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 << 30))
    return clock


class VirtualTimers(Timers):
    """Rings when it is told to; what fails in a callback is not kept to the log."""

    def ring_until(self, clock: Clock, end: float) -> None:
        """Let time pass until `end`, and ring all that is due by then, each at its moment."""
        while self._heap and self._heap[0][0] <= end:
            at, _, timer = heapq.heappop(self._heap)
            clock.now = max(clock.now, at)
            timer.ring(at)
        clock.now = max(clock.now, end)


@cache
def _silence(frames: int) -> tuple[bytes, int]:
    """So much sound, and its checksum."""
    samples = bytes(4 * frames)
    return samples, zlib.crc32(samples)


class PaperArenas(Arenas):
    """The books of arenas, of which there is no memory: all that lies there is silence."""

    def make(self) -> Arena | None:
        self._last += 1
        arena = self._arenas[self._last] = Arena(self._last, SLOTS, -1)
        return arena

    def open(self, arena: Arena) -> bool:
        self.loans.open(arena.id, arena.slots)
        return True

    def copied(self, chunk: schema.Chunk) -> tuple[schema.Chunk, Payload]:
        assert chunk.descriptors[0][0] in self._arenas
        frames = [frames for _, _, frames, _ in chunk.descriptors]
        crcs = [crc for *_, crc in chunk.descriptors]
        starts = [4 * sum(frames[:index]) for index in range(len(frames))]
        chunk.descriptors = [(0, *piece) for piece in zip(starts, frames, crcs, strict=True)]
        return chunk, bytes(4 * sum(frames))

    def _drop(self, arenas: list[int]) -> None:
        for number in arenas:
            del self._arenas[number]
            self.on_gone(number)


@dataclass
class Job:
    """One segment, or recording, that a process has been given. `proven`: it has shown that it repeats what was delivered already."""

    asked: schema.Synthesize | schema.Prepare
    chars: int
    frames: int
    proven: bool
    seq: int = 0
    cancelled: bool = False


class Process:
    """One process of a provider, from its start to its end. It does one thing each time it is told to."""

    def __init__(self, simulation: Simulation, worker: Worker, epoch: int, gone: anyio.Event) -> None:
        self._simulation = simulation
        self._gone = gone
        self._inbox: list[tuple[schema.Message, bytes]] = []
        self._jobs: list[Job] = []
        self._leaving = False
        self.worker = worker
        self.epoch = epoch
        self.pid = simulation.started
        self.peer = b"peer %d" % self.pid
        self.introduced = self.welcomed = self.loaded = False
        self.killed = self.dying = False
        self.held = False
        self.arena = simulation.arenas.make()
        self._free = list(range(SLOTS))

    @property
    def provider(self) -> str:
        return self.worker._foreman.entry.id

    # --- what its worker asks of it

    def kill(self) -> None:
        self.killed = True

    def memory(self) -> int:
        return 100 << 20

    def hear(self, message: schema.Message, payload: bytes) -> None:
        """The daemon sends it something; it is read when it next does anything."""
        self._inbox.append((message, payload))

    # --- what it does

    def say(self, message: schema.Message, payload: bytes | None = None) -> None:
        if self.dying:
            return
        parts = [self.peer, wire.MAGIC, schema.encode(message), *([] if payload is None else [payload])]
        frames: Any = [SimpleNamespace(bytes=part, buffer=memoryview(part)) for part in parts]
        self._simulation.gateway._take(frames, self._simulation.dispatcher)

    def hello(self, capabilities: Capabilities | None) -> None:
        self.introduced = True
        self.say(
            schema.Hello(
                proto_min=wire.PROTO_MIN,
                proto_max=wire.PROTO_MAX,
                features=[FEATURE],
                agent="simulation",
                token=self.worker.token,
                provider=self.provider,
                epoch=self.epoch,
                capabilities=None if capabilities is None else msgspec.to_builtins(capabilities),
            )
        )

    def load(self) -> None:
        self.loaded = True
        self.say(schema.Ready(epoch=self.epoch, load_ms=1.0))

    def beat(self) -> None:
        """While it has something to do, it says that it lives, and that it gets on."""
        if self.welcomed and not self.held and (self._jobs or not self.loaded):
            self.say(schema.Beat(epoch=self.epoch, steps=self._simulation.step()))

    def toll(self) -> None:
        """Its death is heard of before its end is."""
        if not self.dying:
            self.dying = True
            if self.worker.epoch == self.epoch:
                self.worker.post(fsm.Dying("it was killed by SIGKILL"))

    def exit(self, code: int = SIGKILL) -> None:
        """As the end of `Worker._live`."""
        worker: Any = self.worker
        self._simulation.processes.remove(self)
        if worker._process is self:
            worker._process = None
            worker._unshare()
        self._gone.set()
        worker.device, worker.vram = None, Vram()
        if worker.epoch == self.epoch:
            worker.post(
                fsm.Exited(f"code {code}", code, self._simulation.chance.random(), worker._foreman.has_place(worker))
            )

    def move(self) -> bool:
        """Do the next thing; False if there is none."""
        if self.killed or self.dying:
            self.exit()
        elif self.held:
            return False
        elif not self.introduced:
            self.hello(self._simulation.capabilities)
        elif self.welcomed and not self.loaded:
            self.load()
        elif self._read() and not self._jobs:
            self.exit(0)
        else:
            return self.work()
        return True

    def work(self) -> bool:
        """One message about the first of its segments; False if it has none."""
        self._read()
        if not self._jobs:
            return False
        job = self._jobs[0]
        if job.cancelled:
            self._finish(schema.SegmentCancelled(**self._names(job)))
        elif isinstance(job.asked, schema.Prepare):
            self._finish(schema.Prepared(**self._names(job)), b"prompt")
        elif not job.proven:
            job.proven = True
            self.say(schema.Resumed(**self._names(job), frames=job.frames, crc32=_silence(job.frames)[1]))
        elif job.frames < job.chars * FRAMES_PER_CHAR:
            self._sound(job)
        else:
            self._finish(schema.SegmentDone(**self._names(job), frames=job.frames))
        return True

    def fail_segment(self) -> None:
        """The first of its segments cannot be spoken."""
        self._read()
        if self._jobs and not self._jobs[0].cancelled:
            names = self._names(self._jobs[0])
            self._finish(schema.SegmentFailed(**names, code="PROVIDER_FAILED", message="it cannot"))

    def _sound(self, job: Job) -> None:
        count = min(CHUNK_FRAMES, job.chars * FRAMES_PER_CHAR - job.frames)
        samples, checksum = _silence(count)
        job.frames += count
        place = self._place()
        chunk = schema.Chunk(**self._names(job), seq=job.seq, descriptors=[(*place, count, checksum)])
        job.seq += 1
        self.say(chunk, None if place[0] else samples)

    def _place(self) -> tuple[int, int]:
        """Where sound goes: the arena and the offset there, or the message itself."""
        if self.arena is None or not self._free:
            return 0, 0
        slot = self._free.pop(0)
        assert (self.arena.id, slot) not in self._simulation.lent, "it writes over what somebody reads"
        return self.arena.id, slot * SLOT_BYTES

    def _hear_of(self, free: list[tuple[int, int]]) -> None:
        for first, last in free:
            self._free += range(first, last + 1)
        assert len(self._free) == len(set(self._free)), "a slot is free once"

    def _finish(self, end: schema.Message, payload: bytes | None = None) -> None:
        del self._jobs[0]
        self.say(end, payload)

    def _names(self, job: Job) -> dict[str, Any]:
        asked = job.asked
        return {"epoch": self.epoch, "req": asked.req, "attempt": asked.attempt, "segment": asked.segment}

    def _read(self) -> bool:
        """Take what the daemon has sent; True if it was asked to leave."""
        inbox, self._inbox = self._inbox, []
        for message, payload in inbox:
            match message:
                case schema.Synthesize(from_frame=start):
                    self._hear_of(message.free_slots or [])
                    self._jobs.append(Job(message, len(payload.decode()), start or 0, proven=not start))
                case schema.Prepare():
                    assert payload == RECORDING
                    self._jobs.append(Job(message, 0, 0, proven=True))
                case schema.Cancel():
                    self._cancel(message)
                case schema.Release():
                    self._hear_of(message.slots)
                case schema.Exit():
                    self._leaving = True
        return self._leaving

    def _cancel(self, message: schema.Cancel) -> None:
        for job in self._jobs:
            if job.asked.req == message.req and message.attempt in (None, job.asked.attempt):
                job.cancelled = True


class Simulation:
    """Owns the daemon's core, all processes, and what the clients got. Clients note for themselves what breaks a promise
    to them: a second end, sound after the end, sound out of order. `needless`: what was started without a place for it."""

    def __init__(
        self,
        clock: Clock,
        directory: Path,
        providers: Mapping[str, ProviderConfig],
        *,
        seed: int = 0,
        config: Config | None = None,
        capabilities: Capabilities = ABLE,
    ) -> None:
        self.clock = clock
        self.chance = random.Random(seed)
        self.capabilities = capabilities
        self.processes: list[Process] = []
        self.started = 0
        self.born_held = False
        self.needless: list[str] = []
        self.ends: dict[str, End] = {}
        self.answers: dict[tuple[str, int], schema.Message] = {}
        self.tally = Tally()
        self.timers = VirtualTimers()
        link: Any = SimpleNamespace(send=self._to_process)
        self.gateway = ProviderGateway(link, BOOT, self.tally)
        self.arenas = PaperArenas(0, 0)
        self.lent: dict[tuple[int, int], tuple[str, int]] = {}
        self._offered: set[tuple[str, int]] = set()
        self._mapped: set[tuple[str, int]] = set()
        self.dispatcher = Dispatcher(
            Ledger(BOOT, 1.5),
            self.gateway,
            self.arenas,
            config=config or Config(),
            timers=self.timers,
            tally=self.tally,
            audio=AudioSettings(Path("nowhere")),
        )
        self.player = SimulatedPlayer(self.dispatcher, lambda req: req in self.ends)
        self.dispatcher.loudspeaker.play_through(self.player)
        self.dispatcher.speak_through(self)
        self._decoder = schema.Decoder(wire.DAEMON_TO_PROVIDER)
        self._steps = 0
        self._sessions: dict[str, Any] = {}
        self._owners: dict[str, str] = {}
        self._heard: Counter[str] = Counter()
        self._unread: dict[str, tuple[int, int]] = {}
        self._install(providers, directory)

    def _install(self, providers: Mapping[str, ProviderConfig], directory: Path) -> None:
        tasks: Any = SimpleNamespace(start_soon=self._start)
        children: Any = None
        workshop = Workshop(Door("nowhere", None), children, self.timers, tasks, directory, self.arenas)
        for name, config in providers.items():
            entry = Installed(name, config, "config")
            self.gateway.actors[name] = ProviderActor(entry, workshop, listener=self.dispatcher)

    # --- how it is

    def phases(self, provider: str = "p") -> list[str]:
        return [str(worker.phase) for worker in self.gateway.actors[provider].workers]

    def process(self, epoch: int, provider: str = "p") -> Process:
        return next(each for each in self.processes if each.provider == provider and each.epoch == epoch)

    def outcomes(self, req: str) -> list[str]:
        """How each attempt at it ended."""
        return [attempt["outcome"] for attempt in self.ends[req].attempts]

    # --- what clients do

    def say(self, req: str, text: str, *, session: str = "s", **wishes: Any) -> None:
        self._owners[req] = session
        self.dispatcher.say(self._session(req), schema.Say(boot=BOOT, req=req, **wishes), text)

    def text(self, req: str, text: str, *, last: bool) -> None:
        self.dispatcher.text(self._session(req), schema.Text(boot=BOOT, req=req, last=last), text)

    def cancel(self, req: str) -> None:
        self.dispatcher.cancel(self._session(req), req)

    def prepare(self, session: str, query: int, **wishes: Any) -> None:
        """A client has a recording listened to; it has an answer, sooner or later."""
        own = self._sessions.setdefault(session, SimpleNamespace(id=session, attached=True))
        ask = schema.PrepareVoice(query=query, sample_rate=8000, **wishes)
        try:
            self.dispatcher.prepare_voice(own, ask, RECORDING)
        except errors.QueueFull as error:
            self.send(ToClient(session, schema.Error(code=error.code, message="", query=query)))

    def leave(self, session: str) -> None:
        """A client is gone."""
        self.dispatcher.session_closed(session)

    def acknowledge(self, req: str) -> None:
        self.dispatcher.acknowledge(self._session(req), req)

    def credit(self) -> bool:
        """All clients read all that they have; False if they had nothing."""
        self._mapped |= {(session, arena) for session, arena in self._offered if session != POOR_SESSION}
        unread, self._unread = self._unread, {}
        for req, (first, last) in unread.items():
            read = [place for place, (own, seq) in self.lent.items() if own == req and first <= seq <= last]
            for place in read:
                del self.lent[place]
            self.dispatcher.credit(self._session(req), schema.Credit(boot=BOOT, req=req, first=first, last=last))
        return bool(unread)

    def _session(self, req: str) -> Any:
        name = self._owners[req]
        return self._sessions.setdefault(name, SimpleNamespace(id=name, attached=True))

    def send(self, effect: ToClient) -> None:
        """The daemon sends something to a client."""
        message = effect.message
        match message:
            case schema.Done() | schema.Failed() | schema.Cancelled():
                assert message.req not in self.ends, f"{message.req} ends for a second time"
                self.ends[message.req] = message
            case schema.VoicePrepared() | schema.Error():
                key = effect.session, message.query or 0
                assert key not in self.answers, f"{key} is answered for a second time"
                self.answers[key] = message
            case schema.Chunk():
                assert message.req not in self.ends, f"{message.req} sounds after its end"
                assert message.seq == self._heard[message.req], f"{message.req} sounds out of order"
                self._borrow(effect.session, message, effect.payload)
                self._heard[message.req] += len(message.descriptors)
                first, _ = self._unread.get(message.req, (message.seq, 0))
                self._unread[message.req] = first, self._heard[message.req] - 1

    def _borrow(self, session: str, chunk: schema.Chunk, payload: Payload | None) -> None:
        """What is lent to a client is nobody else's, and it knows where it lies."""
        frames = sum(frames for _, _, frames, _ in chunk.descriptors)
        arena = chunk.descriptors[0][0]
        assert len(payload or b"") == (0 if arena else 4 * frames)
        for index, (_, offset, _, _) in enumerate(chunk.descriptors if arena else ()):
            assert (session, arena) in self._mapped
            place = (arena, offset // SLOT_BYTES)
            assert place not in self.lent
            self.lent[place] = chunk.req, chunk.seq + index

    def offer(self, session_id: str, arena: Arena) -> None:
        """The daemon lets a client map an arena; it does when it next reads."""
        self._offered.add((session_id, arena.id))

    def maps(self, session_id: str, arena: int) -> bool:
        return (session_id, arena) in self._mapped

    # --- what happens to processes

    def _start(self, live: Callable[..., Any], epoch: int, gone: anyio.Event) -> None:
        """As `Worker._live`, with a process of ours."""
        worker: Worker = live.__self__  # type: ignore[attr-defined]
        self.started += 1
        process: Any = Process(self, worker, epoch, gone)
        process.held = self.born_held
        self.processes.append(process)
        worker._process = process
        worker._memory = process.arena
        if worker._condemned == epoch:
            process.kill()
        self._count(self.gateway.actors[process.provider])

    def _count(self, actor: ProviderActor) -> None:
        """A provider has as many processes as may be at work, one more for each suspect, and a spare; and one may have been on
        its way for a suspect that came back meanwhile."""
        phases = [worker.phase for worker in actor.workers]
        if sum(phase in _COUNTED for phase in phases) > actor.entry.config.workers + 2:
            self.needless.append(f"{actor.id} at {self.clock.now:.1f}: {[str(phase) for phase in phases]}")

    def _to_process(
        self, peer: bytes, header: bytes, payload: bytes | None = None, prompt: bytes | None = None
    ) -> bool:
        process = next((each for each in self.processes if each.peer == peer), None)
        if process is None:
            return False
        kind = msgspec.msgpack.decode(header)["kind"]
        if kind == "Welcome":
            process.welcomed = True
        elif kind != "Error":
            process.hear(self._decoder.message(wire.MAGIC, memoryview(header)), payload or b"")
        return True

    def step(self) -> int:
        """A number that no beat has had before."""
        self._steps += 1
        return self._steps

    def remove(self, provider: str) -> None:
        """As `Installer.remove`."""
        actor = self.gateway.actors[provider]
        actor.retired = True
        self.dispatcher.abandon(provider, "it was removed")
        actor.stop("it was removed")
        for process in [each for each in self.processes if each.provider == provider]:
            process.exit()
        self.gateway.dismiss(actor)

    # --- time

    def round(self, *, credit: bool = True) -> bool:
        """Each process does its next thing and each client reads; False if nobody had anything to do."""
        moved = [process.move() for process in list(self.processes)]
        read = credit and self.credit()
        self.player.come()
        played = self.player.move()
        return any(moved) or read or played

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.round()

    def until(self, reached: Callable[[], bool], *, credit: bool = True) -> None:
        """Let everybody go on until it is so; it is an error if it never is."""
        for _ in range(1000):
            if reached():
                return
            self.round(credit=credit)
        raise AssertionError(f"it was never so: {self.phases()}, {list(self.ends)}")

    def advance(self, seconds: float) -> None:
        """Time passes and nobody does anything."""
        self.timers.ring_until(self.clock, self.clock.now + seconds)

    def run(self, seconds: float, *, step: float = 0.05) -> None:
        """Everybody does what there is to do, for so long."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            for _ in range(5):
                if not self.round():
                    break
            for process in list(self.processes):
                process.beat()
            self.advance(step)

    # --- what holds in the end

    def check_rest(self) -> None:
        """Nothing is left of requests that have all ended, and no more processes than there may be."""
        for actor in self.gateway.actors.values():
            assert sum(worker.alive for worker in actor.workers) <= actor.entry.config.workers + 1, self.phases(
                actor.id
            )
        ledger = self.dispatcher.ledger
        assert not ledger.requests
        assert not ledger._slots
        assert not self.dispatcher.loudspeaker._aloud
        assert self.dispatcher.loudspeaker.describe()["speaking"] is None
        recordings = self.dispatcher.preparing.book
        assert not recordings.open
        assert not recordings._slots
        assert not any(window.reserved_bytes for window in ledger.windows.values())
        assert not [req for req in self.ends if "running" in self.outcomes(req)]
        assert self.arenas.used == len(self.lent) == 0
        assert self.arenas.size == sum(worker.alive for worker in self._workers()) * SLOTS * SLOT_BYTES

    def _workers(self) -> list[Worker]:
        return [worker for actor in self.gateway.actors.values() for worker in actor.workers]
