"""How a code is drawn from logits on MLX: the rules of `voicebox_provider.engines.qwen.sampling`, in float32 and in one graph.

Arrays are lazy here: nothing is computed before the frame is. The noise comes from the host, so no state of MLX's own is drawn from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from voicebox_provider.engines.qwen.noise import uniforms

if TYPE_CHECKING:
    from voicebox_provider.engines.qwen.checkpoint import Defaults

# The top of the talker's vocabulary: nothing there is a sound, and only the end of speech may be said.
_CONTROLS = 1024
# qwen-tts's `min_new_tokens`: the end of speech may not be said before.
_LEAST_STEPS = 2
_FINEST = 2.0**23


class FirstBook:
    """Owns what bears upon the first codebook during one utterance: which codes may not be said, and which have been."""

    def __init__(self, vocabulary: int, end: int, penalty: float) -> None:
        self._penalty = penalty
        self._codes = mx.arange(vocabulary)
        self._factors = mx.ones(vocabulary)
        self._at_first = self._codes >= vocabulary - _CONTROLS
        self._never = self._at_first & (self._codes != end)

    def scores(self, logits: mx.array, step: int) -> mx.array:
        """float32 (V,) from the logits (V,) of a step, counted from 0: what was said is made less likely, the rest is as it was."""
        logits = logits.astype(mx.float32)
        penalized = mx.where(logits < 0, logits * self._factors, logits / self._factors)
        return mx.where(self._at_first if step < _LEAST_STEPS else self._never, -math.inf, penalized)

    def say(self, codes: mx.array) -> None:
        """Note that `codes` (n,) were said. The penalty counts what this utterance said; the prompt's codes are not among it."""
        said = mx.any(self._codes == codes[:, None], axis=0)
        self._factors = mx.where(said, self._penalty, self._factors)


def noise(seed: int, first_step: int, steps: int) -> mx.array:
    """The `uniforms` of these steps as float32 (steps, 16). Rounded down to what times any sum stays below that sum."""
    return mx.array((np.floor(uniforms(seed, first_step, steps) * _FINEST) / _FINEST).astype(np.float32))


def first(settings: Defaults, scores: mx.array, uniform: mx.array) -> mx.array:
    """A code of the first book, a scalar, from scores (V,)."""
    if not settings.do_sample:
        return mx.argmax(scores)
    return draw(scores, uniform, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p)


def other(settings: Defaults, logits: mx.array, uniform: mx.array) -> mx.array:
    """A code of any other book, a scalar, from its logits (W,)."""
    if not settings.subtalker_dosample:
        return mx.argmax(logits)
    return draw(
        logits.astype(mx.float32),
        uniform,
        temperature=settings.subtalker_temperature,
        top_k=settings.subtalker_top_k,
        top_p=settings.subtalker_top_p,
    )


def draw(scores: mx.array, uniform: mx.array, *, temperature: float, top_k: int, top_p: float) -> mx.array:
    """A code, by inverse CDF in the order of the vocabulary, from float32 scores (V,) and a `noise` number.

    Temperature, top-k and top-p follow one another as they do in transformers; whatever equals the last of the top k stays in.
    """
    scores = scores / temperature
    if 0 < top_k < scores.shape[-1]:
        scores = mx.where(scores < mx.min(mx.topk(scores, top_k)), -math.inf, scores)
    if top_p < 1:
        scores = _nucleus(scores, top_p)
    cumulative = mx.cumsum(mx.softmax(scores))
    return mx.sum(cumulative <= uniform * cumulative[-1])


def _nucleus(scores: mx.array, top_p: float) -> mx.array:
    """Without the least likely codes, which together come to 1 - `top_p` at most. The likeliest always stays."""
    order = mx.argsort(scores)
    unlikely = mx.cumsum(mx.softmax(scores[order])) <= 1 - top_p
    unlikely[-1] = False
    return mx.where(unlikely[mx.argsort(order)], -math.inf, scores)
