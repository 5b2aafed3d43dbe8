"""The same faults, to ours and to speech-dispatcher: what is heard of the text, what the client is told, and who speaks next."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from tests.bench import beside_dispatcher, beside_voicebox
from tests.bench.beside_dispatcher import Dispatcher
from tests.bench.beside_side import OURS, SIDES, THEIRS, Side, Told
from tests.bench.beside_sound import Ear, Sink, Span, longest_silence, patiently, sounding
from tests.bench.beside_voicebox import Ours
from tests.bench.children import cpu_ns
from tests.bench.claims import Part, Row, in_turns, told
from tests.bench.texts import SENTENCES

TEXT = " ".join(SENTENCES[:3])
NEXT = SENTENCES[3]
# Who says nothing for so long is not waited for any longer: more than our daemon waits for a sign of life.
PATIENCE_S = 6.0

OPENERS: dict[str, Callable[[Sink], AbstractContextManager[Ours | Dispatcher]]] = {
    OURS: beside_voicebox.ours,
    THEIRS: beside_dispatcher.dispatcher,
}

_HEARD_S = 1.0
_EARLY_S = (0.002, 0.03)
_REST_S = 1.0
_WHOLE = 0.9
_LISTENED = 3
# How much of espeak-ng's sound whoever spoke must have made for the text to count as heard: another voice speaks faster, and a
# recorded message is not the text.
_SPOKEN = {OURS: _WHOLE, beside_dispatcher.ENGINE: _WHOLE, "sd_dummy": float("inf")}
_OTHER = 0.5
_WITHIN_S = 60.0


class Fault(NamedTuple):
    """What is done to whom, and when: `early` right after the request, `speaking` when some of it was heard, else `rest`."""

    what: str
    signal: signal.Signals
    when: str
    daemon: bool = False


FAULTS = (
    Fault("engine killed just after the request", signal.SIGKILL, "early"),
    Fault("engine killed a second into the sound", signal.SIGKILL, "speaking"),
    Fault("engine stopped just after the request", signal.SIGSTOP, "early"),
    Fault("engine stopped a second into the sound", signal.SIGSTOP, "speaking"),
    Fault("engine killed at rest", signal.SIGKILL, "rest"),
    Fault("daemon killed just after the request", signal.SIGKILL, "early", daemon=True),
    Fault("daemon killed a second into the sound", signal.SIGKILL, "speaking", daemon=True),
)


class Heard(NamedTuple):
    """What became of the request that the fault fell into. `silence` is the longest pause after the fault, in seconds; where the
    text broke off it says nothing."""

    whole: bool
    silence: float
    told: str
    at_work: bool | None


class Follow(NamedTuple):
    """A later request: seconds to its first sound if the text was heard, and who spoke."""

    after: float | None
    by: str


class Outcome(NamedTuple):
    """`revived` comes after the two others, when theirs was told to start its dead engines."""

    heard: Heard | None
    follows: tuple[Follow, Follow]
    revived: Follow | None


class Undisturbed(NamedTuple):
    """Seconds of sound of the two texts, and the longest pause in the first."""

    text: float
    next: float
    pause: float


def measure(sink: Sink, rounds: int) -> list[Part]:
    undisturbed = {side: _undisturbed(sink, side) for side in SIDES}
    found: dict[tuple[Fault, str], list[Outcome]] = {(fault, side): [] for fault in FAULTS for side in SIDES}
    chance = random.Random(1)
    for turn in range(rounds):
        for fault in FAULTS:
            delay = chance.uniform(*_EARLY_S)
            for side in in_turns(SIDES, turn):
                found[fault, side].append(_suffer(sink, side, fault, delay, undisturbed[side]))
    return [_interrupted(found, undisturbed), _afterwards(found)]


# --- one fault


def _undisturbed(sink: Sink, name: str) -> Undisturbed:
    with OPENERS[name](sink) as side:
        texts, nexts = ([_listened(sink.ear, side, text) for _ in range(_LISTENED)] for text in (TEXT, NEXT))
        return Undisturbed(
            statistics.median(sounding(text, 0.0) for text in texts),
            statistics.median(sounding(text, 0.0) for text in nexts),
            statistics.median(longest_silence(text, text[0].begin, text[-1].end) for text in texts),
        )


def _listened(ear: Ear, side: Side, text: str) -> list[Span]:
    """What is heard of a text that nothing disturbs."""
    ear.quiet()
    request = side.say(text)
    assert request.over.wait(_WITHIN_S), request.events
    ear.quiet()
    return ear.since(request.begun)


def _suffer(sink: Sink, name: str, fault: Fault, delay: float, undisturbed: Undisturbed) -> Outcome:
    """One fault to a fresh daemon, and two requests after it."""
    with OPENERS[name](sink) as side:
        sink.ear.quiet()
        victim = side.daemon() if fault.daemon else side.engine()
        heard = None
        if fault.when == "rest":
            os.kill(victim, fault.signal)
            time.sleep(_REST_S)
        else:
            heard = _interrupt(sink.ear, side, victim, fault, delay, undisturbed.text)
        first, second = (_follow(sink.ear, side, undisturbed.next) for _ in range(2))
        return Outcome(heard, (first, second), None if fault.daemon else _revived(sink.ear, side, undisturbed.next))


def _interrupt(ear: Ear, side: Side, victim: int, fault: Fault, delay: float, seconds: float) -> Heard:
    request = side.say(TEXT)
    if fault.when == "speaking":
        first = ear.first(request.begun, PATIENCE_S)
        assert first is not None, request.events
        delay = first - request.begun + _HEARD_S
    time.sleep(max(0.0, request.begun + delay - time.perf_counter()))
    at_work = side.at_work()
    at = time.perf_counter()
    os.kill(victim, fault.signal)
    _to_its_end(ear, request, at)
    spans = ear.since(request.begun)
    whole = sounding(spans, request.begun) >= _WHOLE * seconds
    until = spans[-1].end if whole else time.perf_counter()
    events = [event for event in request.since(at) if event not in ("accepted", "heard")]
    return Heard(whole, longest_silence(spans, at, until), ", ".join(events) or "nothing", at_work)


def _to_its_end(ear: Ear, request: Told, since: float) -> None:
    """Until nothing has been heard for as long as one is patient, or it is quiet and the client was told that all was spoken."""

    def over() -> bool:
        quiet = ear.quiet_for(since)
        return quiet > PATIENCE_S or (request.over.is_set() and quiet > _REST_S and request.events[-1].what in _DONE)

    patiently(over, since + _WITHIN_S)


_DONE = ("done", "END")


def _follow(ear: Ear, side: Side, seconds: float) -> Follow:
    ear.quiet()
    before = _spent(side)
    request = side.say(NEXT)
    first = ear.first(request.begun, PATIENCE_S)
    if first is None:
        return Follow(None, "")
    request.over.wait(PATIENCE_S)
    ear.quiet(_REST_S)
    spent = _spent(side)
    by = max(spent, key=lambda name: spent[name] - before.get(name, 0), default=OURS)
    heard = sounding(ear.since(request.begun), request.begun) >= _SPOKEN.get(by, _OTHER) * seconds
    return Follow(first - request.begun if heard else None, by)


def _revived(ear: Ear, side: Side, seconds: float) -> Follow | None:
    """The next request when theirs was told to start its dead engines. Ours has no need of it."""
    if not isinstance(side, Dispatcher):
        return None
    side.revive()
    time.sleep(_REST_S)
    return _follow(ear, side, seconds)


def _spent(side: Side) -> dict[str, int]:
    """What each engine of theirs has had of a processor: the one that spoke has had the most since."""
    if not isinstance(side, Dispatcher):
        return {}
    return {name: cpu_ns(pid) for name, pid in side.processes().items() if name.startswith("sd_")}


# --- the tables


def _interrupted(found: dict[tuple[Fault, str], list[Outcome]], undisturbed: dict[str, Undisturbed]) -> Part:
    seconds = " and ".join(
        f"{undisturbed[side].text:.1f} s with pauses of at most {undisturbed[side].pause:.2f} s ({side})"
        for side in SIDES
    )
    rows = [
        _heard_row(fault, side, [outcome.heard for outcome in outcomes if outcome.heard])
        for (fault, side), outcomes in found.items()
        if fault.when != "rest"
    ]
    return Part(
        "The request that a fault falls into",
        f"Three sentences, which undisturbed sound for {seconds}; each fault falls to a daemon that was started for it. *Whole*: no "
        f"less than {_WHOLE * 100:.0f} % as much sound was heard; where nothing was heard for {PATIENCE_S:.0f} s, the text was "
        "given up. *Pause*: the longest after the fault, in those that were heard whole. *At work*: how often the engine's process of "
        "ours had something to do at that moment: it works ahead of the listener and is soon done with three sentences, so a fault "
        "that comes later finds it at rest, and what it made is safe with the daemon. Of theirs that cannot be "
        f"asked. *Just after*: {_EARLY_S[0] * 1000:.0f} to {_EARLY_S[1] * 1000:.0f} ms after the request. *Stopped*: by SIGSTOP.",
        ("", "", "at work", "heard whole", "pause: median", "longest", "what the client was told after the fault"),
        rows,
    )


def _heard_row(fault: Fault, side: str, heard: Sequence[Heard]) -> Row:
    pauses = [each.silence for each in heard if each.whole]
    at_work = [each.at_work for each in heard if each.at_work is not None]
    return (
        fault.what,
        side,
        _count(at_work) if at_work and not fault.daemon else "",
        _count(each.whole for each in heard),
        *((told(statistics.median(pauses), "s"), told(max(pauses), "s")) if pauses else ("broke off", "")),
        tally(each.told for each in heard),
    )


def _afterwards(found: dict[tuple[Fault, str], list[Outcome]]) -> Part:
    rows = [
        (
            fault.what,
            side,
            *_follow_cells([outcome.follows[0] for outcome in outcomes]),
            *_follow_cells([outcome.follows[1] for outcome in outcomes]),
            _follow_cells([outcome.revived for outcome in outcomes if outcome.revived])[0],
        )
        for (fault, side), outcomes in found.items()
    ]
    return Part(
        "The requests after it",
        "The next sentence is asked for when the first request is over, or was given up, and the one after it likewise: how many were "
        "heard, and how long the first sound took. Where the daemon is gone, ours is asked by the same client again, and "
        "speech-dispatcher by `spd-say`; both start a new daemon by themselves. In brackets: what spoke, where it was not "
        "espeak-ng. Last, speech-dispatcher is sent SIGUSR1, at which it starts engines that have died, and is asked once more.",
        (
            "",
            "",
            "the next: heard",
            "to its sound: median",
            "the one after: heard",
            "to its sound: median",
            "after SIGUSR1",
        ),
        rows,
    )


def _follow_cells(follows: Sequence[Follow]) -> Row:
    times = [follow.after for follow in follows if follow.after is not None]
    others = [follow.by for follow in follows if follow.by not in ("", OURS, beside_dispatcher.ENGINE)]
    count = _count(follow.after is not None for follow in follows) if follows else ""
    return (
        count + (f" ({tally(others)})" if others else ""),
        told(statistics.median(times) * 1000, "ms") if times else "",
    )


def _count(so: Iterable[bool]) -> str:
    values = list(so)
    return f"{sum(values)} of {len(values)}"


def tally(words: Iterable[str]) -> str:
    """Each word once, with its number if there are several."""
    counted = Counter(words)
    return "; ".join(word if len(counted) == 1 else f"{word} ({number})" for word, number in counted.most_common())
