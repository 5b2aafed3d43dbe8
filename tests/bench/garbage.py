"""Measures what a flood of garbage costs other clients: python -m tests.bench.garbage [ROUNDS [TRIES]]

One client asks for the same sentence again and again, in turns of four rounds: with the machine quiet, with hundreds of bad
messages a second at its daemon's door, with as many as go at another daemon's, and with as many as go at its own. The
third costs the machine what the fourth does, for the flood and whoever answers it keep a core each busy; so of that only
the ratio of the fourth to the third is the daemon's. In turns, so that whatever else the machine does falls on all four.

Prints the 99th percentiles of the time to the first sound and to the end. Exit code 0 if in one of the tries both
some garbage to quiet and the flood here to the flood elsewhere stay under `MOST`, else 1: what the daemon costs is there
in every try and what other programs cost is not, so the best one is nearest to the truth.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from typing import NamedTuple

from tests.integration.daemon import Daemon, running
from tests.integration.test_garbage_crowd import flood
from tests.integration.wire_client import WireClient

SENTENCE = "The kettle is on."
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
TRIES = int(sys.argv[2]) if len(sys.argv) > 2 else 3
REQUESTS = 25
FLOOD_S = 60.0
PAUSE_S = 0.001
MOST = 2.0


class Times(NamedTuple):
    """Milliseconds of one request, or percentiles of many."""

    first_sound: float
    end: float

    def over(self, other: Times) -> Times:
        """The ratios."""
        return Times(self.first_sound / other.first_sound, self.end / other.end)


class Try(NamedTuple):
    """The 99th percentiles of one try."""

    quiet: Times
    some: Times
    elsewhere: Times
    here: Times


def ask(client: WireClient) -> Times:
    """Have the sentence spoken."""
    begun = time.perf_counter()
    req, heard = client.say(SENTENCE, seed=1), 0.0
    while True:
        message, _ = client.receive()
        assert message["req"] == req
        if message["kind"] == "Chunk":
            heard = heard or time.perf_counter()
            last = message["seq"] + len(message["descriptors"]) - 1
            client.send("Credit", boot=client.boot, req=req, first=message["seq"], last=last)
        elif message["kind"] in ("Done", "Failed", "Cancelled"):
            ended = time.perf_counter()
            client.send("EndAck", boot=client.boot, req=req)
            assert message["kind"] == "Done", message
            return Times((heard - begun) * 1000, (ended - begun) * 1000)


def quiet_round(client: WireClient) -> list[Times]:
    return [ask(client) for _ in range(REQUESTS)]


def refused(daemon: Daemon) -> int:
    """How much garbage a daemon has counted so far."""
    return sum(daemon.status()["dropped"].values())


def flooded_round(client: WireClient, victim: Daemon, seed: int, pause: float = 0.0) -> list[Times]:
    """A round while another program sends `victim` garbage, which is seen to arrive before the round and in it."""
    dry = refused(victim)
    flooding = flood(victim.place, seed, 10**9, FLOOD_S, pause)
    try:
        while (before := refused(victim)) == dry:
            assert flooding.poll() is None, "there is no flood"
        times = quiet_round(client)
        assert flooding.poll() is None, "the flood ended too soon"
        assert refused(victim) > before, "the flood does not arrive"
    finally:
        flooding.terminate()
        flooding.communicate()
    dry = before
    while (now := refused(victim)) != dry:
        # What the flood has left behind is not to fall on the next round.
        dry = now
        time.sleep(0.1)
    return times


def p99(rows: list[Times]) -> Times:
    first, end = (sorted(column)[min(len(rows) - 1, int(0.99 * len(rows)))] for column in zip(*rows, strict=True))
    return Times(first, end)


def one_try(number: int) -> Try:
    quiet: list[Times] = []
    some: list[Times] = []
    elsewhere: list[Times] = []
    here: list[Times] = []
    with running() as daemon, running() as other, WireClient(daemon.place) as client:
        ask(client)
        for turn in range(number * ROUNDS, (number + 1) * ROUNDS):
            quiet += quiet_round(client)
            some += flooded_round(client, daemon, turn, PAUSE_S)
            elsewhere += flooded_round(client, other, turn)
            here += flooded_round(client, daemon, turn)
    return Try(p99(quiet), p99(some), p99(elsewhere), p99(here))


def tell(found: Try) -> float:
    """Print a try; gives the worst of the ratios that are promised."""
    felt, own, seen = found.some.over(found.quiet), found.here.over(found.elsewhere), found.here.over(found.quiet)
    for index, what in enumerate(("first sound", "end")):
        times = " | ".join(f"{each[index]:.0f} ms" for each in found)
        print(f"| {what} | {times} | {felt[index]:.2f} | {own[index]:.2f} | {seen[index]:.2f} |", flush=True)
    return max(*felt, *own)


def main() -> int:
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{ROUNDS * REQUESTS} requests each\n")
    print("| p99 | quiet | some | flood elsewhere | flood here | some : quiet | here : elsewhere | here : quiet |")
    print("|---|---|---|---|---|---|---|---|")
    best = float("inf")
    for number in range(TRIES):
        best = min(best, tell(one_try(number)))
        if best < MOST:
            break
    print(f"\nthe worst of what is promised is {best:.2f}, {'under' if best < MOST else 'not under'} {MOST:g}")
    return 0 if best < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
