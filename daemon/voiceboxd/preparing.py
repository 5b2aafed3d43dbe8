"""Finds out who listens to a recording, and hands it over when a process has room: the shell around `Preparations`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from voicebox_protocol import errors, schema
from voiceboxd import clock, tokens
from voiceboxd import provider_state as fsm
from voiceboxd.candidates import Undecided, Wish
from voiceboxd.choice import choose
from voiceboxd.effects import Effect
from voiceboxd.logs import log
from voiceboxd.preparations import Preparation, Preparations
from voiceboxd.provider_actor import ProviderActor
from voiceboxd.provider_gateway import ProviderGateway
from voiceboxd.session import Session


class Floor(Protocol):
    """Where the work is done."""

    def do(self, effects: list[Effect]) -> None:
        """Carry out what the books say."""

    def pump(self, provider: str) -> None:
        """Give a provider what it can take."""

    def in_work(self, provider: str, epoch: int) -> int:
        """How much this incarnation has."""


class Preparing:
    """Owns the books of recordings, and when the first of them is late."""

    def __init__(self, boot: str, gateway: ProviderGateway, wish: Wish, floor: Floor, arm: Callable[[], None]) -> None:
        self.book = Preparations(boot)
        self._gateway = gateway
        self._wish = wish
        self._floor = floor
        self._arm = arm

    def ask(self, session: Session, message: schema.PrepareVoice, audio: bytes) -> None:
        """A client asks. Raises what is wrong with that; any other answer it is sent later."""
        if not session.attached:
            raise errors.HelloFirst("open session.sock with the token of Welcome before asking for a voice")
        own = self.book.admit(tokens.token(16), session.id, message, audio, clock.now())
        log.info("recording", bytes=len(audio), text=bool(message.text), session=session.id)
        self._arm()
        self._assign(own)

    def assign_waiting(self) -> None:
        """More is known of what providers can do."""
        for own in self.book.undecided():
            self._assign(own)

    def begin(self, actor: ProviderActor) -> bool:
        """Hand the oldest recording to a process that has room, if there are both; True if that was done."""
        waiting = self.book.waiting(actor.id)
        worker = actor.free_worker(self._floor.in_work) if waiting else None
        if worker is None:
            return False
        worker.post(fsm.JobStarted())
        self._floor.do(self.book.dispatch(waiting[0], worker.epoch, clock.now()))
        return True

    def _assign(self, own: Preparation) -> None:
        ask = own.ask
        say = schema.Say(boot="", req="", provider=ask.provider, model=ask.model)
        try:
            chosen = choose(say, self._gateway.candidates(), self._wish, cloned=True)
        except errors.VoiceboxError as error:
            self._floor.do(self.book.fail(own, error))
            return
        if not isinstance(chosen, Undecided):
            own.provider = chosen.provider
            self._floor.pump(chosen.provider)
            return
        for provider in chosen.ask:
            actor = self._gateway.actors[provider]
            # One that may not be the one need not load for it.
            if provider == ask.provider:
                actor.want()
            else:
                actor.describe()
