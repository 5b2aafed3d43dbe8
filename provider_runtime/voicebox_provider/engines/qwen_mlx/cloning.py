"""Voices of recordings, on a Base checkpoint: what the package's encoders hear in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicebox_provider import reference_audio, voice_prompt
from voicebox_provider.engines.qwen.offer import SAMPLE_RATE
from voicebox_provider.patience import steadily
from voicebox_provider.voice_prompt import VoicePrompt

if TYPE_CHECKING:
    from voicebox_provider.engine import Reference, Samples
    from voicebox_provider.engines.qwen.checkpoint import Checkpoint

_LISTENING_S = 600.0


def listen(model: Any, checkpoint: Checkpoint, reference: Reference) -> bytes:
    """The voice prompt of a recording: with its text, mode `in_context`; without, `x_vector`. Raises `BadReference`."""
    import mlx.core as mx
    import numpy as np

    reference_audio.check(reference)
    rate, text = reference.sample_rate, reference.text or ""
    samples = mx.array(_at_own_rate(reference_audio.with_pause(reference.samples, rate), rate))
    codes = b""
    with steadily(reference.progress, _LISTENING_S):
        if text:
            codes = np.array(model.speech_tokenizer.encode(samples[None, None]))[0].T.astype("<i2").tobytes()
        embedding = np.array(model.extract_speaker_embedding(samples), "<f4").tobytes()
    return voice_prompt.encode(
        VoicePrompt(
            key=voice_prompt.key_of(reference.samples, rate, text, checkpoint.name, checkpoint.revision),
            model=checkpoint.name,
            revision=checkpoint.revision,
            mode="in_context" if text else "x_vector",
            codes=codes,
            embedding=embedding,
            text=text,
        )
    )


def read(data: bytes, checkpoint: Checkpoint, model: Any) -> VoicePrompt:
    """A prompt that came with a segment, if it is for this checkpoint and fits its tables. Raises `BadPrompt`."""
    talker = model.config.talker_config
    return voice_prompt.decode(
        data,
        model=checkpoint.name,
        revision=checkpoint.revision,
        book_size=talker.code_predictor_config.vocab_size,
        width=talker.hidden_size,
    )


def _at_own_rate(samples: Samples, rate: int) -> Samples:
    if rate == SAMPLE_RATE:
        return samples
    import numpy as np

    from voicebox_provider.resample import Resampler

    resampler = Resampler(rate, SAMPLE_RATE)
    return np.concatenate((resampler.write(samples), resampler.finish()))
