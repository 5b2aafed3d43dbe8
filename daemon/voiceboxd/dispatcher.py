"""Brings requests and providers together: carries the ledger's effects out and decides what is dispatched when.

Everything runs to its end without waiting, in the task that received the message; the ledger is never seen half-way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import anyio
import msgspec

from voicebox_protocol import errors, schema
from voicebox_protocol.capabilities import Capabilities, speaks
from voicebox_protocol.configuration import Config
from voiceboxd import clock, scheduler, tokens
from voiceboxd import provider_state as fsm
from voiceboxd.arenas import Arenas
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.candidates import Undecided, Wish
from voiceboxd.choice import choose
from voiceboxd.effects import Decided, Effect, Payload, Seek, ToClient, ToProvider, Violation
from voiceboxd.failover import successor
from voiceboxd.ledger import Ledger
from voiceboxd.lending import Lending, Readers
from voiceboxd.logs import log
from voiceboxd.loudspeaker import Loudspeaker
from voiceboxd.preparing import Preparing
from voiceboxd.provider_actor import ProviderActor
from voiceboxd.provider_gateway import ProviderGateway
from voiceboxd.request import SPEAKER, Assignment, Request, Work
from voiceboxd.resumption import standing
from voiceboxd.segmentation import has_words
from voiceboxd.session import Session
from voiceboxd.tally import Tally
from voiceboxd.timers import Timers
from voiceboxd.window import Window, longest_idle, patience_ends


class Outbox(Readers, Protocol):
    """Where messages to clients go."""

    def send(self, effect: ToClient) -> None:
        """Send, or notice that the client is gone."""


class Dispatcher:
    """Owns the ledger and who was served when."""

    def __init__(
        self,
        ledger: Ledger,
        gateway: ProviderGateway,
        arenas: Arenas,
        *,
        config: Config,
        timers: Timers,
        tally: Tally,
        audio: AudioSettings,
    ) -> None:
        self.ledger = ledger
        self._gateway = gateway
        self._lending = Lending(arenas, ledger, gateway)
        self._config = config
        self._wish = Wish(config.speech.voice, config.speech.provider, config.order)
        self._deadline = timers.timer(self._expire)
        self.loudspeaker = Loudspeaker(ledger, timers, audio, do=self._do, pump=self._pump)
        self.preparing = Preparing(ledger.boot, gateway, self._wish, self, self._arm)
        self._tally = tally
        self._served: dict[str, int] = {}
        self._doubted: set[str] = set()
        self._turn = 0
        self._outbox: Outbox
        self._stopping = False
        self._busy = False
        self._starved = False
        self._memory = timers.timer(self._pump_starved)
        self._described = anyio.Event()
        self._unacknowledged: set[tuple[str, str]] = set()
        self._settled = anyio.Event()
        self.on_idle: Callable[[], None] = lambda: None

    def speak_through(self, outbox: Outbox) -> None:
        """Where messages to clients go from now on."""
        self._outbox = outbox

    # --- from clients

    def say(self, session: Session, say: schema.Say, text: str, prompt: bytes | None = None) -> None:
        """A client asks for speech, like a recording if a voice prompt came with that."""
        refusal = self._refusal(session, say)
        if refusal is not None:
            self.refuse(session, say, refusal)
            return
        now = clock.now()
        if say.replay is not None:
            try:
                say, text, prompt = self.loudspeaker.replays.again(say)
            except errors.NoSuchRequest as error:
                self.refuse(session, say, error)
                return
        if say.sink == "speaker" and say.priority == "important":
            # Rather twice than a word of it, and rather by another voice than by none; a voice prompt is for its own.
            say.on_failure = say.on_failure or "segment"
            if say.any_voice is None and prompt is None:
                say.any_voice = True
        seed = say.seed if say.seed is not None else tokens.seed()
        request = self.ledger.admit(say, session.id, text, seed, now, prompt)
        if request.aloud:
            self.loudspeaker.enter(request, text)
        self._busy = True
        log.info("request", req=say.req, chars=len(text), more=bool(say.more), session=session.id)
        self._served.setdefault(request.listener, self._turn)
        if not say.more and not has_words(text) and not say.from_segment:
            nothing = errors.NothingToSay("the text holds no letter and no digit")
            self._do(self.ledger.fail(request, nothing, now))
        else:
            self._assign(request)
            if request.aloud:
                self.loudspeaker.queue(request)
        self._arm()

    def prepare_voice(self, session: Session, message: schema.PrepareVoice, audio: bytes) -> None:
        """A client has a recording that somebody is to listen to. Raises what is wrong with that."""
        if self._stopping:
            raise errors.ShuttingDown("the daemon is ending")
        self._busy = True
        self.preparing.ask(session, message, audio)

    def _refusal(self, session: Session, say: schema.Say) -> errors.VoiceboxError | None:
        if not session.attached:
            return errors.HelloFirst("open session.sock with the token of Welcome before asking for speech")
        if self._stopping:
            return errors.ShuttingDown("the daemon is ending")
        if self.ledger.knows(say.req):
            return errors.DuplicateRequest(f"a request {say.req} exists already")
        try:
            standing(say)
        except errors.BadRequest as error:
            return error
        limits = self._config.daemon
        own = sum(request.session == session.id for request in self.ledger.requests.values())
        if say.detached:
            # Those whose clients have gone are together one client's.
            own = max(own, sum(not request.session for request in self.ledger.requests.values()))
        if len(self.ledger.requests) >= limits.max_requests or own >= limits.max_requests_per_client:
            return errors.QueueFull(f"{len(self.ledger.requests)} requests wait already, {own} of them yours")
        return None

    def refuse(self, session: Session, say: schema.Say, error: errors.VoiceboxError) -> None:
        """A request that never entered the ledger has its end too."""
        self._tally.count("refused request")
        failed = schema.Failed(
            boot=self.ledger.boot,
            req=say.req,
            frames=0,
            segments=0,
            delivered_chars=0,
            seed=say.seed,
            attempts=[],
            total_ms=0.0,
            code=error.code,
            message=str(error),
        )
        self._outbox.send(ToClient(session.id, failed))

    def text(self, session: Session, message: schema.Text, text: str) -> None:
        """More text of a request."""
        request = self.ledger.owned(session.id, message.req)
        if request is not None:
            if request.aloud:
                self.loudspeaker.text(message.req, text)
            self._do(self.ledger.text(request, text, bool(message.last), clock.now()))
            self._pump(request)

    def give_up(self, session: Session, req: str, error: errors.VoiceboxError) -> None:
        """A request that goes on cannot: its text could not be read, or something of ours went wrong with it."""
        request = self.ledger.owned(session.id, req)
        if request is not None:
            self._do(self.ledger.fail(request, error, clock.now()))

    def credit(self, session: Session, message: schema.Credit) -> None:
        """The client is done with some sound."""
        self._lending.credit(session.id, message)
        self._credit(session.id, message)

    def player_credit(self, message: schema.Credit) -> None:
        """The player is done with some sound: it was heard, or will not be."""
        if self.loudspeaker.credit(message):
            self._credit(SPEAKER, message)

    def _credit(self, listener: str, message: schema.Credit) -> None:
        window = self.ledger.windows.get(listener)
        if window is None:
            return
        was_open = window.open
        window.credit(message.req, message.first, message.last, clock.now())
        for provider in list(self._doubted):
            self._hedge(provider)
            if provider in self._doubted:
                self._pump_provider(provider)
        if self._starved:
            self._pump_starved()
        elif not was_open and (window.open or not window.holds(message.req)):
            self._pump_all()

    def cancel(self, session: Session, req: str) -> None:
        """The client stops its request."""
        request = self.ledger.owned(session.id, req)
        if request is not None:
            self._do(self.ledger.cancel(request, clock.now()))

    def stop(self, req: str | None, everything: bool) -> list[str]:
        """Anybody stops requests: one, all, or those for the loudspeaker. Gives their names."""
        if req is not None and req not in self.ledger.requests:
            raise errors.NoSuchRequest(f"no request {req!r} is queued or being spoken")
        chosen = [
            request
            for request in list(self.ledger.requests.values())
            if request.req == req or (req is None and (everything or request.say.sink == "speaker"))
        ]
        for request in chosen:
            self._do(self.ledger.cancel(request, clock.now()))
        if req is None:
            self.loudspeaker.stopped()
        return [request.req for request in chosen]

    def acknowledge(self, session: Session, req: str) -> None:
        """The client has a terminal message."""
        self._unacknowledged.discard((session.id, req))
        self._settled.set()
        window = self.ledger.windows.get(session.id)
        was_open = window is None or window.open
        self.ledger.forget(session.id, req)
        if not was_open or self._starved:
            self._pump_all()

    def session_closed(self, session: str) -> None:
        """A client is gone, and with it whoever could be told how its requests end."""
        for request in self.ledger.requests.values():
            if request.session == session:
                log.info("end", req=request.req, state="cancelled", code="CLIENT_GONE", frames=request.frames)
        self._do(self.ledger.session_closed(session, clock.now()))
        self._do(self.preparing.book.session_closed(session))
        self._served.pop(session, None)
        self._unacknowledged = {entry for entry in self._unacknowledged if entry[0] != session}
        self._settled.set()
        self._pump_all()

    def session_left(self, session: str) -> None:
        """Nobody reads what was lent to a client any more."""
        self._lending.session_left(session)

    # --- from providers

    def provider_described(self, _: str) -> None:
        """It is known what a provider can do: requests may wait for that."""
        self._tell_described()
        self._assign_waiting()

    def _tell_described(self) -> None:
        self._described.set()
        self._described = anyio.Event()

    def provider_up(self, provider: str) -> None:
        """A provider takes work: first what one of whom nobody knows whether it lives has had."""
        self._hedge(provider)
        self._pump_provider(provider)

    def provider_lost(self, provider: str, epoch: int, reason: str, *, gone: bool) -> None:
        """What an incarnation had in work is lost, and if `gone` what waits for it too."""
        self._do(self.ledger.provider_lost(provider, epoch, reason, clock.now()))
        self._do(self.preparing.book.provider_lost(provider, epoch, reason))
        if gone:
            self.abandon(provider, reason)
        self._pump_provider(provider)

    def abandon(self, provider: str, reason: str) -> None:
        """Nobody will speak through this provider soon: what it has, or what waits for it, goes to others or fails."""
        error = errors.ProviderFailed(self._why(provider, reason))
        for request in [r for r in self.ledger.requests.values() if _assigned(r) == provider]:
            self._do(self.ledger.strand(request, error))
        self._do(self.preparing.book.abandon(provider, error))
        self._tell_described()
        self._assign_waiting()

    def provider_doubted(self, provider: str) -> None:
        """A worker owes a sign of life: what it has in work goes to whoever is free."""
        self._doubted.add(provider)
        self._hedge(provider)
        self._pump_provider(provider)

    def _hedge(self, provider: str) -> None:
        actor = self._gateway.actors.get(provider)
        if actor is None:  # it was removed
            self._doubted.discard(provider)
            return
        suspects = [worker for worker in actor.workers if worker.phase is fsm.Phase.SUSPECT]
        if not suspects:
            self._doubted.discard(provider)
        for worker in suspects:
            if actor.free_worker(self.in_work) is not None:
                self._do(self.ledger.take_over(provider, worker.epoch))

    def leave(self, provider: str, epoch: int, reason: str) -> bool:
        return self._gateway.leave(provider, epoch, reason)

    def from_provider(self, provider: str, epoch: int, message: schema.Message, payload: Payload) -> None:
        """Sound, or the end of a segment."""
        now, ledger, recordings = clock.now(), self.ledger, self.preparing.book
        held = self.in_work(provider, epoch)
        effects: list[Effect] | None
        match message:
            case schema.Prepared():
                effects = recordings.prepared(provider, epoch, message, payload)
            case schema.SegmentFailed() if recordings.has(provider, epoch, message.req, message.attempt):
                effects = recordings.failed(provider, epoch, message)
            case schema.SegmentCancelled() if recordings.has(provider, epoch, message.req, message.attempt):
                effects = recordings.cancelled(provider, epoch, message)
            case schema.Chunk():
                effects = self._lending.chunk(provider, epoch, message, payload, now)
            case schema.Resumed():
                effects = ledger.resumed(provider, epoch, message, now)
            case schema.SegmentDone():
                effects = ledger.segment_done(provider, epoch, message, now)
            case schema.SegmentFailed():
                effects = ledger.segment_failed(provider, epoch, message, now)
            case schema.SegmentCancelled():
                effects = ledger.segment_cancelled(provider, epoch, message)
            case _:
                raise Violation(f"it sent {type(message).__name__}")
        if self.in_work(provider, epoch) < held:
            # Not for a message that repeats the end of a segment: the state machine would count one too few.
            unwanted = effects is None or isinstance(message, schema.SegmentCancelled)
            delivered = isinstance(message, schema.SegmentDone | schema.Prepared)
            self._job_ended(provider, epoch, delivered=delivered, unwanted=unwanted)
        if effects is None:
            self._tally.count("stale attempt")
        self._do(effects or [])
        if not isinstance(message, schema.Chunk):
            self._pump_provider(provider)

    def _job_ended(self, provider: str, epoch: int, *, delivered: bool, unwanted: bool) -> None:
        worker = self._gateway.worker(provider, epoch)
        if worker is not None:
            worker.post(fsm.JobEnded(delivered, unwanted))
            if delivered:
                self._gateway.actors[provider].segment_done(worker)

    # --- choosing and dispatching

    def _assign_waiting(self) -> None:
        self.preparing.assign_waiting()
        for request in list(self.ledger.requests.values()):
            if not (request.ended or request.verdict) and (request.assignment is None or request.stranded):
                self._assign(request)

    def _assign(self, request: Request) -> None:
        """Find who speaks a request that is new or stranded; if there is nobody, it ends."""
        now = clock.now()
        try:
            chosen = self._choose(request)
        except errors.VoiceboxError as error:
            self._do(self.ledger.fail(request, error, now))
            return
        if isinstance(chosen, Undecided):
            for provider in chosen.ask:
                self._demand(provider, request)
            return
        if request.stranded:
            log.info("failover", req=request.req, provider=chosen.provider, code=request.stranded.code)
            self._do(self.ledger.hand_on(request, chosen, now))
        else:
            self._do(self.ledger.accept(request, chosen, now))
        self._pump(request)

    def _choose(self, request: Request) -> Assignment | Undecided:
        candidates = self._gateway.candidates()
        if request.stranded:
            return successor(request, candidates, self._wish)
        return choose(request.say, candidates, self._wish, cloned=request.prompt is not None)

    def _why(self, provider: str, reason: str) -> str:
        """Why nobody waits for a provider any more, in words."""
        own = next((each for each in self._gateway.candidates() if each.id == provider and each.trouble), None)
        return own.troubled().why if own else f"{provider}: {reason}"

    def _demand(self, provider: str, request: Request | None, *, speak: bool = True) -> None:
        actor = self._gateway.actors[provider]
        if request is not None and actor.phase is fsm.Phase.STOPPED:
            notice = schema.Notice(
                boot=self.ledger.boot, req=request.req, code="STARTING", message=f"starting {provider}"
            )
            self._do([ToClient(request.session, notice)])
        if speak:
            actor.want()
        else:
            actor.describe()

    def describe_all(self) -> None:
        """Start every provider of which it is not known what it can do."""
        for actor in self._gateway.actors.values():
            if actor.capabilities is None and actor.trouble is None:
                self._demand(actor.id, None, speak=False)

    @property
    def all_described(self) -> bool:
        """Whether of each provider it is known what it can do, or why it cannot be known."""
        return all(actor.capabilities or actor.trouble for actor in self._gateway.actors.values())

    def voices(self, provider: str | None, language: str | None) -> list[dict[str, Any]]:
        """Every voice that is installed, for the `Voices` query."""
        actors = self._gateway.actors
        if provider is not None and provider not in actors:
            raise errors.NoSuchProvider(f"no provider is called {provider!r}; there is {', '.join(actors)}")
        return [
            voice
            for actor in actors.values()
            if actor.capabilities and provider in (None, actor.id)
            for voice in voices_of(actor.id, actor.capabilities)
            if language is None or speaks(voice["languages"], language)
        ]

    @property
    def described(self) -> anyio.Event:
        """Set when a provider next says what it can do, or is given up."""
        return self._described

    def _pump(self, request: Request) -> None:
        provider = _assigned(request)
        # All of it may be made, and whoever did that be gone.
        if provider in self._gateway.actors and request.verdict is None:
            self._pump_provider(provider)

    def pump(self, provider: str) -> None:
        """Give a provider what it can take."""
        self._pump_provider(provider)

    def do(self, effects: list[Effect]) -> None:
        """Carry out what the books say."""
        self._do(effects)

    def _pump_all(self) -> None:
        for provider in self._gateway.actors:
            self._pump_provider(provider)

    def _pump_provider(self, provider: str) -> None:
        """Give a provider as much as it takes, and let it have as many processes as it needs."""
        actor, now = self._gateway.actors[provider], clock.now()
        serving = any(worker.serving for worker in actor.workers)
        if not serving and self.preparing.book.waiting(provider):
            self._demand(provider, None)
        while serving and self.preparing.begin(actor):
            pass
        # Whose turn it is need not be known where nobody could take it.
        while not serving or actor.free_worker(self.in_work) is not None:
            if (request := self._next_for(provider)) is None:
                break
            if not serving:
                self._demand(provider, request)
                break
            if not self._memory_left(ahead=False):
                self._starve()
                break
            if broken := self.ledger.renew(request, actor.fingerprint, now):
                self._do(broken)
                continue
            assert request.work is not None
            self._dispatch(actor, request, request.work)
        while self._may_look_ahead(actor) and (later := self._next_ahead(provider)) is not None:
            self._dispatch(actor, *later)
        if actor.worn and not any(
            _assigned(request) == provider and request.attempts and not request.verdict
            for request in self.ledger.requests.values()
        ):
            actor.between_requests()
        actor.review()

    def _may_look_ahead(self, actor: ProviderActor) -> bool:
        """Only a worker with nothing else to do speaks what is not due yet."""
        if not actor.depth or (worker := actor.free_worker(self.in_work)) is None:
            return False
        return not self.in_work(actor.id, worker.epoch) and self._memory_left()

    def _dispatch(self, actor: ProviderActor, request: Request, work: Work) -> None:
        worker = actor.free_worker(self.in_work)
        assert worker is not None
        self._turn += 1
        self._served[request.listener] = self._turn
        worker.post(fsm.JobStarted())
        free = self._lending.begins(worker, request.listener, self._outbox)
        self._do(self.ledger.dispatch(request, work, worker.epoch, clock.now(), free))

    def in_work(self, provider: str, epoch: int) -> int:
        """How many segments this incarnation has, and recordings that it listens to."""
        return self.ledger.in_work(provider, epoch) + self.preparing.book.in_work(provider, epoch)

    def waiting(self, provider: str) -> int:
        """How many segments, and recordings, a worker of this provider could begin, if there were one."""
        depth, ledger = self._gateway.actors[provider].depth, self.ledger
        own = [request for request in ledger.requests.values() if _assigned(request) == provider]
        due = sum(scheduler.may_begin(request, ledger.windows) for request in own)
        due += len(self.preparing.book.waiting(provider))
        later = [r for r in own if depth and not r.waits and ledger.look_ahead(r, depth) is not None]
        doubted = [worker for worker in self._gateway.actors[provider].workers if worker.phase is fsm.Phase.SUSPECT]
        due += sum(ledger.movable(provider, worker.epoch) for worker in doubted)
        return due + sum(depth - sum(work.attempt is not None for work in request.ahead) for request in later)

    def _next_for(self, provider: str) -> Request | None:
        own = (request for request in self.ledger.requests.values() if _assigned(request) == provider)
        return scheduler.pick(own, self.ledger.windows, self._served)

    def _next_ahead(self, provider: str) -> tuple[Request, Work] | None:
        """A segment that is not due yet, of the request whose turn it is."""
        own = [request for request in self.ledger.requests.values() if _assigned(request) == provider]
        for request in sorted(own, key=lambda request: scheduler.rank(request, self._served)):
            if (work := self.ledger.look_ahead(request, self._gateway.actors[provider].depth)) is not None:
                return request, work
        return None

    def _memory_left(self, *, ahead: bool = True) -> bool:
        """Whether there is room for more sound; if not, whoever holds some without reading it makes room."""
        budget = self._config.daemon.audio_memory_mb * 1_000_000
        now = clock.now()
        while self.ledger.held_bytes(ahead=ahead) >= budget:
            session = longest_idle(self._streams, now)
            if session is None:
                return False
            self._stall(session, now)
        return True

    def _starve(self) -> None:
        """Wait for memory: until somebody gives credit, or until the idlest may be ended."""
        self._starved = True
        self._memory.set(patience_ends(self._streams))

    @property
    def _streams(self) -> dict[str, Window]:
        """Whose windows are read by clients. A paused loudspeaker is in nobody's way: it holds one window, and is to go on where it was."""
        return {listener: window for listener, window in self.ledger.windows.items() if listener != SPEAKER}

    def _pump_starved(self) -> None:
        self._starved = False
        self._pump_all()

    def _stall(self, session: str, now: float) -> None:
        log.warning("stalled", session=session)
        stalled = errors.Stalled("nothing was read for over a minute while memory was needed")
        for request in [r for r in self.ledger.requests.values() if r.listener == session]:
            self._do(self.ledger.fail(request, stalled, now))
        self.ledger.windows[session].forget_all()

    # --- ends

    def _expire(self) -> None:
        self._do(self.ledger.expire(clock.now()))
        self._do(self.preparing.book.expire(clock.now()))
        self._arm()

    def _arm(self) -> None:
        ends = (self.ledger.next_deadline(), self.preparing.book.next_deadline())
        self._deadline.set(min((each for each in ends if each is not None), default=None))

    def refuse_more(self) -> None:
        """The daemon is ending: no more requests."""
        self._stopping = True

    def fail_all(self) -> None:
        """The daemon is ending: end what is left."""
        gone = errors.ShuttingDown("the daemon is ending")
        for request in list(self.ledger.requests.values()):
            self._do(self.ledger.fail(request, gone, clock.now()))
        self._do(self.preparing.book.fail_all(gone))

    async def acknowledged(self) -> None:
        """Wait until every client has read how its requests ended."""
        while self._unacknowledged:
            self._settled = anyio.Event()
            await self._settled.wait()

    @property
    def idle(self) -> bool:
        """Whether no request is here, and no recording."""
        return not self.ledger.requests and not self.preparing.book.open

    def _to_loudspeaker(self, effect: ToClient) -> None:
        if isinstance(effect.message, schema.Chunk):
            chunk, payload = self._lending.kept(effect)
            self.loudspeaker.sound(chunk, payload)
        elif isinstance(effect.message, schema.Reset):
            self.loudspeaker.reset(effect.message)

    def _ended(self, session: str, end: schema.Done | schema.Failed | schema.Cancelled) -> None:
        if self._stopping and session:
            self._unacknowledged.add((session, end.req))
        _log_end(end)

    def _do(self, effects: list[Effect]) -> None:
        stranded = [self.ledger.requests[effect.req] for effect in effects if isinstance(effect, Seek)]
        decided = [effect.req for effect in effects if isinstance(effect, Decided)]
        for effect in effects:
            if isinstance(effect, ToProvider):
                self._gateway.send(effect)
            elif isinstance(effect, ToClient):
                if effect.session == SPEAKER:
                    self._to_loudspeaker(effect)
                    continue
                if isinstance(effect.message, schema.Chunk):
                    effect = self._lending.to_client(effect, effect.message, self._outbox)
                elif isinstance(effect.message, schema.Done | schema.Failed | schema.Cancelled):
                    self._ended(effect.session, effect.message)
                self._outbox.send(effect)
        for request in stranded:
            self._assign(request)
        for req in decided:
            self.loudspeaker.decided(req)
        if self._busy and self.idle:
            self._busy = False
            self.on_idle()


def _log_end(end: schema.Done | schema.Failed | schema.Cancelled) -> None:
    log.info(
        "end",
        req=end.req,
        state=type(end).__name__.lower(),
        code=getattr(end, "code", None),
        provider=end.provider,
        frames=end.frames,
        total_ms=round(end.total_ms, 1),
    )


def voices_of(provider: str, capabilities: Capabilities) -> list[dict[str, Any]]:
    """A provider's voices as `VoicesReply` tells them."""
    default = capabilities.default_voice()
    return [
        {**msgspec.to_builtins(voice), "provider": provider, "default": voice is default}
        for voice in capabilities.voices
    ]


def _assigned(request: Request) -> str | None:
    return request.assignment.provider if request.assignment else None
