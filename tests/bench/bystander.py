"""What others feel of a provider's death: python -m tests.bench.bystander [--rounds 50]

A client in a process of its own asks for `status` again and again, in windows of a second that take turns: while another client
has something spoken and nobody dies, while whoever speaks it is killed at once and taken over, and while the same happens to
another daemon on the machine. The last costs the processors what the second does, so it tells the machine's part.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from select import select

from tests.bench.claims import Claim, Part, alone, in_turns, middle_and_late, p99
from tests.bench.stage import PROCESSES, SENTENCE, Stage, stage
from tests.integration.wire_client import WireClient
from voicebox_protocol import endpoints, places

MOST = 3.0
WINDOW_S = 1.0
_PAUSE_S = 0.005

SIZES_MB = {"small": 0, "large": 1000}
FAKES = [(size, "warm", megabytes) for size, megabytes in SIZES_MB.items()]
CALM, ELSEWHERE = "calm", "elsewhere"
WINDOWS = (CALM, *SIZES_MB, ELSEWHERE)
_NAMES = {
    CALM: "nobody dies",
    "small": "small victims",
    "large": "victims of 1 GB",
    ELSEWHERE: "small victims, at another daemon",
}


def measure(rounds: int) -> list[Part]:
    found: dict[str, list[float]] = {window: [] for window in WINDOWS}
    quiet = "[provider.builtin]\nenabled = false"
    with stage(FAKES, quiet) as here, stage(FAKES, quiet) as there, _bystander(here) as bystander:
        for on in (here, there):
            for size in SIZES_MB:
                on.prepare(size, SENTENCE)
        for turn in range(rounds):
            for window in in_turns(WINDOWS, turn):
                for size in SIZES_MB:
                    here.at_rest(size, PROCESSES["warm"])
                    there.at_rest(size, PROCESSES["warm"])
                found[window] += _window(bystander, window, here, there)
    return [
        Part(
            "Others, meanwhile",
            f"Round trips of `status` by a client that has nothing to do with it, {WINDOW_S:g} s at a time in turns: {rounds} windows of "
            "each kind. Ratios are to the windows in which nobody dies. That the same deaths at another daemon cost something too is "
            "the processors': a successor's start wants them.",
            ("", "round trips", "median", "p99", "ratio of medians", "of p99s"),
            [
                (
                    _NAMES[window],
                    str(len(found[window])),
                    *middle_and_late(found[window]),
                    f"{statistics.median(found[window]) / statistics.median(found[CALM]):.2f}",
                    f"{p99(found[window]) / p99(found[CALM]):.2f}",
                )
                for window in WINDOWS
            ],
            [
                Claim(
                    f"others' `status` while {size} victims die: p99, to undisturbed",
                    p99(found[size]) / p99(found[CALM]),
                    MOST,
                    "×",
                )
                for size in SIZES_MB
            ],
        )
    ]


def _window(bystander: subprocess.Popen[str], window: str, here: Stage, there: Stage) -> list[float]:
    """One window: milliseconds of each round trip in it."""
    assert bystander.stdin is not None
    assert bystander.stdout is not None
    bystander.stdin.write("\n")
    bystander.stdin.flush()
    on, victim = (there, "small") if window == ELSEWHERE else (here, "small" if window == CALM else window)
    while not select([bystander.stdout], [], [], 0)[0]:
        _spoken(on, victim, kill=window != CALM)
    times: list[float] = json.loads(bystander.stdout.readline())
    return times


def _spoken(on: Stage, provider: str, *, kill: bool) -> None:
    """Something is spoken, and whoever begins it dies or does not."""
    on.at_rest(provider, PROCESSES["warm"])
    if kill:
        speech, pid = on.stuck(provider)
        os.kill(pid, signal.SIGKILL)
        on.check(provider, SENTENCE, speech)
    else:
        speech, begun = on.say(provider, SENTENCE), time.perf_counter()
        speech.rest()
        # As long as the other takes.
        time.sleep(max(0.0, 0.3 - (time.perf_counter() - begun)))


@contextmanager
def _bystander(on: Stage) -> Iterator[subprocess.Popen[str]]:
    process = on.place.popen(
        sys.executable, "-m", "tests.bench.bystander", "--watch", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class _Here:
    """The place that the environment names, for `WireClient`."""

    def transport(self) -> endpoints.Transport:
        return endpoints.transport(places.runtime_dir())


def watch() -> int:
    """The bystander: for each line that comes, a window's round trips in milliseconds go back as one; gives the exit code."""
    with WireClient(_Here(), attach=False) as client:  # type: ignore[arg-type]
        for _ in sys.stdin:
            times, end = list[float](), time.perf_counter() + WINDOW_S
            while (begun := time.perf_counter()) < end:
                client.send("Status", query=1)
                client.receive()
                times.append((time.perf_counter() - begun) * 1000)
                time.sleep(_PAUSE_S)
            print(json.dumps(times), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(watch() if "--watch" in sys.argv else alone(measure, __doc__))
