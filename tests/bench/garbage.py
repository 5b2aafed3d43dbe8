"""Measures what a flood of garbage costs other clients: python -m tests.bench.garbage [ROUNDS]

One client asks for the same sentence again and again, in turns of a quiet round and one with a flood, so that whatever
else the machine does falls on both. Prints the 99th percentiles of the time to the first sound and to the end, and their ratios.
"""

from __future__ import annotations

import os
import platform
import sys
import time

from tests.integration.daemon import Place, running
from tests.integration.test_garbage_crowd import flood
from tests.integration.wire_client import WireClient

SENTENCE = "The kettle is on."
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
REQUESTS = 25
FLOOD_S = 30.0


def ask(client: WireClient) -> tuple[float, float]:
    """Milliseconds to the first sound and to the end."""
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
            return (heard - begun) * 1000, (ended - begun) * 1000


def asked_in_a_flood(place: Place, client: WireClient, number: int) -> list[tuple[float, float]]:
    flooding = flood(place, number, 10**9, FLOOD_S)
    time.sleep(1.0)  # until it has started
    times = [ask(client) for _ in range(REQUESTS)]
    assert flooding.poll() is None, "the flood ended too soon"
    flooding.terminate()
    flooding.communicate()
    return times


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def main() -> None:
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    quiet: list[tuple[float, float]] = []
    flooded: list[tuple[float, float]] = []
    with running() as daemon, WireClient(daemon.place) as client:
        ask(client)
        for number in range(ROUNDS):
            quiet += [ask(client) for _ in range(REQUESTS)]
            flooded += asked_in_a_flood(daemon.place, client, number)
    print(f"{len(quiet)} requests each\n\n| p99 | quiet | flooded | ratio |\n|---|---|---|---|")
    for column, what in enumerate(("first sound", "end")):
        before, during = (p99([times[column] for times in rows]) for rows in (quiet, flooded))
        print(f"| {what} | {before:.0f} ms | {during:.0f} ms | {during / before:.2f} |")


if __name__ == "__main__":
    main()
