"""A book spoken by one worker and by two: python -m tests.bench.book [--rounds 50]

The built-in voice speaks sixty-odd sentences, as fast as it can, for a client that takes everything at once. The clock runs from the
request to its first sound, and to its end.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import NamedTuple

from tests.bench.claims import Part, alone, in_turns, middle_and_late, paired
from tests.bench.stage import KEPT, Stage, stage
from tests.bench.texts import BOOK

WORKERS = {"one": 1, "two": 2}


class Reading(NamedTuple):
    """Milliseconds from the request on; what it sounded like, and how many segments it was cut into."""

    first: float
    total: float
    samples: bytes
    segments: int


def measure(rounds: int) -> list[Part]:
    found: dict[str, list[Reading]] = {name: [] for name in WORKERS}
    tables = [
        f'[provider.{name}]\nengine = "builtin"\nstandby = "none"\nworkers = {workers}\n{KEPT}'
        for name, workers in WORKERS.items()
    ]
    with stage(more="\n".join(tables)) as on:
        for name, workers in WORKERS.items():
            _read(on, name)
            on.at_rest(name, workers)
        for turn in range(rounds):
            for name in in_turns(list(WORKERS), turn):
                found[name].append(_read(on, name))
    assert len({reading.samples for name in WORKERS for reading in found[name]}) == 1, "it does not sound the same"
    one, two = found["one"], found["two"]
    first = [r.first for r in one], [r.first for r in two]
    total = [r.total for r in one], [r.total for r in two]
    audio = len(one[0].samples) / 4 / 24000
    return [
        Part(
            "A book",
            f"{one[0].segments} sentences, {audio:.0f} s of sound, by the built-in voice on {os.cpu_count()} cores, with `workers = 1` and "
            "`workers = 2`; the samples are the same. The client and the daemon want their part of the cores too.",
            ("", "one worker: median", "p99", "two: median", "p99", "two : one"),
            [
                (what, *middle_and_late(by_one), *middle_and_late(by_two), f"{paired(by_two, by_one):.2f}")
                for what, (by_one, by_two) in {"first sound": first, "the whole": total}.items()
            ]
            + [("how much faster than it sounds", _speed(total[0], audio), "", _speed(total[1], audio), "", "")],
        )
    ]


def _speed(total: list[float], audio: float) -> str:
    return f"{audio * 1000 / statistics.median(total):.0f}×"


def _read(on: Stage, name: str) -> Reading:
    speech = on.say(name, BOOK)
    first = speech.next_sound()
    end = speech.rest()
    whole = time.perf_counter()
    return Reading((first - speech.begun) * 1000, (whole - speech.begun) * 1000, speech.samples, end["segments"])


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
