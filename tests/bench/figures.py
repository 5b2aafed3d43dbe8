"""Measures what README says of start-up, first audio and memory, on the machine at hand: python tests/bench/figures.py.

First audio is the time from starting the command `voicebox say … -o -` to the first byte of sound on its standard
output, interpreter start included; through the library it is the time from `say()` to the first chunk.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from tests.integration.daemon import Place, eventually
from voicebox_client import Voicebox

SENTENCE = "The quick brown fox jumps over the lazy dog."
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 7


def command_to_first_sound(place: Place) -> float:
    """Milliseconds from starting the command to its first byte of samples."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "voicebox_cli", "say", SENTENCE, "-o", "-", "--format", "pcm"],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.read(1)
    took = time.perf_counter() - begun
    process.stdout.read()
    assert process.wait() == 0
    process.stdout.close()
    return took * 1000


def say_to_first_chunk(place: Place) -> float:
    """Milliseconds from `say()` to the first chunk, in a client that is connected."""
    os.environ |= {name: value for name, value in place.environment.items() if name.startswith("VOICEBOX_")}
    with Voicebox() as box:
        box.status()
        begun = time.perf_counter()
        with box.say(SENTENCE) as speech:
            next(iter(speech))
            took = time.perf_counter() - begun
            for _ in speech:
                pass
    return took * 1000


def stop(place: Place) -> None:
    assert place.voicebox("daemon", "stop").returncode == 0
    eventually(lambda: not place.processes(), "everything has ended")


def from_nothing() -> float:
    place = Place()
    try:
        took = command_to_first_sound(place)
        stop(place)
        return took
    finally:
        place.remove()


def with_cold_daemon() -> float:
    place = Place()
    try:
        assert place.voicebox("daemon", "start").returncode == 0
        took = command_to_first_sound(place)
        stop(place)
        return took
    finally:
        place.remove()


def row(what: str, measure: Callable[[], float]) -> None:
    values = sorted(measure() for _ in range(ROUNDS))
    print(f"| {what} | {statistics.median(values):.0f} ms | {values[0]:.0f} to {values[-1]:.0f} ms |")


def main() -> None:
    print(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds\n"
    )
    print("| | median | range |\n|---|---|---|")
    place = Place()
    try:
        command_to_first_sound(place)
        row("first audio, library, all warm", lambda: say_to_first_chunk(place))
        row("first audio, command, all warm", lambda: command_to_first_sound(place))
        # There may be a spare beside the one that speaks, and as large.
        (daemon,), (provider, *_) = place.daemons(), place.providers()
        memory = {"daemon": daemon.memory_full_info(), "provider with the built-in voice": provider.memory_full_info()}
        stop(place)
    finally:
        place.remove()
    row("first audio, command, daemon there, voice not loaded", with_cold_daemon)
    row("first audio, command, from nothing", from_nothing)
    for who, info in memory.items():
        print(f"| memory, {who} | {info.rss / 2**20:.0f} MiB | {info.uss / 2**20:.0f} MiB its own |")


if __name__ == "__main__":
    main()
