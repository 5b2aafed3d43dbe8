"""Sound in shared memory on its way: taken from its provider, lent to a session that can read it there or copied for one that
cannot, and given back.
"""

from __future__ import annotations

from typing import Protocol

from voicebox_protocol import schema, wire
from voicebox_protocol.arena import SLOT_BYTES
from voiceboxd import provider_state as fsm
from voiceboxd.arenas import Arena, Arenas
from voiceboxd.effects import Effect, Payload, ToClient, ToProvider, Violation
from voiceboxd.ledger import Ledger
from voiceboxd.provider_gateway import ProviderGateway
from voiceboxd.worker import Worker


class Readers(Protocol):
    """Who may read shared memory."""

    def offer(self, session_id: str, arena: Arena) -> None:
        """Let a session map an arena, if it can."""

    def maps(self, session_id: str, arena: int) -> bool:
        """Whether a session has mapped it."""


class Lending:
    """Keeps the loans in step with the ledger, which knows nothing of where sound lies."""

    def __init__(self, arenas: Arenas, ledger: Ledger, gateway: ProviderGateway) -> None:
        self._arenas = arenas
        self._ledger = ledger
        self._gateway = gateway

    def chunk(
        self, provider: str, epoch: int, chunk: schema.Chunk, payload: Payload, now: float
    ) -> list[Effect] | None:
        """`Ledger.chunk`, for sound wherever it lies."""
        arena = chunk.descriptors[0][0]
        if not arena:
            return self._ledger.chunk(provider, epoch, chunk, payload, now)
        if payload:
            raise Violation(f"{len(payload)} bytes of payload beside pieces in an arena")
        slots = self._arenas.loans.take(self._gateway.arena(provider, epoch), chunk.descriptors)
        effects: list[Effect] | None = None
        lent = False
        try:
            due = self._ledger.due(provider, epoch, chunk.req, chunk.attempt)
            if due is False:
                # What is spoken before its turn is kept for long, and a loan is always somebody's who reads it.
                chunk, payload = self._arenas.copied(chunk)
            effects = self._ledger.chunk(provider, epoch, chunk, payload, now)
            lent = due is True and effects is not None
        finally:
            if not lent:
                self._arenas.give(arena, slots)
        return effects

    def to_client(self, effect: ToClient, chunk: schema.Chunk, readers: Readers) -> ToClient:
        """Sound for a session, in the form in which that can read it."""
        arena = chunk.descriptors[0][0]
        if not arena:
            return effect
        slots = [offset // SLOT_BYTES for _, offset, _, _ in chunk.descriptors]
        if readers.maps(effect.session, arena):
            self._arenas.loans.lend(effect.session, chunk.req, chunk.seq, arena, slots)
            return effect
        message, payload = self._arenas.copied(chunk)
        self._arenas.give(arena, slots)
        return ToClient(effect.session, message, payload)

    def kept(self, effect: ToClient) -> tuple[schema.Chunk, bytes]:
        """Sound that is kept until it was heard: its place in the arena is free at once."""
        chunk = effect.message
        assert isinstance(chunk, schema.Chunk)
        arena = chunk.descriptors[0][0]
        if not arena:
            return chunk, bytes(effect.payload or b"")
        slots = [offset // SLOT_BYTES for _, offset, _, _ in chunk.descriptors]
        message, payload = self._arenas.copied(chunk)
        self._arenas.give(arena, slots)
        return message, bytes(payload)

    def begins(self, worker: Worker, session: str, readers: Readers) -> list[tuple[int, int]] | None:
        """A worker begins to speak for a session, which may map its arena; gives which slots of that are free again."""
        if worker.arena is None:
            return None
        readers.offer(session, worker.arena)
        return next(self._arenas.loans.news(worker.arena.id, wire.MAX_RANGES), None)

    def credit(self, session: str, credit: schema.Credit) -> None:
        """A session is done with some sound. Who speaks, and has written much of its arena full, hears of it at once."""
        self._arenas.credit(session, credit.req, credit.first, credit.last)
        for actor in self._gateway.actors.values():
            for worker in actor.workers:
                arena = worker.arena if worker.phase is fsm.Phase.BUSY else None
                if arena is not None and self._arenas.loans.due(arena.id):
                    self._release(worker, arena)

    def session_left(self, session: str) -> None:
        """Nobody reads what was lent to a session any more."""
        self._arenas.session_closed(session)

    def _release(self, worker: Worker, arena: Arena) -> None:
        for slots in self._arenas.loans.news(arena.id, wire.MAX_RANGES):
            release = schema.Release(boot=self._ledger.boot, epoch=worker.epoch, slots=slots)
            self._gateway.send(ToProvider(worker.provider, worker.epoch, release))
