"""Random faults in random phases while clients speak, cancel and vanish, and providers are stopped and restarted by hand:
`python -m tests.chaos.storm --seconds 60`. What holds whatever happens is held; the daemon's memory is printed."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos import table
from tests.chaos.belongings import belongings, too_much
from tests.chaos.cell import CALM, Cell, Heard, configuration, control
from tests.chaos.crowd import Asked, Crowd, Memory, Record, references
from tests.integration.daemon import Daemon, eventually, running
from tests.integration.wire_client import WireClient

CLIENTS = 4
PROVIDERS = 12
SETTLES_S = 15.0
# The daemon remembers the names of the last 4096 requests, and its allocator grows in steps.
BYTES_PER_SECOND = 30_000
TEXTS = (
    "[[slow:15]]One two three four five.",
    "[[slow:15]]Six seven eight nine ten. And then some more of it.",
    "Short.",
)
SEEDS = (1, 2, 3)
# Whose sound is not what it should be, and nobody can know.
FALSE = {"drop", "babble", "wrong-crc"}
LIMITS: dict[str, Any] = {
    **table.SHORT,
    "hello_s": 6.0,
    "cancel_s": 3.0,
    "quarantine_s": 3.0,
    "keep_alive": "5s",
}


class Report(NamedTuple):
    """What came of it. `slope` in bytes a second; `kept` is what the daemon has too much of, `errors` what it logged as such."""

    seed: int
    record: Record
    struck: int
    slope: float
    mebibytes: float
    kept: list[str]
    errors: list[str]
    exit_code: int
    left: int

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be."""
        left = [f"{self.left} processes are left"] if self.left else []
        code = [f"the daemon ended with {self.exit_code}"] if self.exit_code else []
        return [*self.record.wrong, *self.kept, *self.errors, *code, *left]

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"faults: {self.struck}",
            f"requests: {', '.join(f'{count} {end}' for end, count in sorted(self.record.ends.items()))}",
            f"wrong: {len(self.wrong)}",
            *(f"  {words}" for words in self.wrong[:20]),
            f"daemon: {self.mebibytes:.1f} MiB, {self.slope:+.0f} bytes a second",
        ]


class Storm:
    """Owns what is thrown at one daemon, all of it drawn from one seed."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.cells = random.Random(seed).sample([cell for cell in table.whole() if not cell.always], PROVIDERS)
        self.struck = 0
        self._directory = directory
        self._chance = random.Random(f"{seed}:storm")
        self._armed: set[Cell] = set()

    def configuration(self) -> str:
        return configuration(self.cells, self._directory, dict.fromkeys(self.cells, LIMITS))

    def calm_down(self) -> None:
        """From now on nothing goes wrong that has not begun."""
        for cell in self.cells:
            cell.flag(self._directory).touch()

    def rage(self, daemon: Daemon, seconds: float, memory: Memory) -> None:
        """For so long."""
        end = time.monotonic() + seconds
        with WireClient(daemon.place, attach=False) as hand:
            while time.monotonic() < end:
                time.sleep(self._chance.uniform(0.0, 0.3))
                self._count()
                self._strike(hand)
                memory.sample()
        self._count()

    def _count(self) -> None:
        struck = {cell for cell in self._armed if cell.flag(self._directory).exists()}
        self.struck += len(struck)
        self._armed -= struck

    def _strike(self, hand: WireClient) -> None:
        cell = self._chance.choice(self.cells)
        if self._chance.random() < 0.8:
            cell.flag(self._directory).unlink(missing_ok=True)
            self._armed.add(cell)
        else:
            action = self._chance.choice(("start", "start", "stop", "restart"))
            hand.send("ControlProvider", query=1, provider=cell.provider, action=action)

    def choose(self, chance: random.Random) -> Asked:
        """What one of the clients asks for next."""
        text, seed = chance.choice(TEXTS), chance.choice(SEEDS)
        if chance.random() < 0.2:
            return Asked(CALM, text, seed)
        whim = chance.random()
        deadline = chance.randint(50, 3000) if whim < 0.1 else None
        leaves = "cancel" if 0.1 < whim < 0.2 else "vanish" if 0.2 < whim < 0.25 else ""
        return Asked(chance.choice(self.cells).provider, text, seed, deadline, leaves)

    def judge(self, asked: Asked, heard: Heard, whole: bytes) -> str | None:
        """What is wrong with an ending, if anything."""
        end = heard.end
        if len(heard.samples) != 4 * end["frames"]:
            return f"{len(heard.samples)} bytes of sound for {end['frames']} frames"
        false = any(cell.provider == asked.provider and cell.fault in FALSE for cell in self.cells)
        if not false and not all(heard.valid):
            return "a piece has a wrong checksum"
        if end["kind"] == "Done":
            exact = end.get("resumed") in (None, "exact")
            return None if false or not exact or heard.samples == whole else "the sound is another"
        if asked.provider == CALM:
            return f"it is calm, and ended {end['kind']}: {end.get('message')}"
        allowed = {"PROVIDER_FAILED", "UNSPEAKABLE" if false else "", "DEADLINE" if asked.deadline_ms else ""}
        fits = asked.leaves == "cancel" if end["kind"] == "Cancelled" else end["code"] in allowed
        return None if fits else f"ended {end['kind']}: {end.get('message')}"


def run(seconds: float, seed: int) -> Report:
    """A storm of so many seconds, and what is left after it."""
    with tempfile.TemporaryDirectory(prefix="vb-storm-") as directory:
        storm = Storm(Path(directory), seed)
        storm.calm_down()
        with running(storm.configuration()) as daemon:
            return _weather(daemon, storm, seconds, seed)


def _weather(daemon: Daemon, storm: Storm, seconds: float, seed: int) -> Report:
    whole = references(daemon, TEXTS, SEEDS)
    _breathe(daemon, storm)
    before, memory = belongings(daemon.pid), Memory(daemon.pid)
    crowd = Crowd(
        daemon, CLIENTS, storm.choose, lambda asked, heard: storm.judge(asked, heard, whole[asked.text, asked.seed]),
        seed=seed,
    )  # fmt: skip
    with crowd:
        storm.rage(daemon, seconds, memory)
        storm.calm_down()
    _end_all(daemon, storm)
    try:
        eventually(lambda: not too_much(before, belongings(daemon.pid)), "it has let go", within=SETTLES_S)
        kept = []
    except AssertionError:
        kept = too_much(before, belongings(daemon.pid))
    errors = errors_of(daemon)
    code = daemon.terminate()
    return Report(
        seed, crowd.record, storm.struck, memory.slope(), memory.mebibytes, kept, errors, code,
        len(daemon.place.processes()),
    )  # fmt: skip


def _breathe(daemon: Daemon, storm: Storm) -> None:
    """Everything once, so that what the daemon has afterwards is what it always has."""
    with WireClient(daemon.place) as client:
        for cell in storm.cells[:3]:
            client.speak("Hello.", provider=cell.provider)
    _end_all(daemon, storm)


def _end_all(daemon: Daemon, storm: Storm) -> None:
    for cell in storm.cells:
        control(daemon, cell.provider, "stop")
    eventually(lambda: len(daemon.place.processes()) == 2, "only the calm provider is left")
    eventually(lambda: daemon.status()["daemon"]["connections"] == 0, "the clients have left")
    time.sleep(0.2)


def errors_of(daemon: Daemon) -> list[str]:
    """What the daemon logged as faults of its own."""
    return [f"logged: {line['event']}" for line in daemon.log() if line["level"] in ("error", "critical")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    report = run(asked.seconds, asked.seed)
    print("\n".join(report.lines()))
    return 1 if report.wrong or report.slope > BYTES_PER_SECOND else 0


if __name__ == "__main__":
    sys.exit(main())
