"""The records of the ledger: a request, the segment it is at, and the runs that spoke it. Data; `ledger` moves them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from voicebox_protocol import errors, schema, wire
from voiceboxd.resumption import Part, Standing
from voiceboxd.segmentation import Segment, Segmenter


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


@dataclass(slots=True)
class Run:
    """Consecutive segments spoken by one incarnation of a provider with one voice."""

    provider: str
    voice: str
    epoch: int
    outcome: str = "running"
    reason: str | None = None

    def as_map(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Work:
    """The segment that a request is at. `frames` and `crc` are of what its client has of it; `start` is where it begins
    in the client's timeline. `attempt` is set while a provider is at it, `proof_owed` until that said `Resumed`."""

    segment: Segment
    start: int
    frames: int = 0
    crc: int = 0
    attempt: int | None = None
    seq: int = 0
    proof_owed: bool = False
    failures: int = 0
    frames_at_failure: int = -1


@dataclass(slots=True)
class Request:
    """One accepted `Say`. Times are seconds of the daemon's monotonic clock. `tried` are those who spoke it and could not go
    on; while it is `stranded` nobody speaks it, and the error is how it ends if nobody can."""

    say: schema.Say
    session: str
    arrived: float
    deadline: float | None
    order: int
    seed: int
    assignment: Assignment | None = None
    tried: list[Passed] = field(default_factory=list)
    stranded: errors.VoiceboxError | None = None
    segmenter: Segmenter | None = None
    part: Part | None = None
    early_text: list[str] = field(default_factory=list)
    text_ended: bool = False
    text_received: int = 0
    text_consumed: int = 0
    text_granted: int = wire.TEXT_WINDOW
    work: Work | None = None
    attempts: int = 0
    runs: list[Run] = field(default_factory=list)
    provider: tuple[str, int] | None = None
    frames: int = 0
    seq: int = 0
    segments: int = 0
    delivered_chars: int = 0
    spoken: bool = False
    resumed: str | None = None
    first_audio: float | None = None
    ended: bool = False

    @property
    def req(self) -> str:
        return self.say.req

    @property
    def priority(self) -> int:
        """Rank of its priority: 0 is the most urgent."""
        return wire.PRIORITIES.index(self.say.priority or "message")

    @property
    def waits(self) -> bool:
        """Whether it could go to a provider now."""
        return not (self.ended or self.stranded) and self.work is not None and self.work.attempt is None

    @property
    def runs_now(self) -> bool:
        return not self.ended and self.work is not None and self.work.attempt is not None

    @property
    def speaker(self) -> Speaker | None:
        """Who spoke last, else who was to speak."""
        if self.runs:
            return Speaker(self.runs[-1].provider, self.runs[-1].voice)
        return self.assignment.speaker if self.assignment else None

    def run_by(self, speaker: Speaker, epoch: int) -> None:
        """Note who speaks the next segment."""
        last = self.runs[-1] if self.runs else None
        if last is not None and last.outcome == "running":
            if (last.provider, last.voice, last.epoch) == (*speaker, epoch):
                return
            last.outcome = "done"
        self.runs.append(Run(*speaker, epoch))

    def broke(self, reason: str) -> None:
        """Note that who spoke last could not go on."""
        if self.runs:
            self.runs[-1].outcome, self.runs[-1].reason = "failed", reason

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
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
