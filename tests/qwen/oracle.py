"""What the package itself says to a request: codes and logits, as its own generate comes to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch

from voicebox_provider.engines.qwen.package import import_qwen_tts

BOOKS = 16
TEXT = "The harbour was quiet that morning."
GREEDY = {"do_sample": False, "subtalker_dosample": False}


class Request(NamedTuple):
    """A request to a variant, in the package's terms."""

    variant: str
    method: str
    asked: dict[str, Any]


class Spoken(NamedTuple):
    codes: torch.Tensor
    """(F, 16)."""
    first: torch.Tensor
    """The talker's logits before any of them is changed, (F, V)."""
    other: torch.Tensor
    """The predictor's logits, (F, 15, W)."""


def ask(kind: str, **asked: Any) -> Request:
    """A request of a kind: custom_voice, voice_design, x_vector, in_context."""
    if kind == "custom_voice":
        voice: dict[str, Any] = {"speaker": "ryan", "language": "English"}
        return Request(kind, "generate_custom_voice", {"text": TEXT, **voice, **asked})
    if kind == "voice_design":
        return Request(kind, "generate_voice_design", {"text": TEXT, "instruct": "An old man, far away.", **asked})
    prompt = _cloned(in_context=kind == "in_context")
    return Request("base", "generate_voice_clone", {"text": TEXT, "voice_clone_prompt": [prompt], **asked})


def _cloned(*, in_context: bool) -> Any:
    generator = torch.Generator().manual_seed(7)
    return import_qwen_tts().VoiceClonePromptItem(
        ref_code=torch.randint(0, 64, (9, BOOKS), generator=generator) if in_context else None,
        ref_spk_embedding=torch.randn(64, generator=generator) * 0.1,
        x_vector_only_mode=not in_context,
        icl_mode=in_context,
        ref_text="Nobody spoke." if in_context else None,
    )


def speak(wrapper: Any, request: Request) -> Spoken:
    """What the package says, and what it says it from."""
    model = wrapper.model
    talker, predictor = model.talker, model.talker.code_predictor
    first: list[torch.Tensor] = []
    other: list[torch.Tensor] = []
    heard: list[torch.Tensor] = []

    def decode(encoded: list[dict[str, torch.Tensor]]) -> tuple[list[npt.NDArray[np.float32]], int]:
        heard.append(encoded[0]["audio_codes"])
        return [np.zeros(1, np.float32)], 24000

    with (
        _noting([talker.codec_head], first),
        _noting(predictor.lm_head, other),
        patch.object(model.speech_tokenizer, "decode", decode),
    ):
        getattr(wrapper, request.method)(**request.asked)
    codes = heard[0][_before(request) :]
    return Spoken(codes, torch.stack(first)[: len(codes)], torch.stack(other).view(-1, BOOKS - 1, other[0].shape[-1]))


@contextmanager
def noise(uniforms: npt.NDArray[np.float64]) -> Iterator[None]:
    """Let the package draw by inverse CDF from uniforms (steps, 16), in the order in which it draws."""
    left = iter(torch.from_numpy(uniforms.reshape(-1)))

    def multinomial(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        cumulative = probabilities.double().cumsum(-1)
        return (cumulative > next(left) * cumulative[:, -1:]).int().argmax(-1, keepdim=True)

    with patch.object(torch, "multinomial", multinomial):
        yield


@contextmanager
def _noting(modules: Any, logits: list[torch.Tensor]) -> Iterator[None]:
    def note(_module: object, _inputs: object, output: torch.Tensor) -> None:
        logits.append(output[0, -1].clone())

    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _before(request: Request) -> int:
    """How many frames of what is decoded are the reference's."""
    items = request.asked.get("voice_clone_prompt", ())
    return sum(len(item.ref_code) for item in items if item.ref_code is not None)
