"""Measures how soon the daemon hears that a provider was killed: python tests/bench/death_notice.py [ROUNDS]

From the signal until the event loop runs a callback: by the robust mutex in a shared page, and by the process handle of
the same victim. Small and large victims take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import statistics
import subprocess
import sys
import time

from voiceboxd.death_watch import DeathPage, DeathWatch, dying_code

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
SIZES_MB = (20, 1000)
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


async def measure(deaths: DeathWatch, megabytes: int) -> dict[str, float]:
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


async def main() -> None:
    deaths = DeathWatch()
    taken: dict[tuple[int, str], list[float]] = {}
    for turn in range(ROUNDS):
        for megabytes in SIZES_MB if turn % 2 else SIZES_MB[::-1]:
            for what, milliseconds in (await measure(deaths, megabytes)).items():
                taken.setdefault((megabytes, what), []).append(milliseconds)
    print(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds\n"
    )
    print("| victim | notice | p50 | p99 | slowest |\n|---|---|---|---|---|")
    for (megabytes, what), values in sorted(taken.items()):
        middle, late = statistics.median(values), statistics.quantiles(values, n=100, method="inclusive")[98]
        print(f"| {megabytes} MB | {what} | {middle:.2f} ms | {late:.2f} ms | {max(values):.2f} ms |")


if __name__ == "__main__":
    asyncio.run(main())
