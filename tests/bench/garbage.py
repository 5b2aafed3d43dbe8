"""Measures what a flood of garbage costs other clients: python -m tests.bench.garbage [ROUNDS [TRIES]]

One client asks for the same sentence again and again, in turns of a quiet round and one with a flood, so that whatever
else the machine does falls on both. Prints the 99th percentiles of the time to the first sound and to the end, and their
ratios. Exit code 0 if in one of the tries both stay under `MOST`, else 1: what the daemon costs others is there in every try,
what other programs cost is not, so the best one is nearest to the truth.
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
MOST = 2.0


class Times(NamedTuple):
    """Milliseconds of one request, or their 99th percentiles."""

    first_sound: float
    end: float


class Try(NamedTuple):
    """The 99th percentiles of one try."""

    quiet: Times
    flooded: Times

    @property
    def ratios(self) -> Times:
        return Times(*(during / before for before, during in zip(self.quiet, self.flooded, strict=True)))


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


def refused(daemon: Daemon) -> int:
    """How much garbage the daemon has answered so far."""
    return sum(daemon.status()["dropped"].values())


def asked_in_a_flood(daemon: Daemon, client: WireClient, seed: int) -> list[Times]:
    """One round while another program sends garbage; it is seen to arrive before the round begins and after it."""
    dry = refused(daemon)
    flooding = flood(daemon.place, seed, 10**9, FLOOD_S)
    while (before := refused(daemon)) == dry:
        assert flooding.poll() is None
    times = [ask(client) for _ in range(REQUESTS)]
    assert flooding.poll() is None, "the flood ended too soon"
    assert refused(daemon) > before
    flooding.terminate()
    flooding.communicate()
    return times


def p99(rows: list[Times]) -> Times:
    return Times(*(sorted(column)[min(len(column) - 1, int(0.99 * len(column)))] for column in zip(*rows, strict=True)))


def one_try(number: int) -> Try:
    quiet: list[Times] = []
    flooded: list[Times] = []
    with running() as daemon, WireClient(daemon.place) as client:
        ask(client)
        for turn in range(ROUNDS):
            quiet += [ask(client) for _ in range(REQUESTS)]
            flooded += asked_in_a_flood(daemon, client, number * ROUNDS + turn)
    return Try(p99(quiet), p99(flooded))


def main() -> int:
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{ROUNDS * REQUESTS} requests each\n\n| p99 | quiet | flooded | ratio |\n|---|---|---|---|")
    best = float("inf")
    for number in range(TRIES):
        found = one_try(number)
        for what, before, during, ratio in zip(("first sound", "end"), *found, found.ratios, strict=True):
            print(f"| {what} | {before:.0f} ms | {during:.0f} ms | {ratio:.2f} |", flush=True)
        best = min(best, max(found.ratios))
        if best < MOST:
            break
    print(f"\nbest of {number + 1}: {best:.2f}, which is {'' if best < MOST else 'not '}under {MOST:g}")
    return 0 if best < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
