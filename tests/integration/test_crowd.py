"""Many requests of restless clients, some of whom are killed: each request ends once, and nothing is left over."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import psutil

from tests.integration.daemon import Daemon, eventually
from tests.integration.wire_client import WireClient

CLIENTS = 3
REQUESTS = 100
PROGRAM = Path(__file__).parent / "restless_client.py"


def start(daemon: Daemon, number: int) -> subprocess.Popen[str]:
    return daemon.place.popen(sys.executable, str(PROGRAM), str(REQUESTS), str(number), stdout=subprocess.PIPE)


def footprint(daemon: Daemon) -> dict[str, int]:
    """What the daemon and its providers hold of the system."""
    processes = [psutil.Process(daemon.pid), *daemon.place.providers()]
    return {
        "processes": len(daemon.place.processes()),
        "descriptors": sum(process.num_fds() for process in processes),
        "threads": sum(process.num_threads() for process in processes),
    }


def ends(daemon: Daemon) -> dict[str, str]:
    """How each request ended, by the daemon's own log; fails if one ended twice."""
    found: dict[str, str] = {}
    for line in daemon.log():
        if line["event"] == "end":
            assert line["req"] not in found, f"{line['req']} ended twice"
            found[line["req"]] = line["state"]
    return found


def begun(daemon: Daemon) -> set[str]:
    return {line["req"] for line in daemon.log() if line["event"] == "request"}


def test_three_clients_with_a_hundred_requests_each_some_killed_some_cancelled(daemon: Daemon) -> None:
    with WireClient(daemon.place) as client:
        assert client.speak("Warm. And warm again.").end["kind"] == "Done"
    eventually(lambda: daemon.status()["providers"][0]["standby_pid"], "its spare is there")
    eventually(lambda: daemon.status()["daemon"]["connections"] == 0, "the first client has left")
    before = footprint(daemon)

    whims = random.Random(7)
    told: dict[str, str] = {}
    clients = [start(daemon, number) for number in range(CLIENTS)]
    for number, client in enumerate(clients):
        assert client.stdout is not None
        lives = REQUESTS if number == 0 else whims.randrange(10, REQUESTS)
        for _ in range(lives):
            req, how = client.stdout.readline().split()
            assert req not in told
            told[req] = how
        if lives < REQUESTS:
            client.kill()
        client.stdout.close()
        client.wait(60)
    replacements = [start(daemon, 10 + number) for number in range(CLIENTS - 1)]
    for client in replacements:
        output, _ = client.communicate(timeout=120)
        assert client.returncode == 0
        lines = [line.split() for line in output.splitlines()]
        assert len(lines) == REQUESTS
        told |= dict(lines)

    counts = eventually(lambda: _at_rest(daemon), "every request has ended")
    ended = ends(daemon)
    assert set(ended) == begun(daemon) >= set(told)
    assert counts["done"] + counts["failed"] + counts["cancelled"] == len(ended)
    assert counts["failed"] == 0
    assert set(told.values()) == {"done", "CANCELLED"}
    assert all((how == "done") == (ended[req] == "done") for req, how in told.items())
    eventually(lambda: footprint(daemon) == before, f"nothing more than before ({before}) is held")


def _at_rest(daemon: Daemon) -> dict[str, int] | None:
    status = daemon.status()
    counts: dict[str, int] = status["requests"]
    rests = not counts["active"] and not counts["queued"] and not status["daemon"]["connections"]
    return counts if rests else None
