"""What a daemon does when there is nothing to do: python -m tests.bench.idle

Three providers are loaded, nobody asks for anything. Counted are the wake-ups of every thread (voluntary context switches)
and the processor time, of the daemon and of each provider, for thirty seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench.claims import Claim, Part, Row, alone
from tests.integration.daemon import running
from tests.integration.wire_client import WireClient

CONFIG = """
[provider.one]
engine = "voicebox_provider.testing:FakeEngine"
[provider.two]
engine = "voicebox_provider.testing:FakeEngine"
"""
PROVIDERS = ("builtin", "one", "two")
MOST_WAKE_UPS_A_SECOND = 0.1
SECONDS = 30.0


class Reading(NamedTuple):
    """Wake-ups by thread, and processor seconds of the whole process."""

    wakes: dict[str, int]
    seconds: float


def read(pid: int) -> Reading:
    """Linux only: what the kernel counted of a process so far."""
    wakes = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        line = next(line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary_ctxt"))
        wakes[f"{name} ({task.name})"] = int(line.split()[1])
    spent = psutil.Process(pid).cpu_times()
    return Reading(wakes, spent.user + spent.system)


def watch(seconds: float) -> dict[str, tuple[Reading, Reading]]:
    """The first and the last reading of each process."""
    with running(CONFIG) as daemon:
        with WireClient(daemon.place) as client:
            for provider in PROVIDERS:
                assert client.speak("Hello.", provider=provider).end["kind"] == "Done"
        time.sleep(2.0)
        pids = {"daemon": daemon.pid}
        pids |= {p["id"]: p["pid"] for p in daemon.status()["providers"] if p["pid"]}
        time.sleep(2.0)
        before = {name: read(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        return {name: (before[name], read(pid)) for name, pid in pids.items()}


def measure(rounds: int) -> list[Part]:
    """`rounds` does not matter: one look is long enough."""
    found = watch(SECONDS)
    wakes = {
        name: (sum(after.wakes.values()) - sum(before.wakes.values())) / SECONDS
        for name, (before, after) in found.items()
    }
    return [
        Part(
            "At rest",
            f"Three providers are loaded and nobody asks for anything, for {SECONDS:.0f} s: how often a second a thread of the process "
            "wakes up, and what it takes of a processor.",
            ("process", "wake-ups a second", "processor", "threads that woke"),
            [_row(name, wakes[name], *found[name]) for name in found],
            [Claim("wake-ups of the idle daemon", wakes["daemon"], MOST_WAKE_UPS_A_SECOND, "/s")],
        )
    ]


def _row(name: str, wakes: float, before: Reading, after: Reading) -> Row:
    woken = {thread: count - before.wakes.get(thread, 0) for thread, count in after.wakes.items()}
    threads = ", ".join(f"{thread} {count / SECONDS:.2f}" for thread, count in woken.items() if count)
    return name, f"{wakes:.2f}", f"{(after.seconds - before.seconds) / SECONDS:.2%}", threads or "none"


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
