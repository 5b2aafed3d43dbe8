"""Providers started, stopped and restarted by hand: who asks is answered once it has happened, or why it has not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio

from voicebox_protocol import errors, wire
from voiceboxd import provider_state as fsm
from voiceboxd.ledger import Ledger
from voiceboxd.logs import log
from voiceboxd.process import log_of, tail
from voiceboxd.provider_actor import ProviderActor, find

_READY = frozenset({fsm.Phase.READY, fsm.Phase.BUSY})
_BY_HAND = "it was stopped by hand"
_LOOK_AGAIN_S = 0.2


class ProviderControl:
    """Asks the actors for what somebody wants of them, and waits until it is so. Owns nothing."""

    def __init__(self, actors: Mapping[str, ProviderActor], ledger: Ledger, log_dir: Path) -> None:
        self._actors = actors
        self._ledger = ledger
        self._log_dir = log_dir
        self._actions: dict[str, Callable[[str], Awaitable[ProviderActor]]] = {
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
        }

    async def carry_out(self, action: str, provider: str) -> ProviderActor:
        """Do what an action of `wire.ACTIONS` names. Raises `BadRequest`, `NoSuchProvider` or `ProviderFailed`."""
        if action not in self._actions:
            raise errors.BadRequest(f"action is {action!r}; it takes {', '.join(wire.ACTIONS)}")
        log.info("provider by hand", provider=provider, action=action)
        return await self._actions[action](provider)

    async def start(self, provider: str) -> ProviderActor:
        """Have it loaded; done when it takes work. One that had failed for good, or for long, is tried anew.

        Raises `ProviderFailed` with the reason and the last lines that this start wrote to its log.
        """
        actor = find(self._actors, provider)
        if actor.trouble is not None:
            actor.stop(_BY_HAND)
            await actor.gone()
        written = _Written(log_of(self._log_dir, provider))
        actor.want()
        while actor.phase not in _READY:
            if actor.retired or actor.trouble is not None or actor.phase is fsm.Phase.STOPPED:
                raise errors.ProviderFailed(_why(actor, written.tail()))
            await actor.changed()
        return actor

    async def stop(self, provider: str) -> ProviderActor:
        """Let it speak what was asked of it so far, then end it; done when no process of it is left.

        Whoever asks it to speak later has it started again.
        """
        actor = find(self._actors, provider)
        await self._spoken(actor)
        actor.stop(_BY_HAND)
        await actor.gone()
        return actor

    async def restart(self, provider: str) -> ProviderActor:
        """End its process when the segments in work are finished, and start another; requests go on with that one."""
        actor = find(self._actors, provider)
        actor.stop(_BY_HAND)
        await actor.gone()
        return await self.start(provider)

    async def _spoken(self, actor: ProviderActor) -> None:
        """Wait until the requests that are its own now have ended: a next segment would start it again at once."""
        own = self._requests(actor.id)
        while own := own & self._requests(actor.id):
            # A request that is cancelled while it waits is nothing that happens to its provider: look again.
            with anyio.move_on_after(_LOOK_AGAIN_S):
                await actor.changed()

    def _requests(self, provider: str) -> set[str]:
        return {
            req
            for req, request in self._ledger.requests.items()
            if request.assignment is not None
            and request.assignment.provider == provider
            # What waits for the loudspeaker, or is being heard, is no work of its provider's.
            and not (request.held_back or request.verdict)
        }


class _Written:
    """What a provider writes to its log from now on: what it wrote before may quote texts, and is nobody's reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._size()

    def tail(self) -> list[str]:
        """The last lines of it. A log that has shrunk was rotated, and is all new."""
        return tail(self._path, self._start if self._size() >= self._start else 0)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def _why(actor: ProviderActor, lines: list[str]) -> str:
    reason = "it was removed" if actor.retired else actor.trouble or actor.reason or "it was stopped"
    more = [line for line in lines if line not in reason]
    return "\n  ".join([f"{actor.id} is not ready: {reason}", *more])
