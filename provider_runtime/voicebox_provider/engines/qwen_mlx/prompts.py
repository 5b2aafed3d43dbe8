"""Prompts by the package's own methods, so that their layout is the package's by construction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from voicebox_provider.engines.qwen_mlx.frames import Prompt

if TYPE_CHECKING:
    from voicebox_provider.voice_prompt import VoicePrompt


def described(model: Any, text: str, language: str, speaker: str | None, instruct: str | None) -> Prompt:
    """For a preset speaker, or, with None, for whoever `instruct` describes. `language` is as the package calls it, or "auto"."""
    embeds, _, pad = model._prepare_generation_inputs(text, language, speaker=speaker, instruct=instruct)
    return Prompt(embeds, pad)


def cloned(model: Any, text: str, language: str, voice: VoicePrompt) -> Prompt:
    """For a voice that was prepared before.

    The package listens to a recording again for each utterance, or takes what it remembers of it; here it remembers what it is given.
    """
    recording = mx.zeros(1)
    model.extract_speaker_embedding = lambda *_: mx.array(np.array(voice.speaker))[None]
    try:
        if voice.mode == "x_vector":
            embeds, _, pad = model._prepare_generation_inputs(text, language, ref_audio=recording)
            return Prompt(embeds, pad)
        known = voice.text, (recording.size, float(recording.sum()))
        codes = mx.array(voice.code_steps.T.astype(np.int32))[None]
        said = model.tokenizer.encode(f"<|im_start|>assistant\n{voice.text}<|im_end|>\n")
        model._icl_cache[known] = codes, mx.array(said)[None, 3:-2]
        embeds, _, pad, _ = model._prepare_icl_generation_inputs(text, recording, voice.text, language)
        return Prompt(embeds, pad)
    finally:
        model._icl_cache.clear()
        del model.extract_speaker_embedding
