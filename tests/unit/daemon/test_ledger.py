"""The ledger: whatever happens in whatever order, every request ends once and its client has the sound it was told of."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from voicebox_protocol import errors, schema, wire
from voiceboxd.effects import Effect, Seek, ToClient, ToProvider, Violation
from voiceboxd.ledger import LONGEST_SEGMENT, Ledger
from voiceboxd.request import Assignment, Passed, Request, Speaker, Work, segment_seed
from voiceboxd.resumption import Standing
from voiceboxd.scripts import foreign_words
from voiceboxd.segmentation import Segmenter

BOOT = "b00t"
RATE = 8_000
EXACT = Assignment(
    "exact",
    "anna",
    "en",
    RATE,
    max_chars=40,
    streaming=True,
    deterministic=True,
    scripts=("Latn", "Grek"),
    fingerprint="one",
)
TWIN = EXACT._replace(provider="twin")
WILD = Assignment("wild", "bert", "en", RATE, max_chars=60)
# What the daemon before had spoken of a request that goes on.
BEFORE = Standing(segment=5, char=100, base=50)
ASSIGNMENTS = {each.provider: each for each in (EXACT, TWIN, WILD)}

TO_CLIENT = schema.Decoder(wire.DAEMON_TO_CLIENT)
TO_PROVIDER = schema.Decoder(wire.DAEMON_TO_PROVIDER)

PHRASES = ["Hello there. ", "Dr. Who?\n", "It rains, and then it stops again. ", "x" * 45]
PROSE = st.lists(st.sampled_from(PHRASES), min_size=1, max_size=4).map("".join)
TEXTS = PROSE | st.lists(st.sampled_from([*PHRASES, "… ", "\n\n", "Да. ", "é"]), max_size=6).map("".join)


def samples(assignment: Assignment, seed: int, text: str, salt: object = "") -> bytes:
    """What a provider makes of a segment; a deterministic one whatever the incarnation, and so does its twin."""
    dice = random.Random(
        f"{assignment.fingerprint or assignment.provider} {seed} {text} {'' if assignment.deterministic else salt}"
    )
    return dice.randbytes(4 * dice.choice((0, 1, *range(2, 60))))


def pieces(sound: bytes, counts: Iterable[int]) -> tuple[list[tuple[int, int, int, int]], bytes]:
    """Descriptors and payload for consecutive pieces of so many frames."""
    described, at = [], 0
    for count in counts:
        described.append((0, at, count, zlib.crc32(sound[at : at + 4 * count])))
        at += 4 * count
    return described, sound[:at]


def thought(sound: bytes, frames: int) -> bytes:
    """What an engine keeps that has come so far: a byte for each frame."""
    return sound[: 4 * frames : 4]


@dataclass
class Job:
    """One segment that an incarnation was told to speak."""

    provider: str
    epoch: int
    order: schema.Synthesize
    sound: bytes
    sent: int
    seq: int = 0
    proof_owed: bool = False
    cancelled: bool = False
    kept: int = 0

    @property
    def name(self) -> tuple[str, int, str, int]:
        return self.provider, self.epoch, self.order.req, self.order.attempt

    @property
    def common(self) -> dict[str, object]:
        order = self.order
        return {"epoch": self.epoch, "req": order.req, "attempt": order.attempt, "segment": order.segment}

    def next_chunk(self, counts: Iterable[int]) -> tuple[schema.Chunk, bytes]:
        described, payload = pieces(self.sound[4 * self.sent :], counts)
        state = thought(self.sound, self.sent + len(payload) // 4)[self.kept :]
        return schema.Chunk(**self.common, seq=self.seq, descriptors=described, state=state), payload

    def proof(self) -> schema.Resumed:
        crc = zlib.crc32(self.sound[: 4 * self.sent])
        return schema.Resumed(**self.common, frames=self.sent, crc32=crc)

    def done(self) -> schema.SegmentDone:
        return schema.SegmentDone(**self.common, frames=len(self.sound) // 4)


@dataclass
class Listener:
    """What a client knows of one request of its own."""

    session: str
    say: schema.Say
    text: str
    ended: bool
    allowed: int = wire.TEXT_WINDOW
    accepted: schema.Accepted | None = None
    timeline: bytearray = field(default_factory=bytearray)
    starts: dict[int, int] = field(default_factory=dict)
    heard_to: int = 0
    seq: int = 0
    held: dict[int, int] = field(default_factory=dict)
    ends: list[schema.Message] = field(default_factory=list)
    speakers: set[str] = field(default_factory=set)
    notices: list[schema.Notice] = field(default_factory=list)
    promised: dict[int, bytes] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return len(self.timeline) // 4


class House:
    """Clients and providers around a ledger: carries effects out and checks each of them. `chain` are those who go on in
    each other's place; if `slow`, that is not decided at once."""

    def __init__(self, chain: Iterable[str] = (), *, slow: bool = False) -> None:
        self.chain = [ASSIGNMENTS[provider] for provider in chain]
        self.slow = slow
        self.seeking: list[str] = []
        self.ledger = Ledger(BOOT)
        self.now = 1000.0
        self.epochs = dict.fromkeys(ASSIGNMENTS, 1)
        self.sessions: set[str] = set()
        self.closed: set[str] = set()
        self.listeners: dict[str, Listener] = {}
        self.jobs: dict[tuple[str, int, str, int], Job] = {}
        self.past: list[Job] = []
        self.ended: Counter[str] = Counter()

    # --- what the ledger wants done

    def do(self, effects: list[Effect] | None) -> None:
        for effect in effects or []:
            if isinstance(effect, Seek):
                assert effect.req not in self.seeking
                self.seeking.append(effect.req)
            elif isinstance(effect, ToProvider):
                assert TO_PROVIDER.header(schema.encode(effect.message)) == effect.message
                self._to_provider(effect)
            else:
                assert TO_CLIENT.header(schema.encode(effect.message)) == effect.message
                self._to_client(effect)
        if not self.slow:
            self.decide()

    def decide(self) -> None:
        """Somebody of the chain goes on with what is stranded, or it ends."""
        while self.seeking:
            request = self.ledger.requests.get(self.seeking.pop(0))
            if request is None:
                continue
            assert request.stranded is not None
            able = [each for each in self.chain if self._may_go_on(request, each)]
            if able:
                told = able[0]._replace(passed=tuple(request.tried[-1:]))
                self.do(self.ledger.hand_on(request, told, self.now))
            else:
                self.do(self.ledger.fail(request, request.stranded, self.now))

    def _may_go_on(self, request: Request, successor: Assignment) -> bool:
        text = request.work.segment.text if request.work else ""
        tried = {each.speaker.provider for each in request.tried}
        readable = len(text) <= successor.max_chars and not foreign_words(text, successor.scripts)
        return readable and successor.provider not in tried

    def _to_provider(self, effect: ToProvider) -> None:
        message = effect.message
        if isinstance(message, schema.Cancel):
            self.jobs[effect.provider, effect.epoch, message.req, message.attempt].cancelled = True
            return
        assert isinstance(message, schema.Synthesize)
        assert effect.epoch == message.epoch == self.epochs[effect.provider]
        assert effect.payload is not None
        text, listener = bytes(effect.payload).decode(), self.listeners[message.req]
        assert text in listener.text
        request = self.ledger.requests[message.req]
        assert request.assignment is not None
        assert len(text) <= request.assignment.max_chars
        assert request.assignment.speaker not in {each.speaker for each in request.tried}
        listener.speakers.add(effect.provider)
        assert message.seed == segment_seed(request.seed, message.segment)
        listener.promised.pop(message.segment, None)
        if request.work is not None and request.work.segment.number == message.segment:
            start = listener.starts.setdefault(message.segment, listener.frames)
            assert (message.from_frame or 0) == listener.frames - start
        else:
            assert message.from_frame is None, "nobody has heard anything of what is not due"
        salt = (effect.epoch, message.attempt)
        sound = samples(ASSIGNMENTS[effect.provider], message.seed, text, salt)
        job = Job(effect.provider, effect.epoch, message, sound, message.from_frame or 0)
        if message.state is not None:
            assert message.state == thought(sound, job.sent)
            job.kept = len(message.state)
        job.proof_owed = message.from_frame is not None
        assert not job.proof_owed or ASSIGNMENTS[effect.provider].deterministic
        self.jobs[job.name] = job

    def _to_client(self, effect: ToClient) -> None:
        message, listener = effect.message, self.listeners[effect.message.req]
        assert effect.session == listener.session
        assert effect.session not in self.closed, "somebody who is gone was told something"
        assert not listener.ends, "something came after the end"
        match message:
            case schema.Accepted():
                assert listener.accepted is None
                listener.accepted = message
            case schema.TextCredit():
                assert message.upto > listener.allowed
                listener.allowed = message.upto
            case schema.Chunk():
                self._hear(listener, message, effect.payload)
            case schema.Reset():
                assert message.frames == listener.starts[message.segment]
                assert listener.say.on_failure == "segment"
                del listener.timeline[4 * message.frames :]
            case schema.Done() | schema.Failed() | schema.Cancelled():
                self._end(listener, message)
            case _:
                assert isinstance(message, schema.Notice)
                listener.notices.append(message)

    def _hear(self, listener: Listener, chunk: schema.Chunk, payload: bytes | memoryview | None) -> None:
        assert listener.accepted is not None
        assert payload is not None
        assert chunk.seq == listener.seq
        listener.starts.setdefault(chunk.segment, listener.frames)
        assert chunk.segment == max(listener.starts)
        assert chunk.char_start >= listener.heard_to or chunk.char_end == listener.heard_to
        listener.heard_to = chunk.char_end
        for number, (arena, offset, frames, crc) in enumerate(chunk.descriptors):
            piece = bytes(payload[offset : offset + 4 * frames])
            assert (arena, zlib.crc32(piece)) == (0, crc)
            listener.timeline += piece
            listener.held[chunk.seq + number] = frames
        listener.seq += len(chunk.descriptors)

    def _end(self, listener: Listener, end: schema.Message) -> None:
        assert end.frames == listener.frames
        assert end.delivered_chars <= len(listener.text)
        assert all(run["outcome"] in ("done", "failed", "cancelled") for run in end.attempts)
        if isinstance(end, schema.Done):
            for segment, sound in listener.promised.items():
                begin = 4 * listener.starts[segment]
                assert bytes(listener.timeline[begin : begin + len(sound)]) == sound, "spoken ahead, heard otherwise"
        listener.ends.append(end)
        self.ended[type(end).__name__] += 1
        if not isinstance(end, schema.Done):
            listener.held.clear()
        elif end.resumed != "next":
            assert end.delivered_chars == len(listener.text)
            assert end.segments == len(listener.starts)

    # --- what happens

    def admit(self, session: str, text: str, **fields: object) -> Request:
        req = f"r{len(self.listeners)}"
        say = schema.Say(boot=BOOT, req=req, **fields)
        self.sessions.add(session)
        self.listeners[req] = Listener(session, say, text, ended=not say.more)
        return self.ledger.admit(say, session, text, seed=len(self.listeners), now=self.now)

    def resume(self, session: str, text: str, had: int, **fields: object) -> Request:
        """One of which another daemon spoke `BEFORE`, and at most `had` frames of the next segment, as EXACT does."""
        segmenter = Segmenter("en", EXACT.max_chars, shorten_first=False)
        segmenter.feed(text)
        if not fields.get("more"):
            segmenter.finish()
        first, part = segmenter.next(), b""
        if first is not None and first.speakable:
            part = samples(EXACT, segment_seed(len(self.listeners) + 1, BEFORE.segment), first.text)[: 4 * had]
        has = {"from_frame": len(part) // 4, "crc32": zlib.crc32(part)} if part else {}
        where = {"from_segment": BEFORE.segment, "from_char": BEFORE.char, "base_frames": BEFORE.base}
        named = {"provider": "exact", "voice": "anna", "seed": 1, "sample_rate": RATE}
        request = self.admit(session, text, **named, **where, **has, **fields)
        listener = self.listeners[request.req]
        listener.text = " " * BEFORE.char + text
        listener.allowed += BEFORE.char
        listener.timeline += bytes(4 * BEFORE.base) + part
        listener.starts |= dict.fromkeys(range(BEFORE.segment), 0) | ({BEFORE.segment: BEFORE.base} if part else {})
        listener.heard_to = BEFORE.char
        return request

    def accept(self, request: Request, assignment: Assignment) -> None:
        self.do(self.ledger.accept(request, assignment, self.now))

    def say(self, text: str, assignment: Assignment, **fields: object) -> Listener:
        request = self.admit("s0", text, **fields)
        self.accept(request, assignment)
        return self.listeners[request.req]

    def text(self, request: Request, text: str, *, last: bool) -> None:
        listener = self.listeners[request.req]
        listener.text += text
        listener.ended = last
        self.do(self.ledger.text(request, text, last, self.now))

    def dispatch(self, request: Request, work: Work | None = None) -> Job:
        """The segment that is due, or `work`, which is not."""
        assert request.assignment is not None
        epoch = self.epochs[request.assignment.provider]
        work = work or request.work
        assert work is not None
        self.do(self.ledger.dispatch(request, work, epoch, self.now))
        return self.jobs[request.assignment.provider, epoch, request.req, request.attempts]

    def is_due(self, job: Job) -> bool:
        """Whether what this job brings goes to the client at once."""
        request = self.ledger.requests.get(job.order.req)
        return request is not None and request.work is not None and request.work.attempt == job.order.attempt

    def current(self, job: Job) -> bool:
        """Whether what this job brings still belongs to its request."""
        return job.name in self.jobs and not job.cancelled

    def chunk(self, job: Job, counts: list[int]) -> None:
        message, payload = job.next_chunk(counts)
        effects = self.ledger.chunk(job.provider, job.epoch, message, payload, self.now)
        assert (effects is not None) == self.current(job)
        job.seq += len(counts)
        job.sent += sum(counts)
        job.kept += len(message.state)
        self.do(effects)

    def prove(self, job: Job) -> None:
        job.proof_owed = False
        effects = self.ledger.resumed(job.provider, job.epoch, job.proof(), self.now)
        assert [effect.message.code for effect in effects or ()] == ["RESUMED"] * self.current(job)
        self.do(effects)

    def finish(self, job: Job) -> None:
        """The rest of the segment, and its end."""
        if job.proof_owed:
            self.prove(job)
        if rest := len(job.sound) // 4 - job.sent:
            self.chunk(job, [rest])
        current, listener = self.current(job), self.listeners[job.order.req]
        if current and job.sound and not self.is_due(job):
            listener.promised[job.order.segment] = job.sound
        elif current and job.sound:
            begin = 4 * listener.starts[job.order.segment]
            assert bytes(listener.timeline[begin:]) == job.sound, "a segment is not the sound of one attempt"
        effects = self.ledger.segment_done(job.provider, job.epoch, job.done(), self.now)
        assert (effects is not None) == current
        self.over(job)
        self.do(effects)

    def over(self, job: Job) -> None:
        self.past.append(self.jobs.pop(job.name))

    def break_off(self, job: Job, code: str = "PROVIDER_FAILED") -> None:
        failed = schema.SegmentFailed(**job.common, code=code, message="it " * 500)
        current = self.current(job)
        effects = self.ledger.segment_failed(job.provider, job.epoch, failed, self.now)
        assert (effects is not None) == current
        self.over(job)
        self.do(effects)

    def lose(self, provider: str) -> None:
        """An incarnation dies and the next one follows."""
        epoch = self.epochs[provider]
        self.epochs[provider] += 1
        for job in [job for job in self.jobs.values() if job.provider == provider]:
            self.over(job)
        self.do(self.ledger.provider_lost(provider, epoch, "it " * 500, self.now))
        assert not self.ledger.in_work(provider, epoch)

    def give_up(self, provider: str, reason: str = "it is quarantined") -> None:
        """An incarnation dies and nobody waits for the next one."""
        self.lose(provider)
        for request in list(self.ledger.requests.values()):
            if request.assignment is not None and request.assignment.provider == provider:
                self.do(self.ledger.strand(request, errors.ProviderFailed(f"{provider}: {reason}")))

    def close_session(self, session: str) -> None:
        self.closed.add(session)
        effects = self.ledger.session_closed(session, self.now)
        self.do(effects)
        self.sessions.discard(session)

    def finish_everything(self) -> None:
        """Honest providers and patient clients bring every request to its end, in a bounded number of steps."""
        for request in list(self.ledger.requests.values()):
            if not request.text_ended:
                self.text(request, "", last=True)
        for _ in range(5_000):
            for job in list(self.jobs.values()):
                if job.name in self.jobs:
                    self.finish(job)
            self.decide()
            waiting = [request for request in self.ledger.requests.values() if request.waits]
            for request in waiting:
                self.dispatch(request)
            if not waiting:
                break
        assert not self.jobs


class LedgerMachine(RuleBasedStateMachine):
    """Clients ask, providers speak, die and lie, in any order."""

    @initialize(
        texts=st.lists(PROSE, min_size=1, max_size=3),
        providers=st.lists(st.sampled_from(sorted(ASSIGNMENTS)), min_size=3, max_size=3),
        on_failure=st.sampled_from([None, *wire.ON_FAILURE]),
        chain=st.lists(st.sampled_from(sorted(ASSIGNMENTS)), unique=True),
        slow=st.booleans(),
    )
    def begin(self, texts, providers, on_failure, chain, slow) -> None:
        """A house where some are being spoken to already."""
        self.house = House(chain, slow=slow)
        for number, (text, provider) in enumerate(zip(texts, providers, strict=False)):
            request = self.house.admit(f"s{number % 2}", text, on_failure=on_failure)
            self.house.accept(request, ASSIGNMENTS[provider])
            self.house.dispatch(request)

    # One rule with weights: what gets requests on is frequent, what ends them is rare, so that runs get far.
    HAPPENS = (
        *(("sound",) * 8 + ("finish",) * 3 + ("break_off", "answer_cancel") + ("provider_dies",) * 2),
        *("provider_is_given_up", "decide", "decide", "look_ahead", "look_ahead", "look_ahead", "provider_is_doubted"),
        *(
            "admit",
            "admit",
            "credit",
            "credit",
            "acknowledge",
            "more_text",
            "more_text",
            "cancel",
            "leave",
            "time_passes",
        ),
        *("repeats_other_samples", "repeats_other_samples", "breaks_a_rule", "stale_message", "stale_message"),
    )

    @rule(data=st.data(), what=st.sampled_from(HAPPENS))
    def something_happens(self, data, what) -> None:
        getattr(self, what)(data)

    def provider_dies(self, data) -> None:
        """And its successor is given some of what waits."""
        house, provider = self.house, data.draw(st.sampled_from(sorted(ASSIGNMENTS)))
        house.lose(provider)
        waiting = [each for each in house.ledger.requests.values() if each.waits and each.assignment]
        for request in [each for each in waiting if each.assignment.provider == provider]:
            if data.draw(st.sampled_from([True, True, False])):
                house.dispatch(request)

    def provider_is_given_up(self, data) -> None:
        self.house.give_up(data.draw(st.sampled_from(sorted(ASSIGNMENTS))))

    def decide(self, data) -> None:
        self.house.decide()

    def look_ahead(self, data) -> None:
        """A worker with nothing else to do begins what is not due yet."""
        request = self.a_request(data)
        depth = data.draw(st.integers(1, 3))
        if request is not None and (work := self.house.ledger.look_ahead(request, depth)) is not None:
            assert len(request.ahead) <= max(depth, 3)
            if data.draw(st.booleans()):
                self.house.dispatch(request, work)

    def provider_is_doubted(self, data) -> None:
        """What it has in work is given to others, unless nobody would hear a gap or it cannot be continued exactly."""
        house, provider = self.house, data.draw(st.sampled_from(sorted(ASSIGNMENTS)))
        house.do(house.ledger.take_over(provider, house.epochs[provider]))

    def time_passes(self, data) -> None:
        house = self.house
        house.now += data.draw(st.floats(0, 4))
        house.do(house.ledger.expire(house.now))
        upcoming = house.ledger.next_deadline()
        assert upcoming is None or upcoming > house.now

    def a_job(self, data) -> Job | None:
        """One that goes on; something that waits is begun if need be."""
        house = self.house
        waiting = [request for request in house.ledger.requests.values() if request.waits]
        if waiting and (not house.jobs or data.draw(st.booleans())):
            return house.dispatch(waiting[data.draw(st.integers(0, len(waiting) - 1))])
        return house.jobs[data.draw(st.sampled_from(sorted(house.jobs)))] if house.jobs else None

    # --- clients

    def admit(self, data) -> None:
        house = self.house
        fresh = f"s{len(house.sessions) + len(house.closed)}"
        session = data.draw(st.sampled_from(sorted(house.sessions | ({fresh} if len(house.sessions) < 3 else set()))))
        had = data.draw(st.sampled_from([None, None, None, 0, 1, 5, 99]))
        admit = house.admit if had is None else partial(house.resume, had=had)
        request = admit(
            session,
            data.draw(TEXTS),
            more=data.draw(st.sampled_from([None, True])),
            deadline_ms=data.draw(st.sampled_from([None, None, None, 0, 7000, 2**64 - 1])),
            on_failure=data.draw(st.sampled_from([None, *wire.ON_FAILURE])),
        )
        if data.draw(st.booleans()):
            house.accept(request, ASSIGNMENTS[data.draw(st.sampled_from(sorted(ASSIGNMENTS)))])

    def a_request(self, data) -> Request | None:
        requests = self.house.ledger.requests
        return requests[data.draw(st.sampled_from(sorted(requests)))] if requests else None

    def more_text(self, data) -> None:
        request = self.a_request(data)
        if request is None:
            return
        if request.assignment is None and data.draw(st.booleans()):
            self.house.accept(request, ASSIGNMENTS[data.draw(st.sampled_from(sorted(ASSIGNMENTS)))])
        elif not request.text_ended:
            self.house.text(request, data.draw(TEXTS), last=data.draw(st.booleans()))
        elif data.draw(st.booleans()):
            self.house.do(self.house.ledger.text(request, "more", True, self.house.now))
            assert self.house.listeners[request.req].ends[0].code == "BAD_REQUEST"

    def credit(self, data) -> None:
        house = self.house
        holding = [listener for listener in house.listeners.values() if listener.session in house.sessions]
        if not holding:
            return
        listener = holding[data.draw(st.integers(0, len(holding) - 1))]
        first, many = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))
        house.ledger.windows[listener.session].credit(listener.say.req, first, first + many, house.now)
        listener.held = {seq: n for seq, n in listener.held.items() if not first <= seq <= first + many}

    def acknowledge(self, data) -> None:
        house = self.house
        listener = house.listeners[data.draw(st.sampled_from(sorted(house.listeners)))]
        house.ledger.forget(listener.session, listener.say.req)
        if listener.ends:
            listener.held.clear()

    def cancel(self, data) -> None:
        request = self.a_request(data)
        if request:
            self.house.do(self.house.ledger.cancel(request, self.house.now))
            assert not self.house.ledger.cancel(request, self.house.now)

    def leave(self, data) -> None:
        if self.house.sessions:
            self.house.close_session(data.draw(st.sampled_from(sorted(self.house.sessions))))

    # --- honest providers

    def sound(self, data) -> None:
        job = self.a_job(data)
        if job is None:
            return
        if job.proof_owed:
            self.house.prove(job)
        left = len(job.sound) // 4 - job.sent
        if left:
            total = data.draw(st.integers(1, left))
            cuts = sorted(data.draw(st.sets(st.integers(1, total), max_size=4)) - {total})
            self.house.chunk(job, [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)])

    def finish(self, data) -> None:
        job = self.a_job(data)
        if job is None:
            return
        self.house.finish(job)

    def break_off(self, data) -> None:
        job = self.a_job(data)
        if job is None:
            return
        codes = ["PROVIDER_FAILED", "PROVIDER_FAILED", "UNSPEAKABLE", "INVALID_TEXT", "OUT_OF_IDEAS"]
        self.house.break_off(job, data.draw(st.sampled_from(codes)))

    def answer_cancel(self, data) -> None:
        cancelled = [other for other in self.house.jobs.values() if other.cancelled]
        for other in cancelled[:1]:
            self.house.ledger.segment_cancelled(other.provider, other.epoch, schema.SegmentCancelled(**other.common))
            self.house.over(other)

    # --- liars and stragglers

    def repeats_other_samples(self, data) -> None:
        house = self.house
        owing = sorted(name for name, job in house.jobs.items() if job.proof_owed)
        if not owing:
            return
        job = house.jobs[data.draw(st.sampled_from(owing))]
        job.proof_owed = False
        wrong = schema.Resumed(**job.common, frames=job.sent, crc32=zlib.crc32(job.sound[: 4 * job.sent]) ^ 1)
        current = house.current(job)
        effects = house.ledger.resumed(job.provider, job.epoch, wrong, house.now)
        assert (effects is not None) == current
        house.do(effects)
        assert not house.current(job)

    def breaks_a_rule(self, data) -> None:
        lies = ["count", "seq", "segment", "place", "empty", "long", "proof", "cancelled"]
        if not self.house.jobs:
            return
        how = data.draw(st.sampled_from(lies))
        house, ledger = self.house, self.house.ledger
        job = house.jobs[data.draw(st.sampled_from(sorted(house.jobs)))]
        if not house.current(job):
            return
        wrong = {
            "seq": {"seq": job.seq + 1},
            "segment": {"segment": job.order.segment + 1},
            "place": {"descriptors": [(0, 4, 1, 0)]},
            "empty": {"descriptors": [(0, 0, 0, 0)]},
            "long": {"descriptors": [(0, 0, RATE, 0)]},
        }
        chunk = {**job.common, "seq": job.seq, "descriptors": [(0, 0, 1, 0)]} | wrong.get(how, {})
        lie: Callable[..., object]
        match how:
            case "count":
                lie, message = (
                    ledger.segment_done,
                    schema.SegmentDone(**job.common, frames=job.sent + (not job.proof_owed)),
                )
            case "cancelled":
                lie, message = ledger.segment_cancelled, schema.SegmentCancelled(**job.common)
            case "proof" if not job.proof_owed:
                lie, message = ledger.resumed, job.proof()
            case _:
                # Where a proof is owed, any sound before it is a lie.
                payload = bytes(4 * RATE if how == "long" else 4)
                lie, message = partial(ledger.chunk, payload=payload), schema.Chunk(**chunk)
        when = {} if how == "cancelled" else {"now": house.now}
        with pytest.raises(Violation):
            lie(job.provider, job.epoch, message, **when)
        house.lose(job.provider)

    def stale_message(self, data) -> None:
        if not self.house.past:
            return
        what = data.draw(st.sampled_from(["chunk", "resumed", "done", "failed", "cancelled"]))
        house, ledger = self.house, self.house.ledger
        job = house.past[data.draw(st.integers(0, len(house.past) - 1))]
        who, now = (job.provider, job.epoch), house.now
        if what == "chunk":
            chunk = schema.Chunk(**job.common, seq=job.seq, descriptors=[(0, 0, 1, 0)])
            assert ledger.chunk(*who, chunk, b"1234", now) is None
        elif what == "resumed":
            assert ledger.resumed(*who, job.proof(), now) is None
        elif what == "done":
            assert ledger.segment_done(*who, job.done(), now) is None
        elif what == "failed":
            failed = schema.SegmentFailed(**job.common, code="UNSPEAKABLE", message="")
            assert ledger.segment_failed(*who, failed, now) is None
        else:
            ledger.segment_cancelled(*who, schema.SegmentCancelled(**job.common))

    # --- what always holds

    @invariant()
    def windows_hold_what_was_not_credited(self) -> None:
        house = self.house
        for session in house.sessions:
            held = {req: each.held for req, each in house.listeners.items() if each.session == session}
            window = house.ledger.windows[session]
            frames = sum(sum(pieces.values()) for pieces in held.values())
            assert window.held_bytes == 4 * frames
            assert window.held_seconds == pytest.approx(frames / RATE)
            own = [request for request in house.ledger.requests.values() if request.session == session]
            ahead = sum(sum(held.counts) for request in own for work in request.ahead for held in work.held)
            assert window.reserved_bytes == 4 * ahead
            assert window.reserved_seconds == pytest.approx(ahead / RATE)
            assert all(window.holds(req) == bool(pieces) for req, pieces in held.items())
        assert set(house.ledger.windows) == house.sessions

    @invariant()
    def the_counts_agree(self) -> None:
        house, counts = self.house, self.house.ledger.counts()
        assert counts.active == sum(house.current(job) and house.is_due(job) for job in house.jobs.values())
        assert counts.active + counts.queued == len(house.ledger.requests)
        told = {kind: house.ended[kind] for kind in wire.TERMINAL}
        silent = sum(len(each.ends) == 0 for each in house.listeners.values() if each.session in house.closed)
        assert (counts.done, counts.failed) == (told["Done"], told["Failed"])
        assert counts.cancelled == told["Cancelled"] + silent
        for provider, epoch in house.epochs.items():
            at_it = sum(job.name[:2] == (provider, epoch) for job in house.jobs.values())
            assert house.ledger.in_work(provider, epoch) == at_it

    @invariant()
    def nothing_is_forgotten(self) -> None:
        house = self.house
        for request in house.ledger.requests.values():
            listener = house.listeners[request.req]
            assert house.ledger.knows(request.req)
            if request.assignment is None or request.waits:
                continue
            if request.stranded:
                assert not request.runs_now
                assert request.req in house.seeking
            elif request.runs_now:
                assert request.work is not None
                assert request.work.at is not None
                assert house.current(house.jobs[*request.work.at, request.req, request.work.attempt])
            else:
                assert not listener.ended
                assert listener.allowed > len(listener.text.encode()), "it waits for text that may not be sent"

    def teardown(self) -> None:
        house = self.house
        for request in list(house.ledger.requests.values()):
            if request.assignment is None:
                house.accept(request, EXACT)
        house.finish_everything()
        assert not house.ledger.requests
        for listener in house.listeners.values():
            assert len(listener.ends) == (0 if listener.session in house.closed and not listener.ends else 1)
            for end in listener.ends:
                alike = {*listener.speakers, listener.accepted.provider} if listener.accepted else {"wild"}
                if isinstance(end, schema.Done) and end.resumed != "next" and "wild" not in alike:
                    self.check_undisturbed(listener, end)
        for session in list(house.sessions):
            house.close_session(session)
        for provider in ASSIGNMENTS:
            house.lose(provider)
        assert not house.ledger.windows
        assert not house.ledger.held_bytes()

    def check_undisturbed(self, listener: Listener, end: schema.Done) -> None:
        """A deterministic provider's sound is what one run without any trouble gives."""
        quiet = House()
        resumed = bool(listener.say.from_segment)
        rest = listener.text[BEFORE.char :]
        request = quiet.resume("s0", rest, 0) if resumed else quiet.admit("s0", listener.text)
        request.seed = end.seed
        quiet.accept(request, EXACT)
        quiet.finish_everything()
        assert quiet.listeners["r0"].timeline == listener.timeline


LedgerMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=60)
# Time to find the shortest way to a failure, if there is one.
TestLedger = pytest.mark.timeout(600)(LedgerMachine.TestCase)

TWO_SEGMENTS = "This is the first sentence. And this is the second one."


def begun(assignment: Assignment, **fields: object) -> tuple[House, Listener, Job]:
    """A house where a request's first segment is half spoken."""
    house = House()
    for _ in range(50):
        listener = house.say(TWO_SEGMENTS, assignment, **fields)
        request = house.ledger.requests[listener.say.req]
        job = house.dispatch(request)
        if len(job.sound) >= 4 * 20:
            break
        house.do(house.ledger.cancel(request, house.now))
        house.finish(job)
    house.chunk(job, [5, 5])
    return house, listener, job


def again(house: House, listener: Listener) -> Job:
    return house.dispatch(house.ledger.requests[listener.say.req])


def test_a_deterministic_provider_goes_on_where_it_broke_off() -> None:
    house, listener, _ = begun(EXACT)
    house.lose("exact")
    job = again(house, listener)
    assert job.order.from_frame == 10
    house.finish(job)
    house.finish_everything()
    (end,) = listener.ends
    assert (type(end), end.resumed) == (schema.Done, "exact")
    assert [(run["epoch"], run["outcome"]) for run in end.attempts] == [(1, "failed"), (2, "done")]


def test_what_an_engine_kept_goes_to_its_successor_once_and_whole() -> None:
    house, listener, job = begun(EXACT)
    assert job.order.state is None
    house.lose("exact")
    job = again(house, listener)
    assert job.order.state == thought(job.sound, 10)
    house.prove(job)
    house.chunk(job, [4])
    house.lose("exact")
    assert again(house, listener).order.state == thought(job.sound, 14)


def test_what_was_kept_is_forgotten_with_the_sound_that_it_belongs_to() -> None:
    house, listener, job = begun(WILD, on_failure="segment")
    house.break_off(job)
    assert again(house, listener).order.state is None


def test_nothing_is_continued_from_what_an_engine_thought_before_it_failed() -> None:
    house, listener, job = begun(EXACT)
    house.break_off(job)
    order = again(house, listener).order
    assert (order.from_frame, order.state) == (10, None)


def test_more_than_a_header_holds_is_not_kept_at_all() -> None:
    house, listener, _ = begun(EXACT)
    work = house.ledger.requests[listener.say.req].work
    assert work is not None
    work.keep(bytes(wire.MAX_STATE))
    work.keep(b"more")
    house.lose("exact")
    assert again(house, listener).order.state is None


def test_a_provider_may_not_bury_the_daemon_in_state() -> None:
    house, _, job = begun(EXACT)
    described, payload = pieces(job.sound[40:], [1])
    state = bytes(wire.MAX_STATE_PART + 1)
    message = schema.Chunk(**job.common, seq=2, descriptors=described, state=state)
    with pytest.raises(Violation, match="state"):
        house.ledger.chunk("exact", 1, message, payload, house.now)


def test_another_sound_than_before_is_skipped_by_default_and_said_so() -> None:
    house, listener, _ = begun(EXACT)
    house.lose("exact")
    job = again(house, listener)
    wrong = schema.Resumed(**job.common, frames=10, crc32=0)
    effects = house.ledger.resumed("exact", 2, wrong, house.now)
    assert [type(effect.message).__name__ for effect in effects or ()] == ["Cancel", "Notice"]
    house.do(effects)
    house.finish_everything()
    assert listener.ends[0].resumed == "next"


@pytest.mark.parametrize(
    ("on_failure", "kinds"), [("next", ["Notice"]), (None, ["Notice"]), ("segment", ["Reset"]), ("fail", ["Failed"])]
)
def test_what_follows_a_break_that_cannot_be_mended_exactly_is_the_requests_to_say(on_failure, kinds) -> None:
    house, _, _ = begun(WILD, on_failure=on_failure)
    effects = house.ledger.provider_lost("wild", 1, "it fell over", house.now)
    assert [type(effect.message).__name__ for effect in effects] == kinds


def test_two_failures_at_the_same_place_are_poison() -> None:
    house, listener, _ = begun(EXACT)
    house.lose("exact")
    again(house, listener)
    house.lose("exact")
    (end,) = listener.ends
    assert (type(end), end.code) == (schema.Failed, "PROVIDER_FAILED")


def test_progress_between_two_failures_earns_another_try() -> None:
    house, listener, _ = begun(EXACT)
    for _ in range(3):
        house.lose("exact")
        job = again(house, listener)
        house.prove(job)
        house.chunk(job, [1])
    house.lose("exact")
    house.lose("exact")
    assert not listener.ends
    house.finish_everything()
    assert isinstance(listener.ends[0], schema.Done)


@pytest.mark.parametrize("assignment", [EXACT, WILD])
def test_a_segment_that_breaks_off_before_any_sound_is_tried_twice_and_no_more(assignment: Assignment) -> None:
    house = House()
    listener = house.say("One.", assignment, on_failure="segment")
    house.break_off(again(house, listener))
    assert not listener.ends
    house.break_off(again(house, listener))
    assert listener.ends[0].code == "PROVIDER_FAILED"


def test_a_segment_that_begins_again_for_ever_and_gets_no_further_is_poison() -> None:
    house, listener, job = begun(WILD, on_failure="segment")
    house.break_off(job)
    assert listener.frames == 0
    job = again(house, listener)
    described, payload = pieces(bytes(40), [5, 5])
    house.do(house.ledger.chunk("wild", 1, schema.Chunk(**job.common, seq=0, descriptors=described), payload, 0.0))
    house.break_off(job)
    assert listener.ends[0].code == "PROVIDER_FAILED"


# --- another goes on


def codes(listener: Listener) -> list[str]:
    return [notice.code for notice in listener.notices]


def taken_over(before: Assignment, after: Assignment, **fields: object) -> tuple[House, Listener]:
    """A house where somebody else goes on with a segment of which the client has ten frames."""
    house, listener, _ = begun(before, **fields)
    house.chain = [after]
    house.give_up(before.provider)
    return house, listener


def test_a_twin_goes_on_where_the_first_broke_off() -> None:
    house, listener = taken_over(EXACT, TWIN)
    job = again(house, listener)
    assert (job.provider, job.order.from_frame) == ("twin", 10)
    house.finish_everything()
    (end,) = listener.ends
    assert (type(end), end.resumed, end.provider, end.voice) == (schema.Done, "exact", "twin", "anna")
    assert [(run["provider"], run["voice"], run["outcome"]) for run in end.attempts] == [
        ("exact", "anna", "failed"),
        ("twin", "anna", "done"),
    ]
    assert codes(listener) == ["FAILOVER", "RESUMED"]
    assert listener.notices[0].message == "exact: it is quarantined; twin/anna goes on"


@pytest.mark.parametrize(
    "after",
    [
        TWIN._replace(fingerprint="two"),
        TWIN._replace(deterministic=False),
        TWIN._replace(voice="berta"),
    ],
    ids=["another engine", "not deterministic", "another voice"],
)
@pytest.mark.parametrize("before", [EXACT, EXACT._replace(fingerprint="")], ids=["known", "unknown"])
def test_what_another_cannot_continue_exactly_begins_again(before: Assignment, after: Assignment) -> None:
    house, listener = taken_over(before, after, on_failure="segment")
    assert (listener.frames, codes(listener)) == (0, ["FAILOVER"])
    assert again(house, listener).order.from_frame is None
    assert house.ledger.requests[listener.say.req].resumed == "segment"


@pytest.mark.parametrize("on_failure", ["next", None])
def test_the_rest_of_a_segment_is_skipped_and_the_next_is_the_successors(on_failure: str | None) -> None:
    house, listener = taken_over(EXACT, WILD, on_failure=on_failure)
    assert (listener.frames, codes(listener)) == (10, ["FAILOVER", "SKIPPED"])
    house.finish_everything()
    (end,) = listener.ends
    assert (type(end), end.resumed, end.provider) == (schema.Done, "next", "wild")


def test_a_request_that_would_rather_fail_does() -> None:
    _, listener = taken_over(EXACT, WILD, on_failure="fail")
    (end,) = listener.ends
    assert (end.code, end.message, end.provider) == ("PROVIDER_FAILED", "exact: it is quarantined", "exact")
    assert codes(listener) == []


def test_nobody_need_go_on_after_the_last_segment() -> None:
    house = House(["wild"])
    listener = house.say("Hello there, whoever you are.", EXACT)
    job = again(house, listener)
    job.sound = bytes(80)
    house.chunk(job, [5])
    house.give_up("exact")
    (end,) = listener.ends
    assert (type(end), end.provider, codes(listener)) == (schema.Done, "exact", ["SKIPPED"])


def test_what_nobody_has_heard_yet_is_simply_spoken_by_another() -> None:
    house = House(["wild"])
    listener = house.say(TWO_SEGMENTS, EXACT, on_failure="fail")
    house.give_up("exact")
    house.finish_everything()
    (end,) = listener.ends
    assert (type(end), end.resumed, end.provider) == (schema.Done, None, "wild")


def test_a_poisonous_segment_is_tried_by_another_and_what_follows_stays_there() -> None:
    house = House(["wild"])
    listener = house.say(TWO_SEGMENTS, EXACT)
    for _ in range(2):
        house.break_off(again(house, listener))
    job = again(house, listener)
    assert job.provider == "wild"
    house.break_off(job)
    job = again(house, listener)
    job.sound = bytes(40)
    house.finish(job)
    assert again(house, listener).provider == "wild"
    assert codes(listener) == ["FAILOVER"]
    assert "failed 2 times at the same place: exact: it it" in listener.notices[0].message


def test_words_that_one_cannot_read_are_read_by_another_from_there_on() -> None:
    house = House(["wild"])
    listener = house.say("Hello there. He said Привет to her. And then he left.", EXACT)
    while not listener.ends:
        job = again(house, listener)
        job.sound = bytes(40)
        house.finish(job)
    assert [run["provider"] for run in listener.ends[0].attempts] == ["exact", "wild"]
    assert [run["outcome"] for run in listener.ends[0].attempts] == ["done", "done"]
    assert "cannot read “Привет”; wild/bert goes on" in listener.notices[0].message


@pytest.mark.parametrize("code", ["UNSPEAKABLE", None], ids=["said", "no frame"])
def test_what_a_provider_finds_unspeakable_is_spoken_by_another(code: str | None) -> None:
    house = House(["wild"])
    listener = house.say("Hello there.", EXACT)
    job = again(house, listener)
    if code:
        house.break_off(job, code)
    else:
        job.sound = b""
        house.finish(job)
    job = again(house, listener)
    job.sound = bytes(40)
    house.finish(job)
    assert [run["outcome"] for run in listener.ends[0].attempts] == ["failed", "done"]


def test_what_is_not_cut_yet_is_cut_for_the_successor() -> None:
    house = House()
    house.chain = [WILD._replace(max_chars=30)]
    listener = house.say("Hello there. " + "ja " * 30, EXACT._replace(max_chars=100))
    house.give_up("exact")
    segments = 0
    while not listener.ends:
        job = again(house, listener)
        job.sound = bytes(40)
        house.finish(job)
        segments += 1
    assert segments > 3


def test_what_costs_money_is_asked_once_for_a_segment() -> None:
    house = House(["wild"])
    listener = house.say("Hello there.", EXACT._replace(metered=True))
    house.break_off(again(house, listener))
    assert again(house, listener).provider == "wild"


def test_what_costs_money_is_not_asked_before_its_turn() -> None:
    for metered in (False, True):
        house = House()
        listener = house.say(TWO_SEGMENTS, EXACT._replace(metered=metered))
        again(house, listener)
        assert (house.ledger.look_ahead(house.ledger.requests[listener.say.req], 1) is None) == metered


def test_a_provider_that_comes_back_as_another_version_does_not_go_on_exactly() -> None:
    house, listener, _ = begun(EXACT, on_failure="segment")
    house.lose("exact")
    request = house.ledger.requests[listener.say.req]
    assert house.ledger.renew(request, "one", house.now) == []
    house.do(house.ledger.renew(request, "two", house.now))
    assert (listener.frames, request.resumed) == (0, "segment")
    assert house.ledger.renew(request, "two", house.now) == []


def test_who_was_in_trouble_already_is_told_once_it_is_known_who_speaks() -> None:
    house = House()
    sick = Passed(Speaker("sick", "anna"), "sick is quarantined (it fell over)")
    unfit = Passed(Speaker("other", "eve"), "other/eve does not speak 'en'", broken=False)
    listener = house.say("Hello there.", WILD._replace(passed=(sick, unfit)))
    assert [notice.message for notice in listener.notices] == ["sick is quarantined (it fell over); wild/bert speaks"]


@pytest.mark.parametrize("how", ["cancel", "expire", "leave"])
def test_a_request_may_end_while_somebody_is_sought(how: str) -> None:
    house = House(["wild"], slow=True)
    listener = house.say(TWO_SEGMENTS, EXACT, deadline_ms=1000)
    request = house.ledger.requests[listener.say.req]
    house.give_up("exact")
    assert not request.waits
    house.now += 1.0
    if how == "leave":
        house.close_session("s0")
    else:
        house.do(house.ledger.cancel(request, house.now) if how == "cancel" else house.ledger.expire(house.now))
    house.decide()
    assert request.ended


def test_text_that_comes_while_somebody_is_sought_is_the_successors() -> None:
    house = House(["wild"], slow=True)
    listener = house.say("Hello there. Now ", EXACT, more=True)
    house.finish(again(house, listener))
    house.give_up("exact")
    request = house.ledger.requests[listener.say.req]
    house.text(request, "Привет to all. ", last=True)
    assert not listener.ends
    house.finish_everything()
    assert (type(listener.ends[0]), listener.speakers) == (schema.Done, {"exact", "wild"})


# --- lies, and what cannot be spoken


def test_a_lie_about_the_number_of_frames_does_not_lose_the_request() -> None:
    house, listener, job = begun(EXACT)
    with pytest.raises(Violation):
        house.ledger.segment_done("exact", 1, schema.SegmentDone(**job.common, frames=11), house.now)
    house.lose("exact")
    assert again(house, listener).order.from_frame == 10


def test_a_segment_is_not_done_before_its_repeated_part_is_proven() -> None:
    house, listener, _ = begun(EXACT)
    house.lose("exact")
    job = again(house, listener)
    with pytest.raises(Violation):
        house.ledger.segment_done("exact", 2, schema.SegmentDone(**job.common, frames=10), house.now)


def test_an_incarnation_that_failed_and_then_spoke_is_told_as_both() -> None:
    house = House()
    listener = house.say("Hello there.", WILD)
    house.break_off(again(house, listener))
    house.finish_everything()
    assert [run["outcome"] for run in listener.ends[0].attempts] == ["failed", "done"]


def test_an_incarnation_that_left_between_two_segments_is_told_as_done() -> None:
    house = House()
    listener = house.say(TWO_SEGMENTS, EXACT)
    house.finish(again(house, listener))
    house.lose("exact")
    house.finish_everything()
    assert [(run["epoch"], run["outcome"]) for run in listener.ends[0].attempts] == [(1, "done"), (2, "done")]


def test_a_text_without_a_word_has_nothing_to_say() -> None:
    house = House()
    assert house.say("… !? \n", EXACT).ends[0].code == "NOTHING_TO_SAY"


def test_words_in_a_script_that_the_voice_cannot_read_are_named() -> None:
    house = House()
    (end,) = house.say("He said Привет to her.", EXACT).ends
    assert end.code == "UNSPEAKABLE"
    assert "Привет" in end.message


def test_a_segment_without_a_frame_was_not_spoken() -> None:
    house = House()
    listener = house.say("Hello there.", WILD)
    job = again(house, listener)
    job.sound = b""
    house.finish(job)
    assert listener.ends[0].code == "UNSPEAKABLE"
    assert "Hello there" in listener.ends[0].message


def test_an_error_of_the_text_is_told_as_it_is_and_not_tried_again() -> None:
    house = House()
    listener = house.say("Hello there.", WILD)
    house.break_off(again(house, listener), "UNSPEAKABLE")
    assert listener.ends[0].code == "UNSPEAKABLE"


def test_a_streamed_text_without_any_stop_can_always_be_sent_on() -> None:
    """A provider may say that it takes very long segments; the client must never wait for credit that cannot come."""
    house = House()
    greedy = EXACT._replace(max_chars=100_000, scripts=())
    listener = house.say("", greedy, more=True)
    request = house.ledger.requests[listener.say.req]
    letters = 0
    while letters < 200_000:
        room = (listener.allowed - len(listener.text.encode())) // 4
        if not room:
            assert request.waits, "neither text nor a segment can go anywhere"
            job = house.dispatch(request)
            job.sound = bytes(40)
            house.finish(job)
            assert not listener.ends
            continue
        house.text(request, "🜂𐐀"[1] * room, last=False)
        letters += room
    assert LONGEST_SEGMENT * 4 < wire.TEXT_WINDOW


def test_text_beyond_the_credit_ends_the_request() -> None:
    house = House()
    listener = house.say("", EXACT, more=True)
    house.text(house.ledger.requests[listener.say.req], "x" * (wire.TEXT_WINDOW + 1), last=False)
    assert listener.ends[0].code == "BAD_REQUEST"


def test_a_deadline_ends_a_request_and_stops_its_provider() -> None:
    house = House()
    listener = house.say("Hello there.", EXACT, deadline_ms=1500)
    job = again(house, listener)
    assert job.order.deadline_ms == 1500
    assert house.ledger.next_deadline() == house.now + 1.5
    house.now += 1.5
    house.do(house.ledger.expire(house.now))
    assert listener.ends[0].code == "DEADLINE"
    assert job.cancelled


def test_the_longest_deadline_that_the_wire_can_carry_can_be_handed_on() -> None:
    house = House()
    listener = house.say("Hello there.", EXACT, deadline_ms=2**64 - 1)
    schema.encode(again(house, listener).order)


def test_a_terminal_message_fits_a_header_however_often_the_provider_broke() -> None:
    house = House()
    listener = house.say("Ja. " * 40, WILD._replace(voice="𝄞" * 128))
    request = house.ledger.requests[listener.say.req]
    for _ in range(30):
        job = house.dispatch(request)
        failed = schema.SegmentFailed(**job.common, code="PROVIDER_FAILED", message="𝄞" * 4096)
        described, payload = pieces(bytes(4), [1])
        house.do(house.ledger.chunk("wild", 1, schema.Chunk(**job.common, seq=0, descriptors=described), payload, 0.0))
        house.over(job)
        house.do(house.ledger.segment_failed("wild", 1, failed, house.now))
    house.do(house.ledger.fail(request, errors.ProviderFailed("𝄞" * 5000), house.now))
    assert len(schema.encode(listener.ends[0])) < wire.MAX_HEADER


def test_sound_that_was_not_given_back_is_held_until_the_end_is_acknowledged() -> None:
    house = House()
    listener = house.say("Hello there.", EXACT._replace(provider="wild"))
    job = again(house, listener)
    job.sound = bytes(400)
    house.finish(job)
    assert isinstance(listener.ends[0], schema.Done)
    assert house.ledger.held_bytes() == 400
    house.ledger.forget("s1", listener.say.req)
    assert house.ledger.held_bytes() == 400
    house.ledger.forget("s0", listener.say.req)
    assert house.ledger.held_bytes() == 0


def test_a_request_is_remembered_after_its_end_and_belongs_to_its_session() -> None:
    house = House()
    listener = house.say("Hello there.", EXACT)
    assert house.ledger.owned("s0", listener.say.req) is not None
    assert house.ledger.owned("s1", listener.say.req) is None
    house.finish_everything()
    assert house.ledger.owned("s0", listener.say.req) is None
    assert house.ledger.knows(listener.say.req)
    assert not house.ledger.knows("never")


@pytest.mark.parametrize(
    ("on_failure", "kept", "resumed"),
    [(None, False, "next"), ("next", False, "next"), ("segment", False, "exact"), ("next", True, "exact")],
)
def test_a_repetition_that_takes_too_long_gives_way_to_the_next_sentence(
    on_failure: str | None, kept: bool, resumed: str
) -> None:
    """A huge model that needs half a minute to say ten seconds again would be half a minute of silence."""
    house = House()
    listener = house.say("A first sentence. A second one.", EXACT, on_failure=on_failure)
    request = house.ledger.requests[listener.say.req]
    job = house.dispatch(request)
    house.now += 1000.0 * len(job.sound)
    house.finish(job)
    job = house.dispatch(request)
    house.chunk(job, [len(job.sound) // 8])
    assert request.work is not None
    assert request.work.state
    request.work.state = request.work.state if kept else b""
    house.lose(EXACT.provider)
    house.finish_everything()
    assert listener.ends[0].resumed == resumed


def test_a_segment_that_silences_whoever_takes_it_is_not_handed_round() -> None:
    """It would go through all processes that there are, and start more of them."""
    house = House()
    listener = house.say("One sentence.", EXACT)
    request = house.ledger.requests[listener.say.req]
    house.dispatch(request)
    assert house.ledger.movable(EXACT.provider, 1) == 1
    house.do(house.ledger.take_over(EXACT.provider, 1))
    assert request.waits
    job = house.dispatch(request)
    assert house.ledger.movable(EXACT.provider, 1) == 0
    assert house.ledger.take_over(EXACT.provider, 1) == []
    house.chunk(job, [1])
    house.ledger.windows[listener.session].credit(listener.say.req, 0, 99, house.now)
    assert house.ledger.movable(EXACT.provider, 1) == 1, "it got on since"


def test_work_of_a_suspect_stays_while_its_listener_has_enough_to_hear() -> None:
    house = House()
    listener = house.say("One sentence.", EXACT)
    job = house.dispatch(house.ledger.requests[listener.say.req])
    house.ledger.windows[listener.session].lend(listener.say.req, 1000, [RATE], RATE, house.now)
    assert house.ledger.take_over(job.provider, job.epoch) == []
    house.ledger.windows[listener.session].credit(listener.say.req, 1000, 1000, house.now)
    assert house.ledger.take_over(job.provider, job.epoch) != []
