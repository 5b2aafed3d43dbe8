"""While somebody sends garbage as fast as it goes, others are served as ever (how fast: tests/bench/garbage.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon, Place, eventually
from tests.integration.wire_client import WireClient

MOST_MESSAGES = 20_000
MOST_SECONDS = 20
LEAST_REQUESTS = 10
ROOT = Path(__file__).parents[2]


def flood(
    place: Place, seed: int, messages: int = MOST_MESSAGES, seconds: float = MOST_SECONDS, pause: float = 0.0
) -> subprocess.Popen[str]:
    """The garbage client, running; with `pause`, so many seconds between two messages."""
    numbers = [str(number) for number in (seed, messages, seconds, pause)]
    program = [sys.executable, "-m", "tests.integration.garbage_client", *numbers]
    return place.popen(*program, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_flood_of_garbage_disturbs_nobody(daemon: Daemon, seed: int) -> None:
    with WireClient(daemon.place) as client:
        whole = client.speak("The kettle is on.", seed=5)
        assert whole.end["kind"] == "Done"
        flooding = flood(daemon.place, seed, MOST_MESSAGES // 2, MOST_SECONDS / 2)
        served = 0
        while flooding.poll() is None or served < LEAST_REQUESTS:
            ending = client.speak("The kettle is on.", seed=5)
            assert ending.end["kind"] == "Done"
            assert ending.samples == whole.samples
            served += 1
        output, _ = flooding.communicate(timeout=60)
        assert flooding.returncode == 0
        sent, answered = map(int, output.split())
        assert sent > 100
        assert answered > 0
        assert client.silent()
    status = eventually(lambda: _at_rest(daemon), "the flood is over")
    assert status["requests"]["failed"] == status["requests"]["cancelled"] == 0


def _at_rest(daemon: Daemon) -> dict[str, dict[str, int]] | None:
    status = daemon.status()
    counts = status["requests"]
    return status if not counts["active"] and not counts["queued"] else None
