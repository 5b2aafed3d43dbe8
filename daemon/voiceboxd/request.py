"""The records of the ledger: a request, the segment it is at, and the runs that spoke it. Data; `ledger` moves them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from voicebox_protocol import schema, wire
from voiceboxd.segmentation import Segment, Segmenter


class Assignment(NamedTuple):
    """Who speaks a request and how; fixed at `Accepted`. `max_chars` and `streaming` shape its segments."""

    provider: str
    voice: str
    language: str
    sample_rate: int
    max_chars: int = 400
    streaming: bool = False
    deterministic: bool = False
    scripts: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    """Consecutive segments spoken by one incarnation of a provider."""

    provider: str
    epoch: int
    outcome: str = "running"
    reason: str | None = None

    def as_map(self) -> dict[str, Any]:
        return {"provider": self.provider, "epoch": self.epoch, "outcome": self.outcome, "reason": self.reason}


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
    """One accepted `Say`. Times are seconds of the daemon's monotonic clock."""

    say: schema.Say
    session: str
    arrived: float
    deadline: float | None
    order: int
    seed: int
    assignment: Assignment | None = None
    segmenter: Segmenter | None = None
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
        return not self.ended and self.work is not None and self.work.attempt is None

    @property
    def runs_now(self) -> bool:
        return not self.ended and self.work is not None and self.work.attempt is not None

    def run_by(self, provider: str, epoch: int) -> None:
        """Note who speaks the next segment."""
        last = self.runs[-1] if self.runs else None
        if last is not None and last.outcome == "running":
            if (last.provider, last.epoch) == (provider, epoch):
                return
            last.outcome = "done"
        self.runs.append(Run(provider, epoch))

    def weaken(self, what: str) -> None:
        """Note that this happened; the weakest is told at the end."""
        order = (None, *wire.RESUMED)
        if order.index(what) > order.index(self.resumed):
            self.resumed = what


def segment_seed(seed: int, index: int) -> int:
    """The seed of segment `index`: 63 bits of SHA-256 over both, so that neighbours share nothing."""
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
