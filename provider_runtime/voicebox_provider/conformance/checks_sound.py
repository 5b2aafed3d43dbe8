"""Checks of what a provider says: the sound itself, what it promises to change about it, and whether it repeats it."""

from __future__ import annotations

import statistics
import zlib
from typing import Any

import numpy as np

from voicebox_protocol.schema import SegmentFailed
from voicebox_provider.conformance.bench import Bench
from voicebox_provider.conformance.life import Life
from voicebox_provider.conformance.spoken import Spoken
from voicebox_provider.conformance.verdicts import (
    ANSWERS,
    DOCUMENT,
    LASTS,
    REPEATS,
    SYNTHESIZE,
    TEXT,
    Broken,
    Skipped,
)

RATES = (8_000, 16_000, 44_100, 48_000)
SPEEDS = (0.8, 1.25)
UTTERANCES = 50
MOST_GROWTH = 256 * 1024
"""Bytes an utterance, once it is warm. What a daemon runs for weeks must not grow."""

_SLACK_S = 0.05
_WARM = 15
_WINDOW = 10
_FEW = 2


def voices(bench: Bench) -> str:
    """Each voice that is listed speaks."""
    if not bench.able.voices:
        raise Skipped("it lists none")
    for voice in bench.able.voices:
        text = bench.brief_for(voice)
        language = voice.languages[0] if voice.languages else None
        bench.speak(text, paragraph=DOCUMENT, voice=voice.id, language=language)
    return f"all {len(bench.able.voices)} speak"


def rates(bench: Bench) -> str:
    """Samples come at the rate that the request names."""
    own = bench.speak(bench.word).duration
    for rate in RATES:
        duration = bench.speak(bench.word, sample_rate=rate).duration
        if abs(duration - own) > _SLACK_S + own * 0.05:
            raise Broken(SYNTHESIZE, _lasts(f"{rate} Hz", duration, own))
    return f"{', '.join(map(str, RATES))} Hz all last {own:.2f} s"


def speed(bench: Bench) -> str:
    """The speeds that it lists work, and change how long the sound lasts."""
    between = bench.able.speed
    if between is None:
        raise Skipped("it lists none")
    own = bench.speak(bench.brief).duration
    lowest, highest = max(between[0], 0.1), between[1]
    for factor in sorted({lowest, *(each for each in SPEEDS if lowest < each < highest), highest} - {1.0}):
        duration = bench.speak(bench.brief, paragraph=DOCUMENT, speed=factor).duration
        # Pauses need not stretch with the words; half of the change has to be there.
        expected = own / factor
        if abs(duration - own) < abs(expected - own) / 2 or (duration > own) != (factor < 1):
            raise Broken(DOCUMENT, _lasts(f"speed {factor:g}", duration, own))
    return f"{lowest:g} to {highest:g}"


def pitch(bench: Bench) -> str:
    """The pitches that it lists work, and change the sound."""
    between = bench.able.pitch
    if between is None:
        raise Skipped("it lists none")
    own = bench.reference
    for factor in between:
        other = bench.speak(bench.first, paragraph=DOCUMENT, pitch=factor)
        if factor != 1.0 and other.pieces == own.pieces:
            raise Broken(DOCUMENT, f"pitch {factor:g} gives the same samples as none")
    return f"{between[0]:g} to {between[1]:g}"


def volume(bench: Bench) -> str:
    """The volumes that it lists work, and make the sound softer or louder."""
    between = bench.able.volume
    if between is None:
        raise Skipped("it lists none")
    softest, loudest = (_loudness(bench.ask(bench.brief, volume=factor)) for factor in between)
    if not softest < loudest:
        raise Broken(DOCUMENT, f"volume {between[1]:g} is no louder than {between[0]:g}")
    return f"{between[0]:g} to {between[1]:g}"


def undeclared(bench: Bench) -> str:
    """What the document does not list is refused, never dropped."""
    able = bench.able
    wishes: list[dict[str, Any]] = [{"options": {"no_such_option": 1}}, {"voice": "no such voice"}]
    wishes += [{"model": "no such model"}]
    wishes += [] if able.instruct else [{"instruct": "gladly"}]
    for name in ("speed", "pitch", "volume"):
        between = getattr(able, name)
        wishes.append({name: 1.5 if between is None else between[1] * 1.5})
    for wish in wishes:
        spoken = bench.ask(bench.first, **wish)
        if not isinstance(spoken.end, SegmentFailed):
            raise Broken(DOCUMENT, f"{wish} is not in it, but gave {spoken.words()} instead of SegmentFailed")
    bench.speak(bench.brief)
    return f"{len(wishes)} wishes refused"


# --- repeating


def seeds(bench: Bench) -> str:
    """Equal text and seed give equal samples, whatever was said before and whichever segment it is."""
    reference = _reference(bench)
    for attempt in range(_FEW):
        bench.speak(bench.second, seed=attempt)
        again = bench.speak(bench.first, req=f"again-{attempt}", segment=attempt + 3)
        _same(reference, again, "after another text")
    return f"{len(reference.samples)} samples, {_FEW} times more"


def second_life(bench: Bench) -> str:
    """So they do in another process."""
    reference = _reference(bench)
    with bench.another() as life:
        _same(reference, bench.speak(bench.first, life), "in a second process")
    return "equal in a second process"


def resume(bench: Bench) -> str:
    """With from_frame the first frames are only summed up, and what follows is exactly the rest."""
    reference = _reference(bench)
    total = len(reference.samples)
    for from_frame in (1, total // 3, total, total + 1000):
        _resumed(reference, bench.ask(bench.first, from_frame=from_frame), min(from_frame, total))
    return f"from 4 places of {total} frames"


def _resumed(reference: Spoken, spoken: Spoken, frames: int) -> None:
    proof = spoken.resumed
    if not spoken.done or proof is None:
        raise Broken(REPEATS, f"from_frame {spoken.asked.from_frame} gave {spoken.words()} and no Resumed")
    crc = zlib.crc32(reference.samples[:frames].tobytes())
    if (proof.frames, proof.crc32) != (frames, crc):
        said = f"Resumed{{frames: {proof.frames}, crc32: {proof.crc32:08x}}}"
        raise Broken(REPEATS, f"{said} where {frames} frames with CRC {crc:08x} were spoken before")
    if not np.array_equal(spoken.samples, reference.samples[frames:]):
        raise Broken(REPEATS, f"after Resumed{{frames: {frames}}} come other samples than before")


def _reference(bench: Bench) -> Spoken:
    if not bench.able.deterministic:
        raise Skipped("it does not say that it is deterministic")
    return bench.reference


def _same(reference: Spoken, again: Spoken, when: str) -> None:
    one, other = reference.samples, again.samples
    if len(one) != len(other):
        raise Broken(TEXT, f"equal seeds gave {len(one)} frames, and {len(other)} {when}")
    differing = np.flatnonzero(one != other)
    if len(differing):
        raise Broken(TEXT, f"equal seeds gave another sample {differing[0]} of {len(one)} {when}")


# --- wear


def wear(bench: Bench) -> str:
    """Fifty utterances leave no descriptors, threads or memory behind."""
    life = bench.life
    weights = [_weight_after(bench, life) for _ in range(UTTERANCES)]
    for index, what in enumerate(("descriptors", "threads")):
        before, after = weights[_WARM][index], weights[-1][index]
        if after > before + _FEW:
            raise Broken(LASTS, f"it had {before} {what} after {_WARM} utterances, and {after} after {UTTERANCES}")
    early, late = weights[_WARM : _WARM + _WINDOW], weights[-_WINDOW:]
    grown = statistics.median(each[2] for each in late) - statistics.median(each[2] for each in early)
    each = grown / (UTTERANCES - _WARM - _WINDOW)
    if each > MOST_GROWTH:
        raise Broken(LASTS, f"its memory grew by {each / 1024:.0f} KiB with each utterance")
    return f"{weights[-1][0]} descriptors, {weights[-1][1]} threads, {weights[-1][2] / 1e6:.0f} MB"


def _weight_after(bench: Bench, life: Life) -> tuple[int, int, int]:
    # Not noted on the bench: fifty answers more would weigh on us and show nothing new.
    spoken = life.answer(life.ask(bench.word, sample_rate=bench.able.sample_rate))
    if not spoken.done:
        raise Broken(ANSWERS, f"“{bench.word}”, said again and again, gave {spoken.words()}")
    return life.weigh()


def _lasts(what: str, duration: float, own: float) -> str:
    return f"with {what} the sound lasts {duration:.2f} s, without {own:.2f} s"


def _loudness(spoken: Spoken) -> float:
    if not spoken.done:
        raise Broken(DOCUMENT, f"volume {spoken.asked.volume:g} gave {spoken.words()}")
    return float(np.sqrt(np.mean(np.square(spoken.samples)))) if len(spoken.samples) else 0.0
