"""Clients that speak in a loop, each in a thread of its own, and hold what they get against the undisturbed sound."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.cell import CALM, LONGEST_S, Heard, listen
from tests.integration.daemon import Daemon
from tests.integration.wire_client import WireClient
from voicebox_protocol import wire

POISON = "times at the same place"


class Asked(NamedTuple):
    """What a client asks for: who shall speak which text with which seed. `leaves`: it stops the request at its first message
    (cancel), or is gone without a word (vanish)."""

    provider: str
    text: str
    seed: int
    deadline_ms: int | None = None
    leaves: str = ""


@dataclass
class Record:
    """What clients met with. `wrong` are the things that must not be, in words; `sounds` when sound came, in seconds since the
    epoch."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sounds: list[float] = field(default_factory=list)

    def note(self, asked: Asked, heard: Heard, complaint: str | None) -> None:
        """How one ended."""
        self.ends[outcome_of(heard)] += 1
        self.sounds.extend(at for at, kind in zip(heard.times, heard.kinds, strict=True) if kind == "Chunk")
        if sum(kind in wire.TERMINAL for kind in heard.kinds) != 1:
            self.wrong.append(f"{asked}: {heard.kinds}")
        if complaint is not None:
            self.wrong.append(f"{asked}: {complaint}")

    def add(self, other: Record) -> None:
        self.ends.update(other.ends)
        self.wrong.extend(other.wrong)
        self.sounds.extend(other.sounds)


class Crowd:
    """Owns the clients. `judge` says what is wrong with an ending, or None."""

    def __init__(
        self,
        daemon: Daemon,
        clients: int,
        choose: Callable[[random.Random], Asked],
        judge: Callable[[Asked, Heard], str | None],
        *,
        seed: int,
    ) -> None:
        self.record = Record()
        self._daemon = daemon
        self._choose = choose
        self._judge = judge
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._live, args=(random.Random(f"{seed}:{number}"),)) for number in range(clients)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _live(self, chance: random.Random) -> None:
        own = Record()
        while not self._over.is_set():
            with WireClient(self._daemon.place) as client:
                while not self._over.is_set() and self._speak(client, self._choose(chance), own):
                    pass
        with self._lock:
            self.record.add(own)

    def _speak(self, client: WireClient, asked: Asked, own: Record) -> bool:
        """One request to its end; False if the client is to vanish."""
        try:
            return self._until_end(client, asked, own)
        except Exception as error:
            own.wrong.append(f"{asked}: {type(error).__name__}: {error}")
            return False

    def _until_end(self, client: WireClient, asked: Asked, own: Record) -> bool:
        heard = Heard()
        req = client.say(asked.text, provider=asked.provider, seed=asked.seed, deadline_ms=asked.deadline_ms)
        if asked.leaves:
            heard.take(*client.receive(LONGEST_S))
            if asked.leaves == "vanish":
                own.ends["vanished"] += 1
                return False
            client.send("Cancel", boot=client.boot, req=req)
        listen(client, req, heard)
        own.note(asked, heard, self._judge(asked, heard))
        return True


def outcome_of(heard: Heard) -> str:
    """The kind of its end, with what was resumed or the code: `Done exact`, `Failed PROVIDER_FAILED`."""
    end = heard.end
    more = end.get("code") if end["kind"] == "Failed" else end.get("resumed")
    return f"{end['kind']} {more}" if more else str(end["kind"])


def references(daemon: Daemon, texts: Sequence[str], seeds: Sequence[int]) -> dict[tuple[str, int], bytes]:
    """The undisturbed sound of each text with each seed, by the provider that nothing happens to."""
    with WireClient(daemon.place) as client:
        asked = [(text, seed) for text in texts for seed in seeds]
        return {(text, seed): client.speak(text, provider=CALM, seed=seed).samples for text, seed in asked}


class Memory:
    """Owns samples of a process's resident memory, and fits a line through them."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._process = psutil.Process(pid)
        self._began = time.monotonic()
        self.samples: list[tuple[float, int]] = []

    def sample(self, at: float | None = None) -> None:
        """Note what it is; `at` counts what else than seconds the slope is for."""
        when = time.monotonic() - self._began if at is None else at
        self.samples.append((when, self._process.memory_info().rss))

    def slope(self) -> float:
        """Bytes for each second, or whatever was counted, over the last two thirds of the samples: what is not warm-up."""
        points = self.samples[len(self.samples) // 3 :]
        if len(points) < 2:
            return 0.0
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0

    @property
    def mebibytes(self) -> float:
        return self.samples[-1][1] / 2**20 if self.samples else 0.0
