"""What the two daemons have in common for the comparison: each is asked to speak, and says what it says of it."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from tests.bench.beside_sound import Sink

OURS, THEIRS = "voiceboxd", "speech-dispatcher"
SIDES = (OURS, THEIRS)


class Event(NamedTuple):
    """What a client was told of its request, and when, in seconds of `time.perf_counter`."""

    at: float
    what: str


class Told:
    """One request as its client meets it. Owns what it was told; `over` is set by the last word on it."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.events: list[Event] = []
        self.over = threading.Event()

    def hear(self, what: str, *, last: bool = False) -> None:
        self.events.append(Event(time.perf_counter(), what))
        if last:
            self.over.set()

    def first(self, what: str) -> float:
        """Milliseconds from the request to the first event of that name."""
        return (next(event.at for event in self.events if event.what == what) - self.begun) * 1000

    def since(self, moment: float) -> list[str]:
        """What it was told after a moment."""
        return [event.what for event in self.events if event.at > moment]


class Speaking(Protocol):
    """A client that is connected."""

    sign: str
    """The event that is the client's first sign of its speech."""

    def say(self, text: str) -> Told:
        """Ask for speech; where the daemon is gone, as its documentation says."""


class Side(Speaking, Protocol):
    """A daemon that runs, with a client that is connected, and has spoken once."""

    def command(self, text: str) -> list[str]:
        """The command that speaks, for `environment`."""

    @property
    def environment(self) -> dict[str, str]: ...

    def daemon(self) -> int:
        """The daemon's process."""

    def engine(self) -> int:
        """The process that speaks espeak-ng's voices."""

    def at_work(self) -> bool | None:
        """Whether that process has something to do just now, where the daemon says so."""

    def processes(self) -> dict[str, int]:
        """Those of the daemon, of its engines and of what plays, by name."""

    def ask(self) -> None:
        """What its daemon is asked for a round trip."""

    def list_voices(self) -> int:
        """Ask for espeak-ng's voices; gives how many there are."""


class Opener(Protocol):
    """How a `Side` is started; it is ended and removed afterwards."""

    def __call__(self, sink: Sink) -> AbstractContextManager[Side]: ...
