"""What a daemon does when there is nothing to do: python -m tests.bench.idle [--seconds 30]

Three providers are loaded, nobody asks for anything. Counted are the wake-ups of every thread (voluntary context switches)
and the processor time, of the daemon and of each provider. Exits with 1 if the daemon woke up more than once in ten seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
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
        after = {name: read(pid) for name, pid in pids.items()}
    print(f"{'process':10} {'wake-ups/s':>10} {'processor':>10}   threads that woke, a second")
    for name in pids:
        report(name, before[name], after[name], seconds)
    woken = sum(after["daemon"].wakes.values()) - sum(before["daemon"].wakes.values())
    return int(woken / seconds > MOST_WAKE_UPS_A_SECOND)


def report(name: str, before: Reading, after: Reading, seconds: float) -> None:
    woken = {thread: count - before.wakes.get(thread, 0) for thread, count in after.wakes.items()}
    threads = ", ".join(f"{thread} {count / seconds:.2f}" for thread, count in woken.items() if count)
    share = (after.seconds - before.seconds) / seconds
    print(f"{name:10} {sum(woken.values()) / seconds:10.2f} {share:9.2%}   {threads or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
