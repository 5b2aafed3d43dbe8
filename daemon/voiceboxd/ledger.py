"""The ledger: every request that came in, what its client has of it, and its one end. A pure core: no socket, task or clock.

Each method takes what happened and when, changes the books, and returns what is to be sent. The promise that everything
here serves: a request that was admitted ends in exactly one of `Done`, `Failed` and `Cancelled`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from voicebox_protocol import checksum, errors, schema, wire
from voiceboxd import lookahead, messages
from voiceboxd.chunk_rules import checked_pieces, marks_in_request
from voiceboxd.effects import Decided, Effect, Payload, Seek, ToClient, ToProvider, Violation
from voiceboxd.messages import REASON_TOLD
from voiceboxd.pace import Pace
from voiceboxd.request import Assignment, HeardPart, Held, Passed, Request, Verdict, Work
from voiceboxd.resumption import standing
from voiceboxd.scripts import foreign_words, quoted
from voiceboxd.segmentation import Segmenter
from voiceboxd.window import BYTES_PER_FRAME, Window

MAX_TRIES = 2
# With less than this much unheard sound before it, a listener would hear that a provider gives no sign of life.
HEDGE_BELOW_S = 1.0
REMEMBERED = 4096
# A streamed text must not need more of itself to be cut than the client may send: at most three quarters of TEXT_WINDOW
# are sure to be granted, and a character takes up to four bytes.
LONGEST_SEGMENT = 12_000
LONGEST_DEADLINE_MS = 10**12


class Slot(NamedTuple):
    """One segment that a provider has in work."""

    req: str
    attempt: int


class Counts(NamedTuple):
    """For `status`."""

    active: int
    queued: int
    done: int
    failed: int
    cancelled: int


class Ledger:
    """Owns the requests, the sessions' windows and what each provider has in work."""

    def __init__(self, boot: str, resume_patience: float = 1.5) -> None:
        self.boot = boot
        self._resume_patience = resume_patience
        self._pace = Pace()
        self.requests: dict[str, Request] = {}
        self.windows: dict[str, Window] = {}
        self._slots: dict[tuple[str, int], set[Slot]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._order = 0
        self._totals = {"Done": 0, "Failed": 0, "Cancelled": 0}

    # --- what is in the books

    def counts(self) -> Counts:
        active = sum(request.runs_now or (request.aloud and request.frames > 0) for request in self.requests.values())
        totals = self._totals
        return Counts(active, len(self.requests) - active, totals["Done"], totals["Failed"], totals["Cancelled"])

    def in_work(self, provider: str, epoch: int) -> int:
        """How many segments this incarnation has."""
        return len(self._slots.get((provider, epoch), ()))

    def knows(self, req: str) -> bool:
        """Whether a request of this name is here, or was a while ago."""
        return req in self.requests or req in self._ended

    def owned(self, session: str, req: str) -> Request | None:
        """The request, if it is this session's and goes on."""
        request = self.requests.get(req)
        return request if request is not None and request.session == session else None

    def held_bytes(self, *, ahead: bool = True) -> int:
        """Sound that all sessions together hold."""
        return sum(window.held_bytes + ahead * window.reserved_bytes for window in self.windows.values())

    # --- a request comes in

    def admit(
        self, say: schema.Say, session: str, text: str, seed: int, now: float, prompt: bytes | None = None
    ) -> Request:
        """Enter a request. From here on it has an end."""
        deadline = None if say.deadline_ms is None else now + min(say.deadline_ms, LONGEST_DEADLINE_MS) / 1000
        self._order += 1
        request = Request(say, session, now, deadline, self._order, seed, prompt)
        request.early_text.append(text)
        request.text_received = len(text.encode())
        request.text_ended = not say.more
        request.stand(standing(say))
        self.requests[say.req] = request
        self.windows.setdefault(request.listener, Window(now))
        return request

    def accept(self, request: Request, assignment: Assignment, now: float) -> list[Effect]:
        """It is known who will speak it."""
        request.assignment = assignment
        longest = min(assignment.max_chars, LONGEST_SEGMENT)
        request.segmenter = Segmenter(
            assignment.language,
            longest,
            shorten_first=not assignment.streaming,
            number=request.say.from_segment or 0,
            position=request.say.from_char or 0,
        )
        early, request.early_text = "".join(request.early_text), []
        told = [messages.accepted(self.boot, request), *self._tell_who_speaks(request, "speaks")]
        return told + self._take_text(request, early, now)

    def text(self, request: Request, text: str, last: bool, now: float) -> list[Effect]:
        """More text came from the client."""
        if request.verdict is not None:
            return []
        if request.text_ended:
            return self.fail(request, errors.BadRequest("Text came after the text had ended"), now)
        request.text_received += len(text.encode())
        if request.text_received > request.text_granted:
            return self.fail(request, errors.BadRequest("more text than TextCredit allowed"), now)
        request.text_ended = last
        if request.segmenter is None:
            request.early_text.append(text)
            return []
        return self._take_text(request, text, now)

    def _take_text(self, request: Request, text: str, now: float) -> list[Effect]:
        assert request.segmenter is not None
        request.segmenter.feed(text)
        if request.text_ended:
            request.segmenter.finish()
        return self._advance(request, now)

    def _advance(self, request: Request, now: float) -> list[Effect]:
        """Bring the next segment forward, if there is none and its end is certain; end the request after the last."""
        assert request.segmenter is not None
        assert request.assignment is not None
        effects: list[Effect] = []
        while request.work is None:
            segment = None if request.ahead else request.segmenter.next()
            if request.ahead:
                effects += self._promote(request, request.ahead.popleft(), now)
                continue
            if segment is None:
                break
            request.text_consumed += len(segment.text.encode())
            if not segment.speakable:
                if request.part:
                    return [*effects, *self.fail(request, _no_such_part(segment.number), now)]
                request.delivered_chars = segment.end
                continue
            return [*effects, *self._begin(request, request.begin(segment), now), *self._grant(request)]
        if request.work is None and request.segmenter.exhausted:
            return effects + self._finish(request, now)
        return effects + self._grant(request)

    def _begin(self, request: Request, work: Work, now: float) -> list[Effect]:
        """A segment's turn has come, and nobody has begun it."""
        assignment = request.assignment
        assert assignment is not None
        if request.stranded:
            return []
        if foreign := foreign_words(work.segment.text, assignment.scripts):
            return self.strand(request, _unspeakable(assignment, foreign))
        if work.frames and not assignment.deterministic:
            why = f"the daemon before has gone, and {assignment.provider} never repeats itself exactly"
            return self._inexact(request, why, now)
        return []

    def _promote(self, request: Request, work: Work, now: float) -> list[Effect]:
        """The turn has come of a segment that was begun before it: its client gets what there is of it."""
        if not work.segment.speakable:
            request.delivered_chars = work.segment.end
            return []
        request.work, work.start = work, request.frames
        held = work.held
        lookahead.release(self.windows.get(request.listener), work)
        effects: list[Effect] = [self._lend(request, work, each, now) for each in held]
        if work.done:
            request.spoken = True
            self._close(request, work)
            return effects
        if work.attempt is None:
            return effects + self._begin(request, work, now)
        return effects

    def _finish(self, request: Request, now: float) -> list[Effect]:
        """The text has ended and all of it was spoken."""
        if request.part:
            return self.fail(request, _no_such_part(request.say.from_segment or 0), now)
        if not request.spoken:
            return self.fail(request, errors.NothingToSay("the text holds no letter and no digit"), now)
        return self._end(request, Verdict("Done"), now)

    def _grant(self, request: Request) -> list[Effect]:
        upto = request.text_consumed + wire.TEXT_WINDOW
        if request.ended or request.text_ended or upto - request.text_granted < wire.TEXT_WINDOW // 4:
            return []
        request.text_granted = upto
        return [ToClient(request.session, schema.TextCredit(boot=self.boot, req=request.req, upto=upto))]

    # --- providers at work

    def look_ahead(self, request: Request, depth: int) -> Work | None:
        """A later segment that could be spoken beside the present one, at most `depth` of them, if there is room for its sound."""
        if depth < 1 or not self.windows[request.listener].open:
            return None
        return lookahead.waiting(request, depth)

    def dispatch(
        self, request: Request, work: Work, epoch: int, now: float, free: list[tuple[int, int]] | None = None
    ) -> list[Effect]:
        """Hand a waiting segment to an incarnation of the assigned provider, and tell it which slots of its arena are free."""
        assignment = request.assignment
        assert assignment is not None
        provider = assignment.provider
        request.run_by(assignment.speaker, epoch)
        request.attempts += 1
        work.attempt, work.at = request.attempts, (provider, epoch)
        work.seq, work.proof_owed, work.postponed, work.begun = 0, work.frames > 0, False, now
        self._slots.setdefault((provider, epoch), set()).add(Slot(request.req, work.attempt))
        order = messages.synthesize(self.boot, request, work, epoch, now, free)
        text = work.segment.text.encode()
        return [ToProvider(provider, epoch, order, text, request.prompt), *self._grant(request)]

    def chunk(
        self, provider: str, epoch: int, chunk: schema.Chunk, payload: Payload, now: float
    ) -> list[Effect] | None:
        """Sound came: lend it to the client, or hold it until its turn. None if it is stale; `Violation` if it breaks a rule."""
        found = self._at_work(provider, epoch, chunk.req, chunk.attempt)
        if found is None:
            return None
        request, work = found
        assert request.assignment is not None
        rate = request.assignment.sample_rate
        held = Held(chunk, payload, checked_pieces(chunk, work, len(payload), rate), rate)
        marks_in_request(chunk.marks, work)
        for _, _, count, crc in chunk.descriptors:
            work.crc = checksum.combine(work.crc, crc, count * BYTES_PER_FRAME)
        work.keep(chunk.state)
        work.seq += len(held.counts)
        work.frames += sum(held.counts)
        if work is request.work:
            return [self._lend(request, work, held, now)]
        work.held.append(held)
        self.windows[request.listener].reserve(sum(held.counts), rate)
        return []

    def due(self, provider: str, epoch: int, req: str, attempt: int) -> bool | None:
        """Whether what comes of this attempt goes to the client at once; None if it is stale."""
        found = self._at_work(provider, epoch, req, attempt)
        return None if found is None else found[1] is found[0].work

    def _lend(self, request: Request, work: Work, held: Held, now: float) -> ToClient:
        if request.first_audio is None:
            request.first_audio = now
        self.windows[request.listener].lend(request.req, request.seq, held.counts, held.rate, now)
        message = messages.chunk(self.boot, request, work, held)
        request.frames += sum(held.counts)
        request.seq += len(held.counts)
        return message

    def resumed(self, provider: str, epoch: int, proof: schema.Resumed, now: float) -> list[Effect] | None:
        """A repeated prefix came out: the same as the client has, or not."""
        found = self._at_work(provider, epoch, proof.req, proof.attempt)
        if found is None:
            return None
        request, work = found
        if not work.proof_owed:
            raise Violation("Resumed without from_frame")
        work.proof_owed = False
        if (proof.frames, proof.crc32) == (work.frames, work.crc):
            request.weaken("exact")
            return [self._notice(request, "RESUMED", f"{provider} goes on exactly where it broke off")]
        cancel = self._cancel_attempt(request, work)
        work.attempt = None
        return cancel + self._inexact(request, f"{provider} did not repeat the same samples", now)

    def segment_done(self, provider: str, epoch: int, done: schema.SegmentDone, now: float) -> list[Effect] | None:
        """A segment is complete."""
        found = self._at_work(provider, epoch, done.req, done.attempt)
        if found is None:
            self._free(provider, epoch, done.req, done.attempt)
            return None
        request, work = found
        if work.proof_owed or done.frames != work.frames:
            raise Violation(f"SegmentDone counts {done.frames} frames where {work.frames} came")
        self._free(provider, epoch, done.req, done.attempt)
        self._pace.note(provider, now - work.begun, self._seconds(request, work))
        work.attempt = None
        if work is not request.work:
            work.done = work.frames > 0
            work.postponed = not work.done
            return []
        if not work.frames:
            assert request.assignment is not None
            return self._refused(request, _unspeakable(request.assignment, [work.segment.text.strip()[:40]]))
        request.spoken = True
        self._close(request, work)
        return self._advance(request, now)

    def segment_failed(
        self, provider: str, epoch: int, failed: schema.SegmentFailed, now: float
    ) -> list[Effect] | None:
        """A provider could not speak a segment but lives on."""
        found = self._at_work(provider, epoch, failed.req, failed.attempt)
        self._free(provider, epoch, failed.req, failed.attempt)
        if found is None:
            return None
        request, work = found
        if work is not request.work:
            lookahead.postpone(self.windows.get(request.listener), work)
            return []
        work.attempt = None
        error = errors.from_wire(failed.code, failed.message)
        if isinstance(error, errors.Unspeakable):
            return self._refused(request, error)
        if isinstance(error, errors.UsageError | errors.SpeechError):
            return self.fail(request, error, now)
        # Whatever it thought of before it failed is nothing to go on from.
        work.state = b""
        return self._broke(request, f"{provider}: {failed.message}", now)

    def segment_cancelled(self, provider: str, epoch: int, cancelled: schema.SegmentCancelled) -> list[Effect] | None:
        """A provider stopped a segment as asked. None if it had no such segment; `Violation` if nobody had asked."""
        if self._at_work(provider, epoch, cancelled.req, cancelled.attempt) is not None:
            raise Violation("SegmentCancelled without Cancel")
        known = Slot(cancelled.req, cancelled.attempt) in self._slots.get((provider, epoch), ())
        self._free(provider, epoch, cancelled.req, cancelled.attempt)
        return [] if known else None

    def provider_lost(self, provider: str, epoch: int, reason: str, now: float) -> list[Effect]:
        """An incarnation is gone, with all that it had in work."""
        reason = f"{provider}: {reason}"[:REASON_TOLD]
        slots = sorted(self._slots.get((provider, epoch), ()))
        found = [at_work for slot in slots if (at_work := self._at_work(provider, epoch, *slot)) is not None]
        self._slots.pop((provider, epoch), None)
        # All of it is off its hands before anything follows from that.
        for request, work in found:
            work.attempt = None
            if work is not request.work:
                request.broke(work.at, reason)
                lookahead.postpone(self.windows.get(request.listener), work)
        due = [request for request, work in found if work is request.work]
        return [effect for request in due for effect in self._broke(request, reason, now)]

    def take_over(self, provider: str, epoch: int) -> list[Effect]:
        """An incarnation owes a sign of life and another one is free: give it the work whose listener is about to hear a gap.
        What cannot be continued exactly stays where it is, for the first one may come back."""
        effects: list[Effect] = []
        for slot in sorted(self._slots.get((provider, epoch), ())):
            found = self._at_work(provider, epoch, *slot)
            if found is None or not self._may_move(*found):
                continue
            request, work = found
            effects += self._cancel_attempt(request, work)
            request.broke(work.at, f"{provider}: it gave no sign of life in time")
            if work is request.work:
                work.attempt, work.frames_at_move = None, work.frames
            else:
                lookahead.postpone(self.windows.get(request.listener), work)
        return effects

    def movable(self, provider: str, epoch: int) -> int:
        """How many segments somebody else could take over from an incarnation."""
        slots = self._slots.get((provider, epoch), ())
        found = [at_work for slot in slots if (at_work := self._at_work(provider, epoch, *slot)) is not None]
        return sum(self._may_move(*at_work) for at_work in found)

    def _may_move(self, request: Request, work: Work) -> bool:
        """Once, unless it got on since: a segment that silences whoever takes it is not to go through all processes there are."""
        assert request.assignment is not None
        if work.frames <= work.frames_at_move:
            return False
        held = self.windows[request.listener].seconds_of(request.req)
        return work is not request.work or (
            held < HEDGE_BELOW_S and (request.assignment.deterministic or not work.frames)
        )

    def _broke(self, request: Request, reason: str, now: float) -> list[Effect]:
        """An attempt failed half-way: try again, exactly if that can be; a segment that fails twice in place is poison."""
        work, assignment = request.work, request.assignment
        assert work is not None
        assert assignment is not None
        work.attempt = None
        reason = reason[:REASON_TOLD]
        request.broke(work.at, reason)
        work.failures = 1 if work.frames > work.frames_at_failure else work.failures + 1
        # Kept when the segment is begun again: one that breaks off no later has not got on.
        work.frames_at_failure = work.frames
        exact = not work.frames or (assignment.deterministic and self._may_repeat(request, work))
        if not exact and (request.say.on_failure or "next") != "segment":
            return self._inexact(request, reason, now)
        if work.failures >= MAX_TRIES:
            return self.strand(
                request, errors.ProviderFailed(f"failed {work.failures} times at the same place: {reason}")
            )
        if assignment.metered:
            return self.strand(request, errors.ProviderFailed(f"{reason}; it costs money and is not asked again"))
        return [] if exact else self._inexact(request, reason, now)

    def _may_repeat(self, request: Request, work: Work) -> bool:
        """Whether making again what was heard takes no longer than somebody waits who may have the next sentence instead. An
        engine that kept what a successor goes on from means that it does not."""
        assert request.assignment is not None
        if work.state or (request.say.on_failure or "next") != "next":
            return True
        heard = self._seconds(request, work)
        return self._pace.needed(request.assignment.provider, heard) <= self._resume_patience

    def _seconds(self, request: Request, work: Work) -> float:
        assert request.assignment is not None
        return work.frames / request.assignment.sample_rate

    # --- another goes on

    def strand(self, request: Request, error: errors.VoiceboxError) -> list[Effect]:
        """Whoever speaks it cannot go on: somebody else is sought, and if there is nobody, this is its end."""
        if request.ended or request.stranded or request.verdict:
            return []
        assert request.assignment is not None
        effects = self._cancel_attempts(request)
        if request.work is not None:
            request.work.attempt = None
        lookahead.give_back(self.windows.get(request.listener), request)
        request.stranded = error
        request.tried.append(Passed(request.assignment.speaker, str(error)[:REASON_TOLD]))
        return [*effects, Seek(request.req)]

    def _refused(self, request: Request, error: errors.Unspeakable) -> list[Effect]:
        """A provider lives on but cannot speak a segment's words."""
        request.broke(request.work.at if request.work else None, str(error)[:REASON_TOLD])
        return self.strand(request, error)

    def hand_on(self, request: Request, successor: Assignment, now: float) -> list[Effect]:
        """Somebody goes on with a stranded request, with its running segment from the start if not exactly."""
        before, error, work = request.assignment, request.stranded, request.work
        assert before is not None
        assert error is not None
        assert request.segmenter is not None
        # Who makes the same samples takes about as long for them.
        exact = work is None or not work.frames or (successor.repeats(before) and self._may_repeat(request, work))
        if not exact and request.say.on_failure == "fail":
            return self.fail(request, error, now)
        request.assignment, request.stranded = successor, None
        request.segmenter.shorten(successor.max_chars)
        if work is not None:
            work.failures, work.frames_at_failure, work.frames_at_move = 0, -1, -1
        told = self._tell_who_speaks(request, "goes on")
        effects = [] if exact else self._inexact(request, str(error)[:REASON_TOLD], now)
        # What is skipped may have been the last.
        return effects if request.ended else told + effects

    def renew(self, request: Request, fingerprint: str, now: float) -> list[Effect]:
        """The incarnation that speaks next has this fingerprint: what one of another had begun is not continued exactly."""
        assignment = request.assignment
        assert assignment is not None
        if fingerprint == assignment.fingerprint:
            return []
        request.assignment = assignment._replace(fingerprint=fingerprint)
        if request.work is None or not request.work.frames:
            return []
        return self._inexact(request, f"{assignment.provider} came back as another version of itself", now)

    def _tell_who_speaks(self, request: Request, how: str) -> list[Effect]:
        """A notice if somebody should have spoken and does not."""
        assignment = request.assignment
        assert assignment is not None
        whys = [each.why for each in assignment.passed if each.broken]
        return [self._notice(request, "FAILOVER", f"{'; '.join(whys)}; {assignment.speaker} {how}")] if whys else []

    def _notice(self, request: Request, code: str, words: str) -> ToClient:
        return messages.notice(self.boot, request, code, words)

    def _inexact(self, request: Request, reason: str, now: float) -> list[Effect]:
        """The client has a part of the segment that cannot be continued exactly: do as the request says."""
        work, how = request.work, request.say.on_failure or "next"
        assert work is not None
        if how == "fail":
            return self.fail(request, errors.ProviderFailed(reason), now)
        request.weaken(how)
        if how == "segment":
            request.frames = work.start
            work.again()
            reset = schema.Reset(
                boot=self.boot, req=request.req, segment=work.segment.number, frames=work.start, reason=reason
            )
            return [ToClient(request.listener, reset)]
        request.spoken = True
        request.work = None
        skipped = self._notice(request, "SKIPPED", f"the rest of a sentence is missing: {reason}")
        return [skipped, *self._advance(request, now)]

    def _close(self, request: Request, work: Work) -> None:
        request.segments += 1
        request.delivered_chars = work.segment.end
        request.work = None

    def _at_work(self, provider: str, epoch: int, req: str, attempt: int) -> tuple[Request, Work] | None:
        """The request and segment whose present attempt this is, or None: the message is stale."""
        if Slot(req, attempt) not in self._slots.get((provider, epoch), ()):
            return None
        request = self.requests.get(req)
        works = request.works if request is not None else []
        return next(((request, work) for work in works if request and work.attempt == attempt), None)

    def _free(self, provider: str, epoch: int, req: str, attempt: int) -> None:
        slots = self._slots.get((provider, epoch), set())
        slots.discard(Slot(req, attempt))
        if not slots:
            self._slots.pop((provider, epoch), None)

    # --- ends

    def cancel(self, request: Request, now: float, reason: str | None = None) -> list[Effect]:
        """Somebody stopped it, or something, which has a reason."""
        return self._end(request, Verdict("Cancelled", reason=reason), now)

    def fail(self, request: Request, error: errors.VoiceboxError, now: float) -> list[Effect]:
        """It cannot be spoken to its end."""
        return self._end(request, Verdict("Failed", error), now)

    def expire(self, now: float) -> list[Effect]:
        """End what is past its deadline."""
        late = [r for r in self.requests.values() if r.deadline is not None and r.deadline <= now]
        return [
            effect
            for request in late
            for effect in self.fail(request, errors.DeadlineExceeded("the deadline passed before it was spoken"), now)
        ]

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        return min((r.deadline for r in self.requests.values() if r.deadline is not None), default=None)

    def session_closed(self, session: str, now: float) -> list[Effect]:
        """A client is gone: end all it asked for. Nobody is there to be told."""
        effects = [e for request in self._of_session(session) for e in self._orphan(request, now)]
        self.windows.pop(session, None)
        return [effect for effect in effects if not isinstance(effect, ToClient)]

    def _orphan(self, request: Request, now: float) -> list[Effect]:
        if not (request.aloud and request.say.detached):
            return self.cancel(request, now)
        request.session = ""
        # The rest of its text will not come.
        return [] if request.text_ended else self.text(request, "", True, now)

    def forget(self, session: str, req: str) -> None:
        """The client has the terminal message: what it still holds is its own."""
        if req not in self.requests and (window := self.windows.get(session)) is not None:
            window.forget(req)

    def _of_session(self, session: str) -> Iterator[Request]:
        return iter([request for request in self.requests.values() if request.session == session])

    def _cancel_attempts(self, request: Request) -> list[Effect]:
        return [effect for work in request.works for effect in self._cancel_attempt(request, work)]

    def _cancel_attempt(self, request: Request, work: Work) -> list[Effect]:
        if work.attempt is None or work.at is None:
            return []
        provider, epoch = work.at
        cancel = schema.Cancel(
            boot=self.boot, req=request.req, epoch=epoch, attempt=work.attempt, segment=work.segment.number
        )
        return [ToProvider(provider, epoch, cancel)]

    def _end(self, request: Request, verdict: Verdict, now: float) -> list[Effect]:
        """The one place where it is decided how a request ends. One for the loudspeaker does when it is known what was heard of it."""
        if request.ended or (request.verdict is not None and verdict.kind == "Done"):
            return []
        if not request.aloud:
            return self._close_request(request, verdict, now)
        effects = self._give_up_work(request, verdict)
        request.verdict, request.stranded = verdict, None
        if verdict.kind != "Done":
            request.deadline = None
        return [*effects, Decided(request.req)]

    def settle(self, request: Request, heard: HeardPart, now: float) -> list[Effect]:
        """The end of one for the loudspeaker, of which so much was heard."""
        assert request.verdict is not None
        return [] if request.ended else self._close_request(request, request.verdict, now, heard)

    def _give_up_work(self, request: Request, verdict: Verdict) -> list[Effect]:
        """No more of it is spoken."""
        effects = self._cancel_attempts(request)
        for work in request.ahead:
            lookahead.release(self.windows.get(request.listener), work)
        request.close_runs(verdict.kind.lower())
        request.work = None
        request.ahead.clear()
        return effects

    def _close_request(
        self, request: Request, verdict: Verdict, now: float, heard: HeardPart | None = None
    ) -> list[Effect]:
        kind, effects = verdict.kind, self._give_up_work(request, verdict)
        request.ended = True
        del self.requests[request.req]
        self._ended[request.req] = None
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._totals[kind] += 1
        if (kind != "Done" or request.aloud) and (window := self.windows.get(request.listener)) is not None:
            window.forget(request.req)
        return [*effects, messages.terminal(self.boot, request, verdict, now, heard)]


def _no_such_part(segment: int) -> errors.BadRequest:
    return errors.BadRequest(f"from_frame counts frames of segment {segment}, in which nothing is spoken")


def _unspeakable(assignment: Assignment, words: list[str]) -> errors.Unspeakable:
    return errors.Unspeakable(f"the voice {assignment.voice} of {assignment.provider} cannot read {quoted(words)}")
