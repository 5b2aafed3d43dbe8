"""`python -m voicebox_provider.self_test`: an engine speaks one sentence, without a daemon.

Standard input holds one JSON object, `{"engine": REFERENCE, "settings": {...}}`. Standard output then has one as well: what spoke, how
long loading took in milliseconds, and the sound in frames; an engine that only speaks like a
recording is given one, and one that has no model yet is only loaded. It ends with 0, or 1 and
the reason on standard error.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from voicebox_protocol.errors import ProviderFailed
from voicebox_provider import native_threads, telemetry
from voicebox_provider.engine import Engine, PermanentFault, Reference, Utterance
from voicebox_provider.engine_reference import make_engine

if TYPE_CHECKING:
    from voicebox_protocol.capabilities import Capabilities

TEXT = "The kettle is on."

# A model that loses its way with one seed says so, and may find it with another.
_SEEDS = (1, 2, 3)


def main() -> int:
    """Gives the exit code."""
    asked = json.load(sys.stdin)
    try:
        # Packages greet on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            report = tried(str(asked["engine"]), dict(asked["settings"]))
    except PermanentFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def tried(reference: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What came of it. Raises whatever the engine raises, or `ProviderFailed` if it yields no sound."""
    telemetry.switch_off()
    native_threads.pin(native_threads.thread_count(settings))
    engine = make_engine(reference, settings)
    able = engine.capabilities()
    began = time.monotonic()
    engine.load(lambda milliseconds, note: None)  # noqa: ARG005 (whoever asked has a deadline of their own)
    load_ms = (time.monotonic() - began) * 1000
    frames = _spoken(engine, able) if able.voices or able.cloning else 0
    engine.unload()
    return {
        "engine": able.engine,
        "version": able.version,
        "device": ", ".join(able.devices),
        "voices": [voice.id for voice in able.voices],
        "models": able.models,
        "load_ms": round(load_ms, 1),
        "frames": frames,
        "sample_rate": able.sample_rate,
    }


def _spoken(engine: Engine, able: Capabilities) -> int:
    """Frames of one sentence, in the voice that speaks when none is named."""
    import numpy as np

    voice = able.default_voice() or able.cloned_voice()
    assert voice is not None
    prompt = _heard(engine, able) if not able.voices else None
    style = "a calm voice" if voice.kind == "designed" else None
    for seed in _SEEDS:
        said = Utterance(
            text=TEXT,
            voice=None if prompt else voice.id,
            prompt=prompt,
            language=next(iter(voice.languages), None),
            instruct=style,
            seed=seed,
        )
        try:
            sound = [each[0] if isinstance(each, tuple) else each for each in engine.synthesize(said)]
        except ProviderFailed:
            if seed == _SEEDS[-1]:
                raise
            continue
        samples = np.concatenate(sound) if sound else np.zeros(0, np.float32)
        if not len(samples) or not np.isfinite(samples).all():
            raise ProviderFailed("it spoke no sound" if not len(samples) else "it spoke what is no sound")
        return len(samples)
    raise AssertionError


def _heard(engine: Engine, able: Capabilities) -> bytes:
    """The voice prompt of a recording of nobody, for an engine that has no voice of its own."""
    import numpy as np

    from voicebox_provider.conformance import recording

    samples = np.frombuffer(recording.recording(), "<f4")
    return engine.prepare_voice(Reference(samples=samples, sample_rate=recording.RATE, model=able.cloning_model()))


if __name__ == "__main__":
    sys.exit(main())
