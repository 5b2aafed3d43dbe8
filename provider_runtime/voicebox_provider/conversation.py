"""The provider's half of the conversation, as a state without sockets, threads or clocks.

It knows what is stale, what is held back before Welcome, when a Beat is due, and when there is nobody left to talk to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from voicebox_protocol import wire
from voicebox_protocol.errors import BadMessage
from voicebox_protocol.errors import Unsupported as UnsupportedKind
from voicebox_protocol.schema import (
    Beat,
    Bye,
    Cancel,
    Chunk,
    Decoder,
    Error,
    Exit,
    Fault,
    Malformed,
    Message,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Ready,
    Release,
    SegmentCancelled,
    SegmentDone,
    SegmentFailed,
    Synthesize,
    Unsupported,
    Welcome,
)

BEAT_S = 1.0
FIRST_BEAT_S = 0.05
WELCOME_S = 10.0

EXIT_OK = 0
EXIT_LOST = 1
EXIT_PERMANENT = 78

_NOTE_CHARS = 4096

SegmentEnd: TypeAlias = SegmentDone | SegmentFailed | SegmentCancelled | Prepared
_Key: TypeAlias = tuple[str, int, int]


@dataclass(eq=False, slots=True)
class Job:
    """One segment to speak. `text` is the payload's bytes and `prompt` the voice prompt's, None without one; `cancelled` turns
    true once, from the I/O thread."""

    request: Synthesize
    text: bytes
    prompt: bytes | None = None
    cancelled: bool = False

    def is_cancelled(self) -> bool:
        """Whether nobody wants the rest any more."""
        return self.cancelled


@dataclass(eq=False, slots=True)
class Listening:
    """One recording to listen to. `audio` is the payload's bytes; `cancelled` as in `Job`."""

    request: Prepare
    audio: bytes
    cancelled: bool = False

    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self.cancelled


@dataclass(frozen=True, slots=True)
class Leave:
    """The daemon, or a signal, wants the process to end."""

    reason: str


Delivery: TypeAlias = Job | Listening | Leave


@dataclass(slots=True)
class _State:
    boot: str | None = None
    loading: bool = True
    steps: int = 0
    stale: int = 0
    next_beat: float | None = None
    exit_code: int | None = None


Ranges: TypeAlias = list[tuple[int, int]]


def _keep(_: Ranges) -> None:
    """Where there is no arena nothing comes back."""


class Conversation:
    """Owns what was said between daemon and provider. `now` is any clock in seconds that only goes forward."""

    def __init__(
        self, epoch: int, deliver: Callable[[Delivery], None], now: float, release: Callable[[Ranges], None] = _keep
    ) -> None:
        """`release` is told which slots of the arena may be written anew."""
        self._epoch = epoch
        self._deliver = deliver
        self._release = release
        self._decoder = Decoder(wire.DAEMON_TO_PROVIDER)
        self._jobs: dict[_Key, Job | Listening] = {}
        self._state = _State()
        self._welcome_by = now + WELCOME_S

    @property
    def welcomed(self) -> bool:
        """Whether anything but Hello may be said."""
        return self._state.boot is not None

    @property
    def exit_code(self) -> int | None:
        """Set once the process has to end here and now, without the engine."""
        return self._state.exit_code

    @property
    def stale(self) -> int:
        """How many messages were dropped because they belong to another life."""
        return self._state.stale

    @property
    def steps(self) -> int:
        """How often the engine got on."""
        return self._state.steps

    def step(self) -> None:
        """The engine got on; the next Beat tells. Called from the main thread alone."""
        self._state.steps += 1

    def received(self, frames: Sequence[bytes], now: float) -> list[Message]:
        """Take one message from the daemon; gives what to answer at once."""
        try:
            message = self._decoder.message(*(frames if len(frames) > 1 else (b"", b""))[:2])
        except Unsupported as error:
            return [Error(code=UnsupportedKind.code, message=str(error)[:_NOTE_CHARS], req=error.req)]
        except Malformed as error:
            return [Error(code=BadMessage.code, message=str(error)[:_NOTE_CHARS])]
        return self._handle(message, frames[2] if len(frames) > 2 else b"", frames[3] if len(frames) > 3 else None, now)

    def sending(self, message: Message, now: float) -> None:
        """Note what the main thread says: it ends loading, or a segment."""
        if isinstance(message, Ready | Fault):
            self._state.loading = False
        elif isinstance(message, SegmentEnd):
            self._jobs.pop((message.req, message.attempt, message.segment), None)
        elif isinstance(message, Chunk) and self._state.next_beat is not None:
            self._state.next_beat = max(self._state.next_beat, now + BEAT_S)
        self._schedule(now)

    def leave(self, reason: str) -> list[Message]:
        """End in order. While the engine still loads nothing is owed, so nothing is waited for."""
        for job in self._jobs.values():
            job.cancelled = True
        if self._state.loading:
            self._state.exit_code = EXIT_OK
            return [Bye(reason=reason)]
        self._deliver(Leave(reason))
        return []

    def due(self, now: float) -> list[Message]:
        """What the time asks for: a Beat, or the end where nobody welcomed us."""
        if not self.welcomed and now >= self._welcome_by:
            self._state.exit_code = EXIT_LOST
        if self._state.next_beat is None or now < self._state.next_beat:
            return []
        self._state.next_beat = now + BEAT_S
        return [Beat(epoch=self._epoch, steps=self._state.steps)]

    def deadline(self) -> float | None:
        """When `due` has to be asked next; None if only a message can change anything."""
        return self._state.next_beat if self.welcomed else self._welcome_by

    def _handle(self, message: Message, payload: bytes, prompt: bytes | None, now: float) -> list[Message]:
        if isinstance(message, Welcome):
            self._welcome(message, now)
        elif isinstance(message, Error):
            self._refused(message)
        elif isinstance(message, Bye):
            return self.leave(message.reason or "the daemon leaves")
        elif self._is_stale(message):
            self._state.stale += 1
        elif isinstance(message, Synthesize):
            self._release(message.free_slots or [])
            self._take_on(message, Job(message, payload, prompt), now)
        elif isinstance(message, Prepare):
            self._take_on(message, Listening(message, payload), now)
        elif isinstance(message, Cancel):
            self._cancel(message)
        elif isinstance(message, Ping):
            return [Pong(query=message.query, epoch=self._epoch)]
        elif isinstance(message, Release):
            self._release(message.slots)
        elif isinstance(message, Exit):
            return self.leave(message.reason or "the daemon asked")
        return []

    def _welcome(self, message: Welcome, now: float) -> None:
        if self.welcomed:
            self._state.stale += 1
        elif wire.agree(message.proto, message.proto) is None:
            self._state.exit_code = EXIT_PERMANENT
        else:
            self._state.boot = message.boot
            self._schedule(now)

    def _refused(self, message: Error) -> None:
        """Before Welcome an Error says that this pair cannot work together; later ones the daemon acts upon itself."""
        if not self.welcomed:
            self._state.exit_code = EXIT_PERMANENT if message.code == "INCOMPATIBLE" else EXIT_LOST

    def _is_stale(self, message: Message) -> bool:
        epoch = getattr(message, "epoch", None)
        return getattr(message, "boot", None) != self._state.boot or epoch not in (None, self._epoch)

    def _take_on(self, request: Synthesize | Prepare, job: Job | Listening, now: float) -> None:
        if not self._jobs:
            # Soon: after a rest the daemon wants to know whether we still run. Sound, if it comes sooner, tells it too.
            self._state.next_beat = now + FIRST_BEAT_S
        self._jobs[request.req, request.attempt, request.segment] = job
        self._deliver(job)

    def _cancel(self, wanted: Cancel) -> None:
        """Whatever the Cancel leaves open it means all of. One that comes too late finds nothing."""
        for job in self._matching(wanted):
            job.cancelled = True

    def _matching(self, wanted: Cancel) -> Iterator[Job | Listening]:
        for (req, attempt, segment), job in self._jobs.items():
            if req == wanted.req and wanted.attempt in (None, attempt) and wanted.segment in (None, segment):
                yield job

    def _schedule(self, now: float) -> None:
        """Beats run while the daemon is owed something, and nothing ticks otherwise."""
        if not (self.welcomed and (self._state.loading or self._jobs)):
            self._state.next_beat = None
        elif self._state.next_beat is None:
            self._state.next_beat = now + BEAT_S
