"""What ours and speech-dispatcher take where nothing goes wrong: to the first sound, for a question, to start, and of memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import NamedTuple

import psutil

from tests.bench import beside_dispatcher, beside_voicebox
from tests.bench.beside_dispatcher import Dispatcher
from tests.bench.beside_side import OURS, SIDES, THEIRS, Side, Speaking
from tests.bench.beside_sound import Sink, patiently
from tests.bench.beside_voicebox import Ours
from tests.bench.claims import Claim, Part, Row, in_turns, middle_and_late, paired, told
from tests.integration.wire_client import WireClient

SENTENCE = "They went up together."
TRIPS = 20
MOST_RATIO = 1.5
MOST_BUILTIN_MS = 60.0
# A start takes seconds, so there is one in so many rounds.
STARTS_OF = 5

Times = dict[str, list[float]]

_WITHIN_S = 30.0
_REST_S = 0.5
_LOOKS = 3
_MEBIBYTE = 2**20
_HEAD: Row = ("", f"{OURS}: median", "p99", f"{THEIRS}: median", "p99", "ours : theirs")


class Way(NamedTuple):
    """Something that takes milliseconds, of either or of ours alone."""

    what: str
    ours: Callable[[], float]
    theirs: Callable[[], float] | None


def measure(sink: Sink, rounds: int) -> list[Part]:
    with ExitStack() as stack:
        theirs = stack.enter_context(beside_dispatcher.dispatcher(sink))
        ours = stack.enter_context(beside_voicebox.ours(sink))
        memory = _memory({OURS: ours, THEIRS: theirs})
        return [
            _first_sound(sink, ours, theirs, rounds),
            _questions(ours, theirs, rounds),
            _starts(sink, rounds),
            memory,
        ]


# --- the first sound


def _first_sound(sink: Sink, ours: Ours, theirs: Dispatcher, rounds: int) -> Part:
    signs: Times = {side: [] for side in SIDES}
    ways = [
        Way(
            "by a client that is connected",
            lambda: _said(sink, ours, signs[OURS]),
            lambda: _said(sink, theirs, signs[THEIRS]),
        ),
        Way("by a client that is connected, the built-in voice", lambda: _said(sink, ours.builtin, []), None),
        Way(
            "by a command, from its start: `voicebox say`, `spd-say`",
            lambda: _commanded(sink, ours),
            lambda: _commanded(sink, theirs),
        ),
    ]
    found = _measured(ways, rounds)
    connected, builtin = found[0], found[1][OURS]
    # What each did once to warm up is left out.
    first = {side: times[1:] for side, times in signs.items()}
    return Part(
        "To the first sound",
        "From the request until the loudspeaker plays the first sample that is not silence, daemon, engine and player there and warm, "
        f"{_REST_S:g} s after the one before. espeak-ng speaks, but where another voice is named: ours alone has that. The last row is the "
        "client's own first sign of it, and not the same thing: ours is told what was heard (`Heard`), theirs that it begins (`BEGIN`).",
        _HEAD,
        [*_rows(ways, found), _row("the client's first sign: `Heard`, `BEGIN`", first[OURS], first[THEIRS])],
        [
            Claim(
                "espeak-ng, by a connected client: ours to theirs",
                paired(connected[OURS], connected[THEIRS]),
                MOST_RATIO,
                "×",
            ),
            Claim(
                "the built-in voice, by a connected client: median", statistics.median(builtin), MOST_BUILTIN_MS, "ms"
            ),
        ],
    )


def _said(sink: Sink, side: Speaking, signs: list[float]) -> float:
    sink.ear.quiet()
    time.sleep(_REST_S)
    request = side.say(SENTENCE)
    heard = sink.ear.first(request.begun, _WITHIN_S)
    assert heard is not None, request.events
    assert request.over.wait(_WITHIN_S), request.events
    signs.append(request.first(side.sign))
    return (heard - request.begun) * 1000


def _commanded(sink: Sink, side: Ours | Dispatcher) -> float:
    sink.ear.quiet()
    time.sleep(_REST_S)
    begun = time.perf_counter()
    process = subprocess.Popen(side.command(SENTENCE), env=side.environment, stderr=subprocess.DEVNULL)
    try:
        heard = sink.ear.first(begun, _WITHIN_S)
        assert heard is not None
        assert process.wait(_WITHIN_S) == 0
        return (heard - begun) * 1000
    finally:
        process.kill()
        process.wait()


# --- questions


def _questions(ours: Ours, theirs: Dispatcher, rounds: int) -> Part:
    ways = [Way("how it is: `status`, `LIST OUTPUT_MODULES`", lambda: _trips(ours.ask), lambda: _trips(theirs.ask))]
    rows = _in_turns(ways, rounds)
    pings = [_trips(ours.ping) for _ in range(rounds)]
    settings = [_trips(theirs.ask_setting) for _ in range(rounds)]
    numbers = ours.list_voices(), theirs.list_voices()
    voices = _in_turns(
        [
            Way(
                f"the voices of espeak-ng: {numbers[0]} of ours, {numbers[1]} of theirs, each with each variant",
                lambda: _timed(ours.list_voices),
                lambda: _timed(theirs.list_voices),
            )
        ],
        max(1, rounds // STARTS_OF),
    )
    return Part(
        "A question",
        f"Round trips over a connection that stays, the median of {TRIPS} at a time. Ours by the client library in Python, theirs by "
        "lines on a bare socket. A ping goes through the daemon to the engine's process and back, and theirs has no such "
        "question; a setting is the cheapest that theirs has, and ours has none like it.",
        _HEAD,
        [
            *rows,
            ("whether the engine answers: `provider ping`", *middle_and_late(pings), "", "", ""),
            ("a setting: `GET RATE`", "", "", *middle_and_late(settings), ""),
            *voices,
        ],
    )


def _trips(ask: Callable[[], None]) -> float:
    return statistics.median(_timed(ask) for _ in range(TRIPS))


def _timed(what: Callable[[], object]) -> float:
    begun = time.perf_counter()
    what()
    return (time.perf_counter() - begun) * 1000


# --- starts


def _starts(sink: Sink, rounds: int) -> Part:
    ways = [
        Way("the daemon, until its first answer", lambda: _our_start(sink), lambda: _their_start(sink)),
        Way(
            "the command that speaks, no daemon there, until the first sound",
            lambda: _from_nothing(sink, beside_voicebox.resting),
            lambda: _from_nothing(sink, beside_dispatcher.resting),
        ),
    ]
    return Part(
        "Starts",
        "From the start of the process. speech-dispatcher starts every engine that it finds before it listens; ours starts an engine "
        "when it is needed, which the second row has in it for both. The commands start the daemon by themselves. "
        f"Measured in one round of {STARTS_OF}.",
        _HEAD,
        _in_turns(ways, max(1, rounds // STARTS_OF)),
    )


def _our_start(sink: Sink) -> float:
    with beside_voicebox.resting(sink) as side:
        begun = time.perf_counter()
        process = side.place.popen(
            sys.executable, "-m", "voiceboxd", "--foreground", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            assert patiently(side.place.answers, begun + _WITHIN_S)
            with WireClient(side.place, attach=False) as client:
                client.send("Status", query=1)
                assert client.receive()[0]["kind"] == "StatusReply"
            return (time.perf_counter() - begun) * 1000
        finally:
            process.kill()
            process.wait()


def _their_start(sink: Sink) -> float:
    with beside_dispatcher.resting(sink) as side:
        begun = time.perf_counter()
        side.start()
        return (time.perf_counter() - begun) * 1000


def _from_nothing(sink: Sink, resting: Callable[[Sink], AbstractContextManager[Ours | Dispatcher]]) -> float:
    with resting(sink) as side:
        return _commanded(sink, side)


# --- memory


def _memory(sides: dict[str, Side]) -> Part:
    time.sleep(2 * _REST_S)
    looks = [_own_memory(sides) for _ in range(_LOOKS)]
    names = list(looks[0])
    own = {name: statistics.median(look[name] for look in looks if name in look) for name in names}
    rows = [(side, process, told(own[side, process], "MiB")) for side, process in names]
    sums = [(side, "**together**", told(sum(own[name] for name in names if name[0] == side), "MiB")) for side in SIDES]
    return Part(
        "Memory",
        "What each process has for itself alone (USS), at rest after one sentence, while all of them are there. A standby of ours is "
        "there only while it is wanted. What plays is in it for both: a process of ours, and of theirs the daemon.",
        ("", "process", "its own"),
        [*rows, *sums],
    )


def _own_memory(sides: dict[str, Side]) -> dict[tuple[str, str], float]:
    found = {}
    for name, side in sides.items():
        for process, pid in side.processes().items():
            with suppress(psutil.NoSuchProcess):
                found[name, process] = psutil.Process(pid).memory_full_info().uss / _MEBIBYTE
    return found


# --- in turns


def _in_turns(ways: list[Way], rounds: int) -> list[Row]:
    """Each way of either as a row."""
    return _rows(ways, _measured(ways, rounds))


def _measured(ways: list[Way], rounds: int) -> list[Times]:
    """Each way of either, once to warm up and then in rounds."""
    found: list[Times] = [{side: [] for side in SIDES} for _ in ways]
    for turn in range(-1, rounds):
        for way, times in zip(ways, found, strict=True):
            for side in in_turns(SIDES, turn):
                measure = way.ours if side == OURS else way.theirs
                if measure is not None:
                    times[side].append(measure())
    return [{side: values[1:] for side, values in times.items()} for times in found]


def _rows(ways: list[Way], found: list[Times]) -> list[Row]:
    return [_row(way.what, times[OURS], times[THEIRS]) for way, times in zip(ways, found, strict=True)]


def _row(what: str, ours: list[float], theirs: list[float]) -> Row:
    if not theirs:
        return what, *middle_and_late(ours), "", "", ""
    return what, *middle_and_late(ours), *middle_and_late(theirs), f"{paired(ours, theirs):.2f}"
