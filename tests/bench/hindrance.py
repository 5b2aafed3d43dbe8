"""Programs that are bad listeners: python -m tests.bench.hindrance stopped | slow

One asks for a lot, reads a single piece of it, and is stopped by its owner; the other reads one piece at a time, with long pauses, for
ever. Children of the bench; each prints a line once it is as it says.
"""

from __future__ import annotations

import sys
import time

from tests.bench import prepared
from tests.bench.rivals import PROVIDER
from voicebox_client import Voicebox
from voicebox_provider import lifeline

WAYS = ("stopped", "slow")

_SENTENCE = prepared.text(10_000)
_REQUESTS = 20
_PAUSE_S = 0.05


def stopped(box: Voicebox) -> None:
    """More than the window of a session holds."""
    speeches = [box.say(_SENTENCE, provider=PROVIDER) for _ in range(_REQUESTS)]
    next(iter(speeches[0]))
    print("stop me", flush=True)
    time.sleep(3600)


def slow(box: Voicebox) -> None:
    """A piece, a pause."""
    told = False
    while True:
        for _ in box.say(_SENTENCE, provider=PROVIDER):
            if not told:
                print("reading", flush=True)
                told = True
            time.sleep(_PAUSE_S)


if __name__ == "__main__":
    lifeline.die_with_parent()
    with Voicebox(autostart=False) as box:
        {"stopped": stopped, "slow": slow}[sys.argv[1]](box)
