"""What the package itself says to a request: codes and logits, as its own loop comes to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

TEXT = "The harbour was quiet that morning."
SAID = "Nobody spoke."
INSTRUCT = "An old man, far away."
VARIANTS = {"custom_voice": "custom_voice", "voice_design": "voice_design", "x_vector": "base", "in_context": "base"}
"""The kinds of requests, and whose they are."""

_RATE = 24000


class Spoken(NamedTuple):
    codes: npt.NDArray[np.int64]
    """(F, 16)."""
    margins: npt.NDArray[np.float32]
    """By how much each code was likelier than the next, (F, 16)."""


def recording(seconds: float = 1.5) -> npt.NDArray[np.float32]:
    """Something like a voice, at 24 kHz: (frames,)."""
    time = np.arange(int(seconds * _RATE)) / _RATE
    noise = np.random.default_rng(3).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 3 * time) + 0.02 * noise).astype(np.float32)


def speak(model: Any, kind: str, frames: int) -> Spoken:
    """What the package says where it always takes what is likeliest."""
    heard: list[mx.array] = []
    noted: list[mx.array] = []
    draw = model._sample_token

    def note(logits: mx.array, **settings: Any) -> mx.array:
        never, said = settings.get("suppress_tokens"), settings.get("generated_tokens")
        scores = np.array(logits[0, -1])
        if never:
            scores[never] = -np.inf
        for code in set(said or ()):
            scores[code] *= 1.05 if scores[code] < 0 else 1 / 1.05
        top = np.sort(scores)[-2:]
        noted.append(top[1] - top[0])
        return draw(logits, **settings)

    def decode(codes: mx.array) -> tuple[mx.array, mx.array]:
        heard.append(codes)
        return mx.zeros((1, 8)), mx.array([8])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_sample_token", note, raising=False)
        patch.setattr(model.speech_tokenizer, "decode", decode, raising=False)
        before = _ask(model, kind, frames)
    codes = np.array(heard[0])[0][before:]
    return Spoken(codes, np.array(noted, np.float32)[: 16 * len(codes)].reshape(-1, 16))


def _ask(model: Any, kind: str, frames: int) -> int:
    """Let it speak. How many frames of what it decodes are the recording's."""
    greedy = {"max_tokens": frames, "temperature": 0.0, "repetition_penalty": 1.05}
    if kind == "custom_voice":
        list(model.generate_custom_voice(TEXT, "ryan", "english", **greedy))
    elif kind == "voice_design":
        list(model.generate_voice_design(TEXT, INSTRUCT, **greedy))
    else:
        sound = mx.array(recording())
        if kind == "in_context":
            list(model._generate_icl(TEXT, sound, SAID, **greedy))
            return int(model.speech_tokenizer.encode(sound[None, None]).shape[2])
        list(model.generate(TEXT, ref_audio=sound, **greedy))
    return 0
