"""An hour of sound, much faster than real time: python -m tests.bench.endurance

A client asks for one request after the other, short ones and long ones, and reads every sample, until an hour of sound has gone
through provider, daemon and client. After each minute of it the memory that each of the three has for itself (USS) is read;
what counts is the slope of the straight line through the last four fifths, in MiB for each hour of sound. Then the same again with
a provider that loses 4 MiB in that hour, which the measurement has to find. Descriptors, threads and mappings are
counted after the first fifth and at the end.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from tests.bench.children import Child
from tests.bench.claims import Claim, Part, Row, alone, told
from tests.bench.rivals import PROVIDER, ours, voice_client
from tests.chaos.belongings import Belongings, belongings, too_much

MOST_MIB_PER_HOUR = 1.0
LEAK_MIB_PER_HOUR = 4.0
HOURS = 1.0

# Milliseconds of each request; a minute in all.
MINUTE = (100,) * 10 + (1_000,) * 9 + (10_000,) * 2 + (30_000,)
PROCESSES = ("daemon", "provider", "client")

_FIFTHS = 5
_MEBIBYTE = 2**20


class Course(NamedTuple):
    """One process through the hour: mebibytes after each minute, and what it had open when it counted first and at the end."""

    mebibytes: list[float]
    first: Belongings
    last: Belongings

    @property
    def slope(self) -> float:
        """Of what counts, in MiB for each hour of sound."""
        counted = _counted(self.mebibytes)
        return statistics.linear_regression([minute / 60 for minute in range(len(counted))], counted).slope

    @property
    def more(self) -> list[str]:
        """What it has open at the end that it had not before, in words."""
        return too_much(self.first, self.last)


def measure(rounds: int) -> list[Part]:
    """`rounds` does not matter: an hour is an hour."""
    sound, leaky = _hour(0), _hour(LEAK_MIB_PER_HOUR)
    more = [word for course in sound.values() for word in course.more]
    return [
        Part(
            "An hour of sound",
            f"{HOURS:g} h in {len(MINUTE) * _minutes()} requests of {min(MINUTE) / 1000:g} s to {max(MINUTE) / 1000:g} s, as fast as it "
            "goes. Memory of each process for itself (USS), read after each minute of sound; the slope is that of the last four fifths. "
            "The leak was put there, to see that it is found.",
            ("", "at a fifth", "at the end", "slope for each hour of sound", "opened and kept"),
            [
                *(_row(name, course) for name, course in sound.items()),
                _row(f"provider that loses {LEAK_MIB_PER_HOUR:g} MiB", leaky["provider"]),
            ],
            [
                *(
                    Claim(f"an hour of sound, memory of the {name}: slope", course.slope, MOST_MIB_PER_HOUR, "MiB")
                    for name, course in sound.items()
                ),
                Claim("an hour of sound: descriptors, threads and mappings kept", len(more), 0, "more"),
                Claim(
                    f"the slope that is found where {LEAK_MIB_PER_HOUR:g} MiB are lost",
                    leaky["provider"].slope,
                    MOST_MIB_PER_HOUR,
                    "MiB",
                    at_least=True,
                ),
            ],
        )
    ]


def _row(name: str, course: Course) -> Row:
    counted = _counted(course.mebibytes)
    memory = told(counted[0], "MiB"), told(counted[-1], "MiB"), told(course.slope, "MiB")
    return name, *memory, "; ".join(course.more) or "nothing"


def _hour(leak_mib_per_hour: float) -> dict[str, Course]:
    """One run of daemon, provider and client."""
    with ours(leak_mib_per_hour=leak_mib_per_hour) as daemon, voice_client(daemon) as client:
        pids = dict(zip(PROCESSES, [*daemon.pids, client.pid], strict=True))
        memory: dict[str, list[float]] = {name: [] for name in pids}
        first: dict[str, Belongings] = {}
        for minute in range(_minutes()):
            _speak_a_minute(client)
            for name, pid in pids.items():
                memory[name].append(psutil.Process(pid).memory_full_info().uss / _MEBIBYTE)
            if minute == _skipped():
                first = {name: belongings(pid) for name, pid in pids.items()}
        return {name: Course(memory[name], first[name], belongings(pid)) for name, pid in pids.items()}


def _speak_a_minute(client: Child) -> None:
    for milliseconds in MINUTE:
        client.ask("fetch", provider=PROVIDER, ms=milliseconds, pids=[])


def _minutes() -> int:
    return round(HOURS * 60)


def _counted(values: Sequence[float]) -> Sequence[float]:
    """The last four fifths."""
    return values[_skipped() :]


def _skipped() -> int:
    """How many minutes are for everything to find its size."""
    return _minutes() // _FIFTHS


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
