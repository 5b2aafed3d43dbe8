"""Recordings that providers are to listen to: what was asked, who is at it, and its one answer. A pure core: no socket, task or clock.

The recording is kept until there is an answer, for a provider may die while it listens. Of a prompt nothing is kept: it goes to
whoever asked, and comes back with each request that is to be spoken so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from voicebox_protocol import errors, fit, schema, wire
from voiceboxd.effects import Effect, Payload, ToClient, ToProvider, Violation
from voiceboxd.messages import REASON_TOLD

MAX_TRIES = 2
MOST = 16
MOST_OF_ONE = 4
PATIENCE_MS = 600_000
_BYTES_PER_FRAME = 4
_WORDS_TOLD = 4096


class Preparation(msgspec.Struct):
    """One recording. `name` is what providers know it by; `provider` is to listen, once that is decided, and the incarnation
    `epoch` is at it."""

    name: str
    ask: schema.PrepareVoice
    session: str
    audio: bytes
    deadline: float
    provider: str | None = None
    attempt: int = 0
    epoch: int | None = None
    failures: int = 0


class _Slot(NamedTuple):
    """One preparation that an incarnation has in work, or was asked to stop."""

    name: str
    attempt: int


class Preparations:
    """Owns the open questions, and which incarnation has what of them in work."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self.open: dict[str, Preparation] = {}
        self._slots: dict[tuple[str, int], set[_Slot]] = {}

    # --- what is in the books

    def in_work(self, provider: str, epoch: int) -> int:
        """How many this incarnation has."""
        return len(self._slots.get((provider, epoch), ()))

    def has(self, provider: str, epoch: int, name: str, attempt: int) -> bool:
        """Whether an incarnation was given this one."""
        return _Slot(name, attempt) in self._slots.get((provider, epoch), ())

    def waiting(self, provider: str) -> list[Preparation]:
        """Those that this provider could begin, the oldest first."""
        return [each for each in self.open.values() if each.provider == provider and each.epoch is None]

    def undecided(self) -> list[Preparation]:
        """Those of which it is not known who listens."""
        return [each for each in self.open.values() if each.provider is None]

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        return min((each.deadline for each in self.open.values()), default=None)

    # --- from its beginning to its end

    def admit(self, name: str, session: str, ask: schema.PrepareVoice, audio: bytes, now: float) -> Preparation:
        """Enter a question. Raises `BadRequest`, `BadReference` or `QueueFull`; from here on it has an answer."""
        check(ask, len(audio))
        own = sum(each.session == session for each in self.open.values())
        if own >= MOST_OF_ONE or len(self.open) >= MOST:
            raise errors.QueueFull(f"{len(self.open)} recordings wait to be listened to already, {own} of them yours")
        patience = PATIENCE_MS if ask.deadline_ms is None else min(ask.deadline_ms, PATIENCE_MS)
        preparation = Preparation(name, ask, session, audio, now + patience / 1000)
        self.open[name] = preparation
        return preparation

    def dispatch(self, preparation: Preparation, epoch: int, now: float) -> list[Effect]:
        """Hand it to an incarnation of its provider."""
        own, ask = preparation, preparation.ask
        assert own.provider is not None
        own.attempt += 1
        own.epoch = epoch
        self._slots.setdefault((own.provider, epoch), set()).add(_Slot(own.name, own.attempt))
        order = schema.Prepare(
            boot=self._boot,
            epoch=epoch,
            req=own.name,
            attempt=own.attempt,
            segment=0,
            sample_rate=ask.sample_rate,
            text=ask.text,
            model=ask.model,
            deadline_ms=max(0, int((own.deadline - now) * 1000)),
        )
        return [ToProvider(own.provider, epoch, order, own.audio)]

    def prepared(self, provider: str, epoch: int, done: schema.Prepared, prompt: Payload) -> list[Effect] | None:
        """It has been listened to. None if nobody asked, or asks any more; `Violation` if there is no prompt, or it is too much."""
        if not 0 < len(prompt) <= wire.MAX_PROMPT:
            raise Violation(f"a voice prompt of {len(prompt)} bytes")
        own = self._ended(provider, epoch, done.req, done.attempt)
        if own is None:
            return None
        del self.open[own.name]
        reply = schema.VoicePrepared(query=own.ask.query, provider=provider, model=done.model)
        return [ToClient(own.session, reply, bytes(prompt))]

    def failed(self, provider: str, epoch: int, failed: schema.SegmentFailed) -> list[Effect] | None:
        """The provider cannot use it, and says why; asked again it would say the same. None if it is stale."""
        own = self._ended(provider, epoch, failed.req, failed.attempt)
        if own is None:
            return None
        error = errors.from_wire(failed.code, failed.message)
        known = isinstance(error, errors.UsageError)
        return self.fail(own, error if known else errors.ProviderFailed(f"{provider}: {failed.message}"))

    def cancelled(self, provider: str, epoch: int, cancelled: schema.SegmentCancelled) -> list[Effect]:
        """A provider stopped as asked; `Violation` if nobody had asked."""
        if self._ended(provider, epoch, cancelled.req, cancelled.attempt) is not None:
            raise Violation("SegmentCancelled without Cancel")
        return []

    def provider_lost(self, provider: str, epoch: int, reason: str) -> list[Effect]:
        """An incarnation is gone: what it was listening to waits for the next one, once."""
        self._slots.pop((provider, epoch), None)
        effects: list[Effect] = []
        for own in [each for each in self.open.values() if (each.provider, each.epoch) == (provider, epoch)]:
            own.epoch = None
            own.failures += 1
            if own.failures >= MAX_TRIES:
                why = f"{provider} ended {own.failures} times while it listened: {reason[:REASON_TOLD]}"
                effects += self.fail(own, errors.ProviderFailed(why))
        return effects

    def abandon(self, provider: str, error: errors.VoiceboxError) -> list[Effect]:
        """Nobody will listen through this provider soon."""
        return [
            effect for own in list(self.open.values()) if own.provider == provider for effect in self.fail(own, error)
        ]

    def fail(self, own: Preparation, error: errors.VoiceboxError) -> list[Effect]:
        """It has no other answer than this; whoever is at it is told to stop."""
        reply = schema.Error(code=error.code, message=str(error)[:_WORDS_TOLD], query=own.ask.query)
        return [*self._drop(own), ToClient(own.session, reply)]

    def fail_all(self, error: errors.VoiceboxError) -> list[Effect]:
        """The daemon is ending."""
        return [effect for own in list(self.open.values()) for effect in self.fail(own, error)]

    def session_closed(self, session: str) -> list[Effect]:
        """Nobody waits for its answers any more."""
        own = [each for each in self.open.values() if each.session == session]
        return [effect for each in own for effect in self._drop(each)]

    def expire(self, now: float) -> list[Effect]:
        """Answer what is past its deadline."""
        late = [each for each in self.open.values() if each.deadline <= now]
        return [
            effect
            for each in late
            for effect in self.fail(
                each, errors.DeadlineExceeded("the recording was not listened to within its deadline")
            )
        ]

    def _drop(self, own: Preparation) -> Iterator[Effect]:
        del self.open[own.name]
        # Of whom it was taken away by its own word, nothing is asked any more.
        if (
            own.provider is not None
            and own.epoch is not None
            and self.has(own.provider, own.epoch, own.name, own.attempt)
        ):
            cancel = schema.Cancel(boot=self._boot, req=own.name, epoch=own.epoch, attempt=own.attempt, segment=0)
            yield ToProvider(own.provider, own.epoch, cancel)

    def _ended(self, provider: str, epoch: int, name: str, attempt: int) -> Preparation | None:
        """An incarnation is done with one: that, if somebody still waits for it."""
        slots = self._slots.get((provider, epoch), set())
        known = _Slot(name, attempt) in slots
        slots.discard(_Slot(name, attempt))
        if not slots:
            self._slots.pop((provider, epoch), None)
        own = self.open.get(name)
        return own if known and own is not None and own.attempt == attempt else None


def check(ask: schema.PrepareVoice, size: int) -> None:
    """Raise `BadRequest` or `BadReference` for a recording of `size` bytes that nobody could listen to."""
    fit.check_rate(ask.sample_rate)
    if size > wire.MAX_REFERENCE or size % _BYTES_PER_FRAME:
        raise errors.BadReference(f"{size} bytes are no float32 samples of at most {wire.MAX_REFERENCE} bytes")
    seconds = size / _BYTES_PER_FRAME / ask.sample_rate
    shortest, longest = wire.REFERENCE_S
    if not shortest <= seconds <= longest:
        raise errors.BadReference(f"the recording lasts {seconds:.1f} s; it takes {shortest} to {longest} s")
