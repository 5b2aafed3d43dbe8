"""How a code is drawn from logits, by one number of the noise: by inverse CDF in the order of the vocabulary, in float64.

So equal logits give equal codes on every device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

# The top of the talker's vocabulary: nothing there is a sound, and only the end of speech may be said.
_CONTROLS = 1024
# The package's `min_new_tokens`: the end of speech may not be said before.
_LEAST_STEPS = 2


class Sampling(NamedTuple):
    """How the talker draws the first codebook and, with `subtalker_`, the predictor the other fifteen. The defaults are the package's.

    Not sampled, a code is the likeliest one. `top_k` = 0 and `top_p` = 1 leave out nothing.
    """

    do_sample: bool = True
    top_k: int = 50
    top_p: float = 1.0
    temperature: float = 0.9
    repetition_penalty: float = 1.05
    subtalker_dosample: bool = True
    subtalker_top_k: int = 50
    subtalker_top_p: float = 1.0
    subtalker_temperature: float = 0.9

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Sampling:
        """From a checkpoint's generation_config.json, or what the package's `generate` is given. What is missing or None is the default."""
        return cls(**{name: settings[name] for name in cls._fields if settings.get(name) is not None})

    def first(self, scores: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Codes of the first book, shape (B,), from scores (B, V)."""
        if not self.do_sample:
            return scores.argmax(-1)
        return draw(scores, uniform, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    def other(self, scores: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Codes of any other book, shape (B,), from scores (B, V)."""
        if not self.subtalker_dosample:
            return scores.argmax(-1)
        return draw(
            scores,
            uniform,
            temperature=self.subtalker_temperature,
            top_k=self.subtalker_top_k,
            top_p=self.subtalker_top_p,
        )


class FirstBook:
    """Owns what bears upon the first codebook during one utterance at a time: which codes may not be said, and which have been."""

    def __init__(self, vocabulary: int, end: int, device: torch.device) -> None:
        self._factors = torch.ones(1, vocabulary, device=device)
        self._never = torch.zeros(1, vocabulary, dtype=torch.bool, device=device)
        self._never[:, -_CONTROLS:] = True
        self._at_first = self._never.clone()
        self._never[:, end] = False

    def begin(self) -> None:
        """Nothing was said yet."""
        self._factors.fill_(1)

    def scores(self, logits: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """float32 (1, V) from the logits (1, V) of a step, int64 (1,), from 0 on: what was said is less likely, the rest as it was."""
        logits = logits.float()
        penalized = torch.where(logits < 0, logits * self._factors, logits / self._factors)
        return penalized.masked_fill(torch.where(step < _LEAST_STEPS, self._at_first, self._never), -math.inf)

    def say(self, codes: torch.Tensor, penalty: float) -> None:
        """Note that `codes`, shape (F,), were said. The penalty counts what this utterance said; the prompt's codes are not among it."""
        self._factors.index_fill_(1, codes, penalty)


def draw(logits: torch.Tensor, uniform: torch.Tensor, *, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """Codes (B,) from logits (B, V) and `uniform`, float64 (B,) in [0, 1). The host waits for nothing.

    Temperature, top-k and top-p follow one another as they do in transformers; whatever equals the last of the top k stays in.
    """
    scores = logits.float() / temperature
    if 0 < top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -math.inf)
    if top_p < 1:
        scores = _nucleus(scores, top_p)
    cumulative = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
    # Below the sum even where that is not quite 1, so what is found always has a probability.
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]


def _nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Without the least likely codes, which together come to 1 - `top_p` at most. The likeliest always stays."""
    ordered, order = scores.sort(-1)
    unlikely = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
    unlikely[:, -1] = False
    return scores.masked_fill(torch.zeros_like(unlikely).scatter(-1, order, unlikely), -math.inf)
