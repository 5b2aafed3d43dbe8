"""The records of the ledger: a request, the segment it is at, and the runs that spoke it. Data; `ledger` moves them."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import msgspec

from voicebox_protocol import errors, schema, wire
from voiceboxd.effects import Payload
from voiceboxd.resumption import Part, Standing
from voiceboxd.segmentation import Segment, Segmenter

# The listener of all that is for the loudspeaker; a session's name is longer.
SPEAKER = "speaker"


class Speaker(NamedTuple):
    """A voice of a provider; either may be empty where a request named only the other."""

    provider: str
    voice: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.voice}"


class Passed(NamedTuple):
    """Who was to speak a request and does not: `why` says so with its name in front, `broken` that it should have been able
    to (it is in trouble, or it tried)."""

    speaker: Speaker
    why: str
    broken: bool = True


class Origin(NamedTuple):
    """Who was to speak first: whose chain is followed, and whose very voice others may have. `engine` is what it calls
    itself, None if it never said."""

    speaker: Speaker
    engine: str | None = None
    reference: str | None = None


class Assignment(NamedTuple):
    """Who speaks a request and how; the rate is fixed at `Accepted`. `max_chars` and `streaming` shape its segments.
    `passed` are those who were to speak before."""

    provider: str
    voice: str
    language: str
    sample_rate: int
    max_chars: int = 400
    streaming: bool = False
    deterministic: bool = False
    scripts: tuple[str, ...] = ()
    fingerprint: str = ""
    metered: bool = False
    origin: Origin | None = None
    passed: tuple[Passed, ...] = ()

    @property
    def speaker(self) -> Speaker:
        return Speaker(self.provider, self.voice)

    def repeats(self, other: Assignment) -> bool:
        """Whether it makes the very samples that another makes."""
        alike = self.voice == other.voice and bool(self.fingerprint) and self.fingerprint == other.fingerprint
        return alike and self.deterministic and other.deterministic


class Verdict(NamedTuple):
    """How a request for the loudspeaker ends once it is known how much of it was heard. `reason` is for one that was cancelled."""

    kind: str
    error: errors.VoiceboxError | None = None
    reason: str | None = None


class HeardPart(NamedTuple):
    """What was heard of a request at the loudspeaker: frames of its timeline and characters of its text."""

    frames: int
    chars: int


class Run(msgspec.Struct):
    """Consecutive segments spoken by one incarnation of a provider with one voice."""

    provider: str
    voice: str
    epoch: int
    outcome: str = "running"
    reason: str | None = None

    def as_map(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self)


class Held(NamedTuple):
    """Sound that came before its turn: a provider's chunk, checked. `counts` are the frames of its pieces, `rate` in Hz."""

    chunk: schema.Chunk
    payload: Payload
    counts: list[int]
    rate: int


class Work(msgspec.Struct):
    """A segment that a request is at, or will be. `frames` and `crc` are of what came of it; `start` is where it begins
    in the client's timeline. `attempt` is set while the incarnation `at` is at it, `proof_owed` until that said `Resumed`.

    `state` came with its sound, for a successor to go on from; None if it was too much.

    Before its turn its sound is `held`; `done` if there is all of it, `postponed` if it has to wait for its turn."""

    segment: Segment
    start: int
    frames: int = 0
    crc: int = 0
    state: bytes | None = b""
    attempt: int | None = None
    at: tuple[str, int] | None = None
    begun: float = 0.0
    seq: int = 0
    proof_owed: bool = False
    failures: int = 0
    frames_at_failure: int = -1
    frames_at_move: int = -1
    held: list[Held] = msgspec.field(default_factory=list)
    done: bool = False
    postponed: bool = False

    def keep(self, state: bytes | None) -> None:
        """Join what came with its sound, as far as a header holds it."""
        if state and self.state is not None:
            fits = len(self.state) + len(state) <= wire.MAX_STATE
            self.state = self.state + state if fits else None

    def again(self) -> None:
        """Nothing of it counts any more."""
        self.frames, self.crc, self.state = 0, 0, b""

    @property
    def waits(self) -> bool:
        """Whether it could be handed to a provider."""
        return self.attempt is None and not self.done and not self.postponed


class Request(msgspec.Struct):
    """One accepted `Say`. Times are seconds of the daemon's monotonic clock. `tried` are those who spoke it and could not go
    on; while it is `stranded` nobody speaks it, and the error is how it ends if nobody can. `prompt` is the voice prompt that came with
    it, as it came. One for the loudspeaker is `held_back` until its turn is near, and has a `verdict` from when no more of it is
    spoken until it is known what was heard."""

    say: schema.Say
    session: str
    arrived: float
    deadline: float | None
    order: int
    seed: int
    prompt: bytes | None = None
    assignment: Assignment | None = None
    tried: list[Passed] = msgspec.field(default_factory=list)
    stranded: errors.VoiceboxError | None = None
    segmenter: Segmenter | None = None
    part: Part | None = None
    early_text: list[str] = msgspec.field(default_factory=list)
    text_ended: bool = False
    text_received: int = 0
    text_consumed: int = 0
    text_granted: int = wire.TEXT_WINDOW
    work: Work | None = None
    ahead: deque[Work] = msgspec.field(default_factory=deque)
    attempts: int = 0
    runs: list[Run] = msgspec.field(default_factory=list)
    frames: int = 0
    seq: int = 0
    segments: int = 0
    delivered_chars: int = 0
    spoken: bool = False
    resumed: str | None = None
    first_audio: float | None = None
    ended: bool = False
    held_back: bool = False
    verdict: Verdict | None = None

    @property
    def req(self) -> str:
        return self.say.req

    @property
    def aloud(self) -> bool:
        """Whether it is for the loudspeaker."""
        return self.say.sink == "speaker"

    @property
    def listener(self) -> str:
        """Who takes its sound, and whose window that fills: its session, or the loudspeaker."""
        return SPEAKER if self.aloud else self.session

    @property
    def priority(self) -> int:
        """Rank of its priority: 0 is the most urgent."""
        return wire.PRIORITIES.index(self.say.priority or "message")

    @property
    def waits(self) -> bool:
        """Whether it could go to a provider now."""
        idle = self.ended or self.stranded or self.held_back or self.verdict
        return not idle and self.work is not None and self.work.attempt is None

    @property
    def runs_now(self) -> bool:
        return not self.ended and self.work is not None and self.work.attempt is not None

    @property
    def speaker(self) -> Speaker | None:
        """Who spoke last, else who was to speak."""
        if self.runs:
            return Speaker(self.runs[-1].provider, self.runs[-1].voice)
        return self.assignment.speaker if self.assignment else None

    @property
    def works(self) -> list[Work]:
        """Its segments that are in work or wait, in their order."""
        return [*([self.work] if self.work is not None else []), *self.ahead]

    def run_by(self, speaker: Speaker, epoch: int) -> None:
        """Note who speaks the next segment."""
        busy = {work.at for work in self.works if work.attempt is not None}
        for run in self.runs:
            if run.outcome == "running" and (run.provider, run.epoch) not in busy | {(speaker.provider, epoch)}:
                run.outcome = "done"
        if not any(r.outcome == "running" and (r.provider, r.voice, r.epoch) == (*speaker, epoch) for r in self.runs):
            self.runs.append(Run(*speaker, epoch))

    def broke(self, at: tuple[str, int] | None, reason: str) -> None:
        """Note that an incarnation could not go on."""
        for run in self.runs:
            if run.outcome == "running" and (run.provider, run.epoch) == at:
                run.outcome, run.reason = "failed", reason

    def close_runs(self, outcome: str) -> None:
        """It has ended so; who was not at work at that moment had done all that was asked."""
        busy = {work.at for work in self.works if work.attempt is not None}
        for run in self.runs:
            if run.outcome == "running":
                run.outcome = outcome if (run.provider, run.epoch) in busy else "done"

    def stand(self, standing: Standing) -> None:
        """Count on from what its client has already."""
        self.part = standing.part
        self.frames = standing.frames
        self.segments = standing.segment
        self.delivered_chars = standing.char
        self.spoken = standing.base > 0

    def begin(self, segment: Segment) -> Work:
        """Its next segment, of which the client may have a part already."""
        part, self.part = self.part or Part(0, 0), None
        self.work = Work(segment, start=self.frames - part.frames, frames=part.frames, crc=part.crc)
        return self.work

    def weaken(self, what: str) -> None:
        """Note that this happened; the weakest is told at the end."""
        order = (None, *wire.RESUMED)
        if order.index(what) > order.index(self.resumed):
            self.resumed = what


def segment_seed(seed: int, index: int) -> int:
    """The seed of segment `index`: 63 bits of SHA-256 over both, so that neighbours share nothing."""
    # Not before somebody speaks: OpenSSL comes in with it.
    import hashlib

    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
