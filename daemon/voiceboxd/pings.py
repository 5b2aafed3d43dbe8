"""Questions whether a provider answers, that are on their way: each is answered once, by it or by its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from voicebox_protocol import errors, schema
from voiceboxd.effects import ToProvider
from voiceboxd.provider_actor import ProviderActor, find
from voiceboxd.provider_state import Phase
from voiceboxd.tally import Tally

_PATIENCE_MS = 5000
_LONGEST_MS = 600_000
# Of one client.
MOST = 64
# Who has said Hello, and hears; first who is the likeliest to answer.
_LISTENS = (Phase.BUSY, Phase.READY, Phase.LOADING, Phase.SUSPECT)

Answer = Callable[[schema.Pong | errors.VoiceboxError], None]


class Ping(NamedTuple):
    """One question: whom it was put to, and who waits for the answer."""

    provider: str
    epoch: int
    query: int
    answer: Answer
    deadline: asyncio.TimerHandle
    session: str


class Pings:
    """Owns the open questions, under numbers of the daemon's own."""

    def __init__(
        self,
        actors: dict[str, ProviderActor],
        send: Callable[[ToProvider], None],
        tally: Tally,
        boot: str,
    ) -> None:
        self._actors = actors
        self._send = send
        self._tally = tally
        self._boot = boot
        self._last = 0
        self._open: dict[int, Ping] = {}

    def ask(self, session: str, message: schema.Ping, answer: Answer) -> None:
        """Put a client's question. Raises `NoSuchProvider`, `Refused` if it is not running, or `QueueFull`."""
        actor = find(self._actors, message.provider)
        there = [worker for worker in actor.workers if worker.phase in _LISTENS]
        if not there:
            raise errors.Refused(f"{actor.id} is {actor.phase}; start it with: voicebox provider start {actor.id}")
        worker = min(there, key=lambda one: _LISTENS.index(one.phase))
        if sum(ping.session == session for ping in self._open.values()) >= MOST:
            raise errors.QueueFull(f"{MOST} of your questions to providers are open already")
        self._last = number = (self._last + 1) % 2**32
        patience = _PATIENCE_MS if message.deadline_ms is None else min(message.deadline_ms, _LONGEST_MS)
        deadline = asyncio.get_running_loop().call_later(patience / 1000, self._too_late, number)
        self._open[number] = Ping(actor.id, worker.epoch, message.query, answer, deadline, session)
        ping = schema.Ping(boot=self._boot, epoch=worker.epoch, query=number)
        self._send(ToProvider(actor.id, worker.epoch, ping))

    def answered(self, provider: str, epoch: int, pong: schema.Pong) -> None:
        """A provider has answered; what nobody asked it, or not any more, is dropped and counted."""
        ping = self._open.get(pong.query)
        if ping is None or (ping.provider, ping.epoch) != (provider, epoch):
            self._tally.count("stale pong")
            return
        del self._open[pong.query]
        ping.deadline.cancel()
        ping.answer(schema.Pong(query=ping.query, epoch=epoch))

    def session_closed(self, session: str) -> None:
        """Nobody waits for its answers any more."""
        for number, ping in [each for each in self._open.items() if each[1].session == session]:
            ping.deadline.cancel()
            del self._open[number]

    def _too_late(self, number: int) -> None:
        ping = self._open.pop(number, None)
        if ping is not None:
            ping.answer(
                errors.DeadlineExceeded(
                    f"{ping.provider} has not answered in time; a fresh process: voicebox provider restart {ping.provider}"
                )
            )
