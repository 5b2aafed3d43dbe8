"""The providers' door: which peer is which incarnation, and what each message means to its `ProviderActor`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import anyio
import msgspec
import zmq

from voicebox_protocol import __version__, schema, wire
from voicebox_protocol.arena import FEATURE
from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.plain import is_plain
from voiceboxd import provider_state as fsm
from voiceboxd.candidates import Candidate
from voiceboxd.effects import Payload, ToProvider, Violation
from voiceboxd.link import Link
from voiceboxd.logs import log
from voiceboxd.provider_actor import Listener, ProviderActor
from voiceboxd.tally import Tally
from voiceboxd.tokens import same
from voiceboxd.worker import Vram, Worker


class Floor(Listener, Protocol):
    """Who takes what providers send about segments."""

    def from_provider(self, provider: str, epoch: int, message: schema.Message, payload: Payload) -> None:
        """A message of the present incarnation. Raises `Violation` if it breaks a rule."""


class Incarnation(NamedTuple):
    """One life of one worker."""

    actor: ProviderActor
    worker: Worker
    epoch: int

    @property
    def present(self) -> bool:
        """Whether it is the worker's present life, and not over."""
        return self.worker.epoch == self.epoch and self.worker.alive


class ProviderGateway:
    """Owns the providers' ROUTER and which peer is which incarnation."""

    def __init__(self, link: Link, boot: str, tally: Tally) -> None:
        self._link = link
        self._boot = boot
        self._tally = tally
        self._decoder = schema.Decoder(wire.PROVIDER_TO_DAEMON)
        self._peers: dict[bytes, Incarnation] = {}
        self._routes: dict[tuple[str, int], bytes] = {}
        self.actors: dict[str, ProviderActor] = {}
        self.on_pong: Callable[[str, int, schema.Pong], None] = lambda *_: None
        self._handlers: dict[type[schema.Message], Callable[[Incarnation, schema.Message], None]] = {
            schema.Loading: self._loading,
            schema.Ready: self._ready,
            schema.Fault: self._fault,
        }

    def candidates(self) -> list[Candidate]:
        """What the choice of a provider may know."""
        return [
            Candidate(actor.id, actor.capabilities, actor.trouble, actor.entry.config.engine)
            for actor in self.actors.values()
            if not actor.retired
        ]

    def dismiss(self, actor: ProviderActor) -> None:
        """Forget a provider whose process is gone for good."""
        self._forget(actor, everything=True)
        del self.actors[actor.id]

    def send(self, effect: ToProvider) -> None:
        """Send to an incarnation; one that is gone is noticed elsewhere."""
        peer = self._routes.get((effect.provider, effect.epoch))
        if peer is not None:
            self._link.send(peer, schema.encode(effect.message), effect.payload, effect.prompt)
        if isinstance(effect.message, schema.Cancel) and (worker := self.worker(effect.provider, effect.epoch)):
            worker.post(fsm.CancelSent())

    def worker(self, provider: str, epoch: int) -> Worker | None:
        """The worker whose present life this is."""
        actor = self.actors.get(provider)
        return actor.worker(epoch) if actor is not None else None

    def arena(self, provider: str, epoch: int) -> int:
        """The arena of an incarnation; 0 if it has none."""
        worker = self.worker(provider, epoch)
        return worker.arena.id if worker is not None and worker.arena is not None else 0

    def leave(self, provider: str, epoch: int, reason: str) -> bool:
        """Ask an incarnation to exit; False if it cannot be reached."""
        if (provider, epoch) not in self._routes:
            return False
        self.send(ToProvider(provider, epoch, schema.Exit(boot=self._boot, reason=reason[:4096])))
        return True

    async def serve(self, floor: Floor) -> None:
        """Takes what providers send, for ever."""
        await self._link.serve(partial(self._take, floor=floor))

    def _take(self, frames: list[zmq.Frame], floor: Floor) -> None:
        peer = frames[0].bytes
        known = self._peers.get(peer)
        try:
            if not 3 <= len(frames) <= 4:
                raise Violation(f"a message of {len(frames) - 1} frames")
            message = self._decoder.message(frames[1].bytes, frames[2].buffer)
            if known is None:
                self._introduce(peer, message, floor)
            elif not known.present:
                self._tally.count("stale provider")
            else:
                self._serve_one(known, message, frames[3].buffer if len(frames) == 4 else b"", floor)
        except schema.Unsupported:
            # A newer provider may say more than we know; that is no lie.
            self._tally.count("unsupported")
        except (schema.Malformed, Violation) as error:
            self._violated(known, str(error))
        except Exception as error:
            # The last line of defence: whatever one provider's message breaks, the others are not to feel it.
            log.exception("a provider's message could not be handled", provider=known.actor.id if known else None)
            self._violated(known, f"its message could not be handled ({type(error).__name__})")

    def _violated(self, known: Incarnation | None, reason: str) -> None:
        self._tally.count("bad provider message")
        if known is not None and known.worker.epoch == known.epoch:
            known.worker.post(fsm.Violated(f"it broke the protocol: {reason}"))

    def _introduce(self, peer: bytes, message: schema.Message, floor: Floor) -> None:
        """The first message of a peer: a Hello with the right token, or nothing."""
        actor = self.actors.get(message.provider or "") if isinstance(message, schema.Hello) else None
        worker = actor.worker(message.epoch) if actor and isinstance(message, schema.Hello) else None
        if actor is None or worker is None or not isinstance(message, schema.Hello) or not worker.alive:
            self._tally.count("stale provider")
            return
        if not same(message.token or "", worker.token):
            self._tally.count("forged provider")
            return
        self._forget(actor)
        self._peers[peer] = Incarnation(actor, worker, worker.epoch)
        self._routes[actor.id, worker.epoch] = peer
        self._welcome(peer, actor, worker, message, floor)

    def _welcome(self, peer: bytes, actor: ProviderActor, worker: Worker, hello: schema.Hello, floor: Floor) -> None:
        proto = wire.agree(hello.proto_min, hello.proto_max)
        if proto is None:
            ours = f"this daemon speaks protocol {wire.PROTO_MIN} to {wire.PROTO_MAX}"
            self._link.send(peer, schema.encode(schema.Error(code="INCOMPATIBLE", message=ours)))
            worker.post(fsm.Faulted(f"it speaks protocol {hello.proto_min} to {hello.proto_max}; {ours}", True))
            return
        try:
            able = _capabilities(hello)
        except Violation as error:
            worker.post(fsm.Faulted(str(error), permanent=True))
            return
        welcome = schema.Welcome(proto=proto, boot=self._boot, session=actor.id, version=__version__, pid=os.getpid())
        self._link.send(peer, schema.encode(welcome))
        if able is None:
            # Fault follows. One that is not wanted would be asked to leave first, and the reason be lost.
            return
        worker.share(mapped=FEATURE in (hello.features or ()))
        actor.capabilities = able
        worker.post(fsm.HelloCame())
        floor.provider_described(actor.id)

    def _forget(self, actor: ProviderActor, *, everything: bool = False) -> None:
        """Peers of former incarnations, or all of them."""
        old = [
            peer
            for peer, known in self._peers.items()
            if known.actor is actor and (everything or known.worker.epoch != known.epoch)
        ]
        for peer in old:
            self._routes.pop((actor.id, self._peers.pop(peer).epoch), None)

    def _serve_one(self, known: Incarnation, message: schema.Message, payload: Payload, floor: Floor) -> None:
        if getattr(message, "epoch", known.epoch) not in (None, known.epoch):
            self._tally.count("stale epoch")
            return
        if isinstance(message, schema.Beat):
            self._beat(known.worker, message)
            return
        if isinstance(message, schema.Pong):
            self.on_pong(known.actor.id, known.epoch, message)
            return
        known.worker.post(fsm.Heard(sound=isinstance(message, schema.Chunk | schema.Resumed)))
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(known, message)
        elif not isinstance(message, schema.Bye | schema.Error):
            floor.from_provider(known.actor.id, known.epoch, message, payload)

    def _loading(self, known: Incarnation, message: schema.Message) -> None:
        assert isinstance(message, schema.Loading)
        known.worker.post(fsm.Extended(message.extend_ms / 1000))

    def _ready(self, known: Incarnation, message: schema.Message) -> None:
        assert isinstance(message, schema.Ready)
        if known.actor.capabilities is None:
            raise Violation("Ready, after a Hello without a capability document")
        known.worker.device, known.worker.vram = message.device, _vram(message, Vram())
        known.worker.post(fsm.Loaded())

    def _fault(self, known: Incarnation, message: schema.Message) -> None:
        assert isinstance(message, schema.Fault)
        rest = None if message.retry_ms is None else message.retry_ms / 1000
        known.worker.post(fsm.Faulted(message.message, bool(message.permanent), rest))

    def _beat(self, worker: Worker, message: schema.Beat) -> None:
        worker.vram = _vram(message, worker.vram)
        worker.post(fsm.Heard(steps=message.steps))


def _vram(message: schema.Ready | schema.Beat, before: Vram) -> Vram:
    """What is known of the accelerator's memory now: a message need not tell all of it."""
    told = (message.vram_bytes, message.vram_used_bytes, message.vram_total_bytes)
    return Vram(*(old if new is None else new for new, old in zip(told, before, strict=True)))


def _capabilities(hello: schema.Hello) -> Capabilities | None:
    """What the engine can do; None if it could not even be asked, and a Fault follows."""
    if hello.capabilities is None:
        return None
    if not is_plain(hello.capabilities):
        raise Violation("its capability document holds something else than plain data, or is nested too deep")
    try:
        return msgspec.convert(hello.capabilities, Capabilities)
    except msgspec.ValidationError as error:
        raise Violation(f"its capability document is wrong: {error}") from None


async def stop_all(actors: dict[str, ProviderActor], reason: str) -> None:
    """Ask every provider to leave and wait until all processes are gone; their own deadlines bound the wait."""
    for actor in actors.values():
        actor.stop(reason)
    async with anyio.create_task_group() as waiting:
        for actor in actors.values():
            waiting.start_soon(actor.gone)
