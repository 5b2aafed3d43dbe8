"""The check of who says that it can speak like a recording: it listens, speaks so, and takes no prompt that is none."""

from __future__ import annotations

from voicebox_protocol.schema import SegmentFailed
from voicebox_provider.conformance.bench import Bench
from voicebox_provider.conformance.verdicts import CLONES, TEXT, Broken, Skipped

_REFUSED = "BAD_PROMPT"


def cloning(bench: Bench) -> str:
    """A recording is listened to and spoken like; a voice prompt that is damaged is refused."""
    if not bench.able.cloning:
        raise Skipped("it does not say that it can")
    prompt = bench.listen_to_recording(bench.life)
    model = bench.able.cloning_model()
    first = bench.speak(bench.brief, paragraph=CLONES, prompt=prompt, model=model)
    again = bench.speak(bench.brief, paragraph=CLONES, prompt=prompt, model=model)
    if bench.able.deterministic and first.pieces != again.pieces:
        raise Broken(TEXT, "equal seeds and equal voice prompts gave other samples the second time")
    for what, broken in _damaged(prompt):
        spoken = bench.ask(bench.brief, prompt=broken, model=model)
        if not isinstance(spoken.end, SegmentFailed) or spoken.end.code != _REFUSED:
            raise Broken(CLONES, f"a voice prompt {what} gave {spoken.words()} instead of SegmentFailed{{{_REFUSED}}}")
    bench.speak(bench.brief, paragraph=CLONES, prompt=prompt, model=model)
    return f"a voice prompt of {len(prompt)} bytes, {first.duration:.2f} s of sound"


def _damaged(prompt: bytes) -> list[tuple[str, bytes]]:
    """What files and networks do to bytes, and bytes of somebody else."""
    return [
        ("cut short", prompt[: len(prompt) // 2]),
        ("of another kind", b"\x93\x01\xa3two\xc0" * 7),
        ("of one byte", b"\0"),
    ]
