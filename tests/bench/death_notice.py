"""How soon the daemon hears that a provider was killed: python -m tests.bench.death_notice [--rounds 50]

From the signal until the event loop runs a callback: by the robust mutex in a shared page, and by the process handle of
the same victim. Small and large victims take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

from tests.bench.claims import Part, alone, in_turns, middle_and_late, paired
from voiceboxd.death_watch import DeathPage, DeathWatch, dying_code

SIZES_MB = {"small": 20, "large": 1000}
HANDLE = "process handle"
MUTEX = "robust mutex"
REASON = "robust mutex, after reading the reason"
PATIENCE_S = 60.0

VICTIM = """
import os, sys, threading
from voicebox_provider.death_notice import DeathNotice

def io():
    notice = DeathNotice(int(sys.argv[1]))
    held.set()
    threading.Event().wait()

held = threading.Event()
threading.Thread(target=io, daemon=True).start()
held.wait()
resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
ballast = b"x" * max(0, int(sys.argv[2]) * 1_000_000 - resident)
print("up", flush=True)
threading.Event().wait()
"""


def victim(page: DeathPage, megabytes: int) -> subprocess.Popen[bytes]:
    """A process that holds the mutex and has that much memory resident."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(page.descriptor), str(megabytes)],
        stdout=subprocess.PIPE,
        pass_fds=(page.descriptor,),
    )
    page.close()
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


async def one_death(deaths: DeathWatch, megabytes: int) -> dict[str, float]:
    """Milliseconds from SIGKILL to each of the notices."""
    loop, heard = asyncio.get_running_loop(), dict[str, float]()
    everything = asyncio.Event()

    def hear(what: str, at: float | None = None) -> None:
        heard.setdefault(what, at or time.perf_counter())
        if len(heard) == 3:
            everything.set()

    def told() -> None:
        loop.call_soon_threadsafe(hear, MUTEX)
        dying_code(process.pid)
        loop.call_soon_threadsafe(hear, REASON)

    page = DeathPage.make()
    assert page is not None, "this system has no such notice"
    process = victim(page, megabytes)
    handle = os.pidfd_open(process.pid)
    loop.add_reader(handle, hear, HANDLE)
    deaths.watch(page, told)
    # Both watchers are asleep by now, as they would be.
    await asyncio.sleep(0.05)
    begun = time.perf_counter()
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(everything.wait(), PATIENCE_S)
    loop.remove_reader(handle)
    os.close(handle)
    process.communicate()
    return {what: (at - begun) * 1000 for what, at in heard.items()}


async def many_deaths(rounds: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds, by victim and notice."""
    deaths = DeathWatch()
    taken: dict[tuple[str, str], list[float]] = {
        (size, what): [] for size in SIZES_MB for what in (REASON, MUTEX, HANDLE)
    }
    for turn in range(rounds):
        for size in in_turns(list(SIZES_MB), turn):
            for what, milliseconds in (await one_death(deaths, SIZES_MB[size])).items():
                taken[size, what].append(milliseconds)
    return taken


def measure(rounds: int) -> list[Part]:
    taken = asyncio.run(many_deaths(rounds))
    return [
        Part(
            "The notice of a death",
            "From the signal until the daemon's loop hears of it: by the mutex in the page that a provider shares with it, with and "
            "without reading what it died of, and by the same victim's process handle. The ratios are to the handle.",
            ("victim", "notice", "median", "p99", "ratio"),
            [
                (
                    f"{SIZES_MB[size]} MB",
                    what,
                    *middle_and_late(values),
                    f"1/{1 / paired(values, taken[size, HANDLE]):.1f}",
                )
                for (size, what), values in taken.items()
            ],
        )
    ]


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
