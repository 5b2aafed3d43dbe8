"""The loudspeaker at a real sound server: python -m tests.bench.loudspeaker [--minutes 10] [--times 100] [--write]

Needs PulseAudio (on Debian, `apt install pulseaudio pulseaudio-utils`). A private one plays in real time for nobody, and what it played is
recorded at its monitor. With --write what was found replaces its section of docs/rivals.md. Exit code 1 if a promise does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.bench import beside_page, page
from tests.bench.beside_sound import Ear, Server, ear, first_after, patiently, recorder, server
from tests.bench.beside_voicebox import player
from tests.bench.children import cpu_ns
from tests.bench.claims import Claim, Part, Row, middle_and_late, tell, told
from tests.bench.loudspeaker_holes import RATE, Holes
from tests.bench.texts import BOOK
from tests.integration.aloud import LOUD, Speaker
from tests.integration.daemon import Daemon, running
from voicebox_player.device import CLOSE_S
from voicebox_player.device_list import BACKEND

MINUTES = 10.0
TIMES = 100
MOST_UNDERRUNS = 5
MOST_SILENT_MS = 50.0

_PROGRAMS = ("pulseaudio", "parec")
_SENTENCE = "They went up together."
_WITHIN_S = 60.0
_LONG = "la " * 1000
_SOUNDING_S = (0.1, 0.4)
_QUIET_S = 0.1
# By so much the monitor's clock may be wrong: a sound that is heard at once would seem to have begun before it was asked for.
_EARLY_S = 0.03
# By then the engine's standby is there as well.
_WARM_S = 10.0
# How long a state lasts that is measured; an open device that plays nothing is closed after `CLOSE_S`.
_STATE_S = CLOSE_S - 0.5


class Loudspeaker(NamedTuple):
    """A daemon that plays at a sound server, and a client of it."""

    daemon: Daemon
    server: Server
    client: Speaker

    def player(self) -> int:
        """The player's process."""
        return player(self.daemon)


def measure(minutes: float, times: int) -> list[Part]:
    with server() as plain, ear(plain) as hearing:
        with _playing_at(plain, LOUD) as loud:
            silence = _silence(loud, hearing, times)
        with _playing_at(plain) as builtin:
            device = _device(builtin, hearing, max(1, times // 5))
    with server(RATE, "float32le") as exact, _playing_at(exact) as builtin:
        underruns = _underruns(builtin, minutes)
    return [silence, underruns, device]


@contextlib.contextmanager
def _playing_at(at: Server, config: str = "") -> Iterator[Loudspeaker]:
    with running(config, **at.environment, **{BACKEND: "pulseaudio"}) as daemon, Speaker(daemon.place) as client:
        yield Loudspeaker(daemon, at, client)


# --- silence


def _silence(on: Loudspeaker, hearing: Ear, times: int) -> Part:
    stops = [_stopped(on, hearing, random.Random(turn)) for turn in range(times)]
    pauses = list(_paused(on, hearing, times))
    return Part(
        "Silence at the loudspeaker",
        f"From the request of a connected client until the last sample that is not silence, {times} times each, at random moments "
        "of a voice that never pauses. The sound server and the recorder are in it.",
        ("", "median", "p99", "slowest"),
        [_row("`stop`", stops), _row("`pause`", pauses)],
        [
            Claim("silence after `stop`: slowest", max(stops), MOST_SILENT_MS, "ms"),
            Claim("silence after `pause`: slowest", max(pauses), MOST_SILENT_MS, "ms"),
        ],
    )


def _stopped(on: Loudspeaker, hearing: Ear, chance: random.Random) -> float:
    req = _sounding(on, hearing)
    late = _silenced(hearing, chance, lambda: on.client.ask("Stop"))
    assert on.client.end(req)["kind"] == "Cancelled"
    return late


def _paused(on: Loudspeaker, hearing: Ear, times: int) -> Iterator[float]:
    req = ""
    for turn in range(times):
        if not req:
            req = _sounding(on, hearing)
        yield _silenced(hearing, random.Random(turn), lambda: on.client.playback("pause"))
        resumed = time.perf_counter()
        on.client.playback("resume")
        if hearing.first(resumed - _EARLY_S, 1.0) is None:
            on.client.end(req)
            req = ""
    on.client.ask("Stop")


def _sounding(on: Loudspeaker, hearing: Ear) -> str:
    """A long request that is being heard."""
    hearing.quiet(_QUIET_S)
    asked = time.perf_counter()
    req = on.client.aloud(_LONG, follow=None)
    assert hearing.first(asked - _EARLY_S, _WITHIN_S) is not None
    return req


def _silenced(hearing: Ear, chance: random.Random, ask: Callable[[], object]) -> float:
    """Milliseconds of sound after the request for silence."""
    time.sleep(chance.uniform(*_SOUNDING_S))
    asked = time.perf_counter()
    ask()
    assert patiently(lambda: hearing.quiet_for(asked) > _QUIET_S, asked + _WITHIN_S)
    return max(0.0, hearing.spans[-1].end - asked) * 1000


def _row(what: str, times: list[float]) -> Row:
    return what, *middle_and_late(times), told(max(times), "ms")


# --- an open device


def _device(on: Loudspeaker, hearing: Ear, times: int) -> Part:
    for _ in range(2):
        _said(on, hearing, 0.0)
    opened, closed = [], []
    for _ in range(times):
        closed.append(_said(on, hearing, CLOSE_S + 1.0))
        opened.append(_said(on, hearing, 0.5))
    at_rest = _spent(on, CLOSE_S + 1.0)
    kept = [_spent(on, 0.2, said=hearing) for _ in range(3)]
    req = on.client.aloud(BOOK, follow=None)
    playing = _spent(on, 10.0)
    on.client.ask("Stop")
    on.client.end(req)
    return Part(
        "An open device",
        f"The player opens the device when a turn begins, while its sound is being made, and closes it {CLOSE_S:g} s after the last of it. "
        "To the first sound by the built-in voice, by a connected client; and what an open device costs of one core, where nothing is to "
        "be heard and where it is.",
        ("", "first sound: median", "p99", "the player", "the sound server"),
        [
            ("closed", *middle_and_late(closed), *at_rest.told()),
            ("open, nothing to be heard", *middle_and_late(opened), *_middle(kept).told()),
            ("playing", "", "", *playing.told()),
        ],
    )


class Spent(NamedTuple):
    """Of one core, in percent."""

    player: float
    server: float

    def told(self) -> Row:
        return f"{self.player:.1f} %", f"{self.server:.1f} %"


def _middle(several: list[Spent]) -> Spent:
    return Spent(statistics.median(each.player for each in several), statistics.median(each.server for each in several))


def _spent(on: Loudspeaker, rest_s: float, said: Ear | None = None) -> Spent:
    """After a rest, and a sentence first where an ear is given to hear its end."""
    if said is not None:
        _said(on, said, 0.0)
    time.sleep(rest_s)
    pids = on.player(), on.server.pid
    before, begun = [cpu_ns(pid) for pid in pids], time.perf_counter()
    time.sleep(_STATE_S - 0.2)
    took = time.perf_counter() - begun
    player, sound_server = (100 * (cpu_ns(pid) - was) / 1e9 / took for pid, was in zip(pids, before, strict=True))
    return Spent(player, sound_server)


def _said(on: Loudspeaker, hearing: Ear, rest_s: float) -> float:
    """Milliseconds to the first sound, after a rest."""
    time.sleep(rest_s)
    asked = time.perf_counter()
    req = on.client.aloud(_SENTENCE, follow=None)
    end = on.client.end(req)
    assert end["kind"] == "Done", end
    hearing.quiet(_QUIET_S)
    heard = first_after(hearing.spans, asked)
    assert heard is not None
    return (heard - asked) * 1000


# --- underruns


def _underruns(on: Loudspeaker, minutes: float) -> Part:
    """One request of so many minutes, while another program wants all of a core."""
    on.client.end(on.client.aloud(_SENTENCE, follow=None))
    time.sleep(_WARM_S)
    asked = time.perf_counter()
    with recorder(on.server, RATE, "float32le") as process, _busy():
        holes = Holes(process)
        req = on.client.aloud(" ".join([BOOK] * (2 + round(minutes / 4))), follow=None)
        assert patiently(lambda: holes.seconds > 0, asked + _WITHIN_S), "nothing was heard"
        assert not patiently(lambda: holes.stood, time.perf_counter() + 60 * minutes), "the recorder has ended"
        audio: dict[str, Any] = on.client.audio()
        heard, found = holes.seconds, holes.found
        on.client.ask("Stop")
        assert on.client.end(req)["kind"] == "Cancelled", "it was over before its time"
    underruns = int(audio["underruns"])
    return Part(
        f"{minutes:g} minutes with one core loaded",
        "One request by the built-in voice, which is there and warm, while another program uses all it can get of one core. Counted by "
        "the player (`underruns`), and as holes in what was recorded: a millisecond or more of nothing at all, which that voice never has.",
        ("", "sound", "underruns", "holes", "longest"),
        [
            (
                "the built-in voice",
                f"{heard:.0f} s",
                str(underruns),
                str(len(found)),
                told(max(found, default=0.0) * 1000, "ms"),
            )
        ],
        [
            Claim(f"underruns in {minutes:g} minutes", underruns, MOST_UNDERRUNS, "underruns"),
            Claim(f"holes in {minutes:g} minutes", len(found), MOST_UNDERRUNS, "holes"),
        ],
    )


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """A process that wants all of a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _version() -> str:
    return subprocess.run(["pulseaudio", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    parts = measure(chosen.minutes, chosen.times)
    section = page.section(parts, beside_page.measured_alone(_version()))
    print(section)
    if chosen.write:
        beside_page.write_loudspeaker(section)
    return tell([claim for part in parts for claim in part.claims])


if __name__ == "__main__":
    sys.exit(main())
