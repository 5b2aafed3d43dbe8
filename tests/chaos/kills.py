"""A provider killed again and again while clients speak: `python -m tests.chaos.kills --kills 500`. Nothing is lost but
what the poison rule says, and the daemon does not grow."""

from __future__ import annotations

import argparse
import bisect
import contextlib
import os
import random
import signal
import sys
import time
from typing import Any, NamedTuple

from tests.chaos.cell import Heard, provider_of
from tests.chaos.crowd import POISON, Asked, Crowd, Memory, Record, references
from tests.integration.daemon import Daemon, eventually, running

CLIENTS = 4
BUDGET = 1_000_000
# What each kill may leave behind in the daemon: the names of requests that it remembers, and the allocator's mood.
BYTES_PER_KILL = 20_000
# So many of the kills wait until there is one that speaks or could; all come at any moment of the time that follows.
AT_WORK, LATER_S = 0.8, 0.3
AWAKE = {"ready", "busy", "suspect"}
TEXTS = (
    "[[slow:15]]One two three four five.",
    "[[slow:15]]Six seven eight nine ten. And then some more of it.",
    "Short.",
)
SEEDS = (1, 2, 3)
CONFIG = """
[provider.builtin]
enabled = false
[provider.calm]
engine = "voicebox_provider.testing:FakeEngine"
standby = "none"
settings = {{ ms_per_char = 60 }}
[provider.killed]
engine = "voicebox_provider.testing:FakeEngine"
standby = "{standby}"
restart_base_s = 0.05
restart_cap_s = 0.2
restart_budget = {budget}
settings = {{ ms_per_char = 60 }}
"""


class Report(NamedTuple):
    """What came of it. `waits`: seconds from each kill to the next sound that any client got; `slope` in bytes a kill."""

    kills: int
    record: Record
    waits: list[float]
    slope: float
    mebibytes: float
    provider: dict[str, Any]

    @property
    def poisoned(self) -> int:
        """Requests of which a segment broke twice at the same place; `judged` lets no other failure pass."""
        return self.record.ends["Failed PROVIDER_FAILED"]

    def lines(self) -> list[str]:
        """For people."""
        waits = sorted(self.waits) or [0.0]
        middle, late, longest = (_ms(waits[int((len(waits) - 1) * part)]) for part in (0.5, 0.99, 1.0))
        return [
            f"kills: {self.kills} (restart_budget {BUDGET}, so that they are not taken for a crash loop)",
            f"requests: {', '.join(f'{count} {end}' for end, count in sorted(self.record.ends.items()))}",
            f"given up by the poison rule: {self.poisoned}; lost otherwise: {len(self.record.wrong)}",
            *(f"  {words}" for words in self.record.wrong[:10]),
            f"kill to the next sound: median {middle}, 99 % {late}, longest {longest}",
            f"provider afterwards: {self.provider['state']}, {self.provider['restarts']} restarts",
            f"daemon: {self.mebibytes:.1f} MiB, {self.slope:+.0f} bytes a kill",
        ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def run(kills: int, standby: str, seed: int) -> Report:
    """So many kills at random moments, with clients that speak all the while."""
    chance = random.Random(seed)
    with running(CONFIG.format(standby=standby, budget=BUDGET)) as daemon:
        whole = references(daemon, TEXTS, SEEDS)

        def judge(asked: Asked, heard: Heard) -> str | None:
            return judged(heard, whole[asked.text, asked.seed])

        memory, struck = Memory(daemon.pid), list[float]()
        crowd = Crowd(daemon, CLIENTS, _choose, judge, seed=seed)
        with crowd:
            while len(struck) < kills:
                struck.extend(_kill(daemon, chance))
                memory.sample(len(struck))
        provider = eventually(lambda: _rested(daemon), "it rests")
        return Report(
            len(struck), crowd.record, _waits(struck, crowd.record), memory.slope(), memory.mebibytes, provider
        )


def judged(heard: Heard, whole: bytes) -> str | None:
    """What is wrong with an ending, if anything: all of the sound has to be there, or the poison rule to have been met."""
    end = heard.end
    if not all(heard.valid):
        return "a piece has a wrong checksum"
    if end["kind"] == "Failed":
        poison = end["code"] == "PROVIDER_FAILED" and POISON in end["message"]
        return None if poison and whole.startswith(heard.samples) else f"failed: {end['message']}"
    if end["kind"] != "Done" or end.get("resumed") not in (None, "exact"):
        return f"ended {end['kind']}, {end.get('resumed')}"
    return None if heard.samples == whole else "the sound is another"


def _choose(chance: random.Random) -> Asked:
    return Asked("killed", chance.choice(TEXTS), chance.choice(SEEDS))


def _kill(daemon: Daemon, chance: random.Random) -> list[float]:
    """Kill a process of the provider, mostly one that could speak; gives when, nothing if there was none."""
    if chance.random() < AT_WORK:
        eventually(lambda: _workers(daemon) & AWAKE, "one of them is loaded")
    time.sleep(chance.uniform(0.0, LATER_S))
    pids = [worker["pid"] for worker in provider_of(daemon, "killed")["workers"] if worker["pid"]]
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice(pids), signal.SIGKILL)
        return [time.time()]
    return []


def _workers(daemon: Daemon) -> set[str]:
    return {worker["state"] for worker in provider_of(daemon, "killed")["workers"]}


def _rested(daemon: Daemon) -> dict[str, Any] | None:
    return provider_of(daemon, "killed") if _workers(daemon) <= {"ready", "stopped"} else None


def _waits(struck: list[float], record: Record) -> list[float]:
    sounds = sorted(record.sounds)
    found = ((when, bisect.bisect_right(sounds, when)) for when in struck)
    return [sounds[index] - when for when, index in found if index < len(sounds)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kills")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--standby", choices=("none", "auto", "warm"), default="none")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    report = run(asked.kills, asked.standby, asked.seed)
    print("\n".join(report.lines()))
    return 1 if report.record.wrong or report.slope > BYTES_PER_KILL else 0


if __name__ == "__main__":
    sys.exit(main())
