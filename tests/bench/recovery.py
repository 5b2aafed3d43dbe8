"""From a provider's death to the listener's next sound: python -m tests.bench.recovery [--rounds 50]

A client is in the middle of a request when the process that speaks it is killed; the clock runs from the signal until the
client has the next new sound. Nothing is on its way at that moment: the engine that needs no time stops in mid-sentence by
itself, and the built-in voice is stopped just before. Providers with a standby and without one take turns.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import time
from typing import NamedTuple

import psutil

from tests.bench.claims import Claim, Part, Row, alone, in_turns, middle_and_late, paired
from tests.bench.listener import Speech
from tests.bench.stage import KEPT, PROCESSES, SENTENCE, Stage, halt, stage
from tests.bench.texts import PROSE, VERSE

MOST_MS = 25.0
MOST_OF_COLD = 1 / 12
MOST_BUILTIN_MS = 150.0

SIZES_MB = {"small": 0, "large": 1000}
FAKES = [(f"{size}-{standby}", standby, megabytes) for size, megabytes in SIZES_MB.items() for standby in PROCESSES]
VOICES = f"""
[provider.voice-warm]
engine = "builtin"
standby = "warm"
{KEPT}
[provider.voice-none]
engine = "builtin"
standby = "none"
{KEPT}
"""
TEXTS = {"prose": PROSE, "verse": VERSE}
HEAD: Row = ("", "victim", "standby: median", "p99", "none: median", "p99", "standby : none")

# The kill comes so many messages into the text, and so many seconds later: anywhere in a sentence.
_MESSAGES = 6
_LATER_S = 0.03


class Takeover(NamedTuple):
    """One measurement. `part`: whether some of the running segment had been heard already, and was said again unheard."""

    milliseconds: float
    resident_mb: float
    part: bool


Found = dict[str, list[Takeover]]


def measure(rounds: int) -> list[Part]:
    return [_without_a_voice(rounds), _with_the_voice(rounds)]


def _without_a_voice(rounds: int) -> Part:
    names = [name for name, _, _ in FAKES]
    found: Found = {name: [] for name in names}
    with stage(FAKES, "[provider.builtin]\nenabled = false") as on:
        for name in names:
            on.prepare(name, SENTENCE)
        for turn in range(rounds):
            for name in in_turns(names, turn):
                on.at_rest(name, PROCESSES[name.partition("-")[2]])
                speech, pid = on.stuck(name)
                found[name].append(_kill(on, name, SENTENCE, speech, pid))
    claims = []
    for size in SIZES_MB:
        warm, none = _times(found[f"{size}-warm"]), _times(found[f"{size}-none"])
        claims += [
            Claim(f"kill to next sound, {size} victim, standby: median", statistics.median(warm), MOST_MS, "ms"),
            Claim(
                f"the same, of what it takes without a standby, {size} victim", paired(warm, none), MOST_OF_COLD, "1/"
            ),
        ]
    return Part(
        "Killed, by itself",
        "The engine needs no time for its sound, so this is what hearing of the death, handing the work over, waking the standby "
        "and the way of the sound take; without a standby, the start of a process on top.",
        HEAD,
        [_row(f"{size} victim", found[f"{size}-warm"], found[f"{size}-none"]) for size in SIZES_MB],
        claims,
    )


def _with_the_voice(rounds: int) -> Part:
    cells = [f"{text} {standby}" for text in TEXTS for standby in PROCESSES]
    found: Found = {cell: [] for cell in cells}
    chance = random.Random(1)
    with stage(more=VOICES) as on:
        for cell in cells:
            text, _, standby = cell.partition(" ")
            on.prepare(f"voice-{standby}", TEXTS[text])
        for turn in range(rounds):
            for cell in in_turns(cells, turn):
                text, _, standby = cell.partition(" ")
                on.at_rest(f"voice-{standby}", PROCESSES[standby])
                found[cell].append(_interrupt(on, f"voice-{standby}", TEXTS[text], chance))
    return Part(
        "Killed, with the built-in voice",
        "The same, at any moment of a text that hibari speaks: the running sentence is said again from its start, so most of it is "
        "the voice's own time. In verse a segment is a stanza, and some of it has mostly been heard: that part is made again too, "
        "unheard, and has to come out the same.",
        (*HEAD, "in mid-segment"),
        [
            (
                *_row(text, found[f"{text} warm"], found[f"{text} none"]),
                _share([*found[f"{text} warm"], *found[f"{text} none"]]),
            )
            for text in TEXTS
        ],
        [
            Claim(
                f"kill to next sound, built-in voice, {text}, standby: median",
                statistics.median(_times(found[f"{text} warm"])),
                MOST_BUILTIN_MS,
                "ms",
            )
            for text in TEXTS
        ],
    )


def _interrupt(on: Stage, name: str, text: str, chance: random.Random) -> Takeover:
    """Kill whoever speaks the text somewhere in it. One that came to its end too soon is said again."""
    while True:
        speech = on.say(name, text)
        for _ in range(chance.randint(1, _MESSAGES)):
            speech.next_sound()
        time.sleep(chance.uniform(0, _LATER_S))
        pid = on.onlooker.busy(name)
        if pid is not None:
            halt(pid)
            speech.drain()
            if not speech.end:
                return _kill(on, name, text, speech, pid)
            os.kill(pid, signal.SIGCONT)
        speech.rest()


def _kill(on: Stage, name: str, text: str, speech: Speech, pid: int) -> Takeover:
    resident = psutil.Process(pid).memory_info().rss
    begun = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    took = speech.next_sound() - begun
    end = on.check(name, text, speech)
    return Takeover(took * 1000, resident / 1e6, end.get("resumed") == "exact")


def _row(what: str, warm: list[Takeover], none: list[Takeover]) -> Row:
    resident = statistics.median(takeover.resident_mb for takeover in warm)
    ratio = paired(_times(warm), _times(none))
    return (
        what,
        f"{resident:.0f} MB",
        *middle_and_late(_times(warm)),
        *middle_and_late(_times(none)),
        f"1/{1 / ratio:.0f}",
    )


def _times(found: list[Takeover]) -> list[float]:
    return [takeover.milliseconds for takeover in found]


def _share(found: list[Takeover]) -> str:
    return f"{sum(takeover.part for takeover in found)} of {len(found)}"


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
