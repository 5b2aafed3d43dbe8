"""Checks of bad text: words may be refused, but never swallowed."""

from __future__ import annotations

from voicebox_protocol.schema import SegmentFailed
from voicebox_provider.conformance import sentences
from voicebox_provider.conformance.bench import Bench
from voicebox_provider.conformance.spoken import Spoken
from voicebox_provider.conformance.verdicts import REPEATS, Broken

_KEPT = 0.7
_LONGER = 2.5


def foreign(bench: Bench) -> str:
    """Letters of a script that the voice does not list are spoken, or refused."""
    return _spoken_or_refused(bench.ask(sentences.foreign_to(bench.voice)[: bench.able.max_chars]))


def emoji(bench: Bench) -> str:
    """Words around an emoji are spoken, or refused."""
    plain, adorned = f"{bench.first} {bench.second}", f"{bench.first} 🙂🎉 {bench.second}"
    if len(adorned) > bench.able.max_chars:
        plain, adorned = "1 2", "1 🙂🎉 2"
    whole, spoken = bench.speak(plain), bench.ask(adorned)
    words = _spoken_or_refused(spoken)
    if spoken.done and spoken.duration < whole.duration * _KEPT:
        lasts = f"{spoken.duration:.2f} s, without it {whole.duration:.2f} s"
        raise Broken(REPEATS, f"words were swallowed: with an emoji between them the sound lasts {lasts}")
    return words


def long_word(bench: Bench) -> str:
    """A word as long as a segment may be is spoken to its end, or refused."""
    length = bench.most_chars
    spoken = bench.ask(sentences.long_word(bench.voice, length))
    words = _spoken_or_refused(spoken)
    if spoken.done:
        part = bench.ask(sentences.long_word(bench.voice, length // 4))
        if part.done and spoken.duration < part.duration * _LONGER:
            lasts = f"{spoken.duration:.2f} s, its first quarter alone {part.duration:.2f} s"
            raise Broken(REPEATS, f"letters were swallowed: a word of {length} letters lasts {lasts}")
    return f"{length} letters: {words}"


def nothing(bench: Bench) -> str:
    """Text with nothing to say comes to an end, and does no harm."""
    ends = [bench.ask(text).words() for text in ("… !?", "🙂")]
    bench.speak(bench.brief)
    return ends[0]


def _spoken_or_refused(spoken: Spoken) -> str:
    if isinstance(spoken.end, SegmentFailed):
        return f"refused with {spoken.end.code}"
    if not spoken.done or not spoken.audible:
        raise Broken(REPEATS, f"a text with letters gave {spoken.words()}, silent, and no SegmentFailed")
    return f"{spoken.duration:.2f} s of sound"
