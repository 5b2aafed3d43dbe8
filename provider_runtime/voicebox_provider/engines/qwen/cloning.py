"""Voices of recordings, on a Base checkpoint: what the package's encoders hear in one, and what its method takes to speak like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicebox_provider import reference_audio, voice_prompt
from voicebox_provider.patience import steadily
from voicebox_provider.voice_prompt import VoicePrompt

if TYPE_CHECKING:
    from voicebox_provider.engine import Reference
    from voicebox_provider.engines.qwen.checkpoint import Checkpoint

# On a slow processor the encoder takes about as long as the recording lasts.
_LISTENING_S = 600.0


def listen(wrapper: Any, checkpoint: Checkpoint, reference: Reference) -> bytes:
    """The voice prompt of a recording: with its text, mode `in_context`; without, `x_vector`. Raises `BadReference`."""
    import numpy as np

    reference_audio.check(reference)
    rate, text = reference.sample_rate, reference.text or ""
    samples = reference_audio.with_pause(reference.samples, rate)
    with steadily(reference.progress, _LISTENING_S):
        (heard,) = wrapper.create_voice_clone_prompt(
            (samples, rate), ref_text=text or None, x_vector_only_mode=not text
        )
    codes = b"" if heard.ref_code is None else heard.ref_code.cpu().numpy().astype("<i2").tobytes()
    return voice_prompt.encode(
        VoicePrompt(
            key=voice_prompt.key_of(reference.samples, rate, text, checkpoint.name, checkpoint.revision),
            model=checkpoint.name,
            revision=checkpoint.revision,
            mode="in_context" if text else "x_vector",
            codes=codes,
            embedding=np.asarray(heard.ref_spk_embedding.float().cpu(), "<f4").tobytes(),
            text=text,
        )
    )


def read(data: bytes, checkpoint: Checkpoint, wrapper: Any = None) -> VoicePrompt:
    """A prompt that came with a segment, if it is for this checkpoint; with `wrapper`, the loaded model, it also fits its tables.

    Raises `BadPrompt`.
    """
    bounds = {} if wrapper is None else _bounds(wrapper)
    return voice_prompt.decode(data, model=checkpoint.name, revision=checkpoint.revision, **bounds)


def item(prompt: VoicePrompt, wrapper: Any, text: str) -> Any:
    """The prompt as the package's own object; `text` is its text as the tokenizer may have it."""
    import torch

    from voicebox_provider.engines.qwen.package import import_qwen_tts

    in_context = prompt.mode == "in_context"
    return import_qwen_tts().VoiceClonePromptItem(
        ref_code=torch.tensor(prompt.code_steps.astype("int64"), device=wrapper.device) if in_context else None,
        ref_spk_embedding=torch.tensor(prompt.speaker, device=wrapper.device),
        x_vector_only_mode=not in_context,
        icl_mode=in_context,
        ref_text=text if in_context else None,
    )


def nobody(wrapper: Any, checkpoint: Checkpoint) -> bytes:
    """A prompt of no recording, to warm up with."""
    return voice_prompt.encode(
        VoicePrompt(
            key="0" * 64,
            model=checkpoint.name,
            revision=checkpoint.revision,
            mode="x_vector",
            embedding=bytes(4 * _bounds(wrapper)["width"]),
        )
    )


def _bounds(wrapper: Any) -> dict[str, int]:
    talker = wrapper.model.config.talker_config
    return {"book_size": talker.code_predictor_config.vocab_size, "width": talker.hidden_size}
