"""How soon a process that was stopped is overcome: python -m tests.bench.stopped [--rounds 50]

SIGSTOP leaves a process there, with all its memory, and nobody is told. In mid-sentence the clock runs from the signal to the
client's next new sound. At rest nobody misses it: the clock runs from the next request to its first sound.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from tests.bench.claims import Claim, Part, alone, in_turns, middle_and_late
from tests.bench.stage import PROCESSES, SENTENCE, Stage, halt, stage

MOST_S = 4.0

FAKES = [(standby, standby, 0) for standby in PROCESSES]
CELLS = {"in mid-sentence": "speaking", "at rest": "idle"}


def measure(rounds: int) -> list[Part]:
    cells = [f"{when} {standby}" for when in CELLS.values() for standby in PROCESSES]
    found: dict[str, list[float]] = {cell: [] for cell in cells}
    with stage(FAKES, "[provider.builtin]\nenabled = false") as on:
        for standby in PROCESSES:
            on.prepare(standby, SENTENCE)
        for turn in range(rounds):
            for cell in in_turns(cells, turn):
                when, _, standby = cell.partition(" ")
                found[cell].append(_in_mid_sentence(on, standby) if when == "speaking" else _at_rest(on, standby))
    return [
        Part(
            "Stopped",
            "The same engine, stopped by SIGSTOP. In mid-sentence it is counted from the signal, at rest from the next request. The "
            "daemon waits three seconds for a sign of life (`suspect_s`), and half a second where work comes after a rest "
            "(`probe_s`): that is nearly all of it.",
            ("", "standby: median", "p99", "slowest", "none: median", "p99", "slowest"),
            [
                (
                    what,
                    *middle_and_late(found[f"{when} warm"], "s"),
                    f"{max(found[f'{when} warm']):.2f} s",
                    *middle_and_late(found[f"{when} none"], "s"),
                    f"{max(found[f'{when} none']):.2f} s",
                )
                for what, when in CELLS.items()
            ],
            [
                Claim(f"stopped {what}, standby {standby}: slowest", max(found[f"{when} {standby}"]), MOST_S, "s")
                for what, when in CELLS.items()
                for standby in PROCESSES
            ],
        )
    ]


def _in_mid_sentence(on: Stage, standby: str) -> float:
    """Seconds from the stop to the next sound."""
    on.at_rest(standby, PROCESSES[standby])
    speech, pid = on.stuck(standby)
    begun = time.perf_counter()
    os.kill(pid, signal.SIGSTOP)
    took = speech.next_sound() - begun
    on.check(standby, SENTENCE, speech)
    os.kill(pid, signal.SIGKILL)
    return took


def _at_rest(on: Stage, standby: str) -> float:
    """Seconds from the request to its first sound."""
    entry = on.at_rest(standby, PROCESSES[standby])
    # Whoever has spoken before is asked first, and that is not the standby.
    (pid,) = {worker["pid"] for worker in entry["workers"] if worker["pid"]} - {entry["standby_pid"]}
    halt(pid)
    speech = on.say(standby, SENTENCE)
    took = speech.next_sound() - speech.begun
    on.check(standby, SENTENCE, speech)
    os.kill(pid, signal.SIGKILL)
    return took


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
