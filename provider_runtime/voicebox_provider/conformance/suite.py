"""The checks in their order, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from voicebox_provider.conformance import checks_cloning, checks_life, checks_sound, checks_text
from voicebox_provider.conformance.bench import Bench
from voicebox_provider.conformance.verdicts import Broken, Skipped, Verdict

Check = Callable[[Bench], str]


def _heard(name: str) -> Check:
    """A check of all that was said: whether any message broke the rule."""

    def check(bench: Bench) -> str:
        bench.listen()
        for breach in bench.breaches:
            if breach.check == name:
                raise Broken(breach.paragraph, breach.seen)
        return f"right in {len(bench.spoken)} answers"

    return check


# Without these nothing else can be checked.
FIRST: dict[str, Check] = {"hello": checks_life.hello, "document": checks_life.document, "ready": checks_life.ready}

CHECKS: dict[str, Check] = {
    "voices": checks_sound.voices,
    "rates": checks_sound.rates,
    "speed": checks_sound.speed,
    "pitch": checks_sound.pitch,
    "volume": checks_sound.volume,
    "undeclared": checks_sound.undeclared,
    "seeds": checks_sound.seeds,
    "second life": checks_sound.second_life,
    "resume": checks_sound.resume,
    "cloning": checks_cloning.cloning,
    "cancel": checks_life.cancel,
    "stale": checks_life.stale,
    "unknown": checks_life.unknown,
    "foreign": checks_text.foreign,
    "emoji": checks_text.emoji,
    "long word": checks_text.long_word,
    "nothing": checks_text.nothing,
    "wear": checks_sound.wear,
    "beats": checks_life.beats,
    "answers": _heard("answers"),
    "pieces": _heard("pieces"),
    "crc": _heard("crc"),
    "samples": _heard("samples"),
    "frames": _heard("frames"),
    "marks": _heard("marks"),
    "exit": checks_life.leaving,
    "lifeline": checks_life.lifeline,
}


def run(bench: Bench, only: Collection[str] = ()) -> Iterator[Verdict]:
    """Every check, or those named in `only` with what they need; ends after the first ones if these fail."""
    for name, check in FIRST.items():
        verdict = _verdict(name, check, bench)
        yield verdict
        if verdict.result == "broken":
            return
    for name, check in CHECKS.items():
        if not only or name in only:
            yield _verdict(name, check, bench)


def _verdict(name: str, check: Check, bench: Bench) -> Verdict:
    began = bench.budget.spent
    result, paragraph = "ok", None
    try:
        if bench.budget.over:
            raise Skipped("no time was left for it")
        seen = check(bench)
    except Skipped as reason:
        result, seen = "skipped", str(reason)
    except Broken as broken:
        result, paragraph, seen = "broken", broken.paragraph, str(broken)
        # Whatever it still says to this check would be taken for an answer to the next.
        bench.close()
    return Verdict(name, result, paragraph, seen, round(bench.budget.spent - began, 3))
