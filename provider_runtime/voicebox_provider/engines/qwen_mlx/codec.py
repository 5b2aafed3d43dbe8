"""The decoder of Qwen3-TTS's 12 Hz codec on MLX, for codes that come bit by bit: in any portions, they give the samples of the whole.

The package has a decoder for streams too, and for whole utterances. Both let each frame look back on all that was said, where the model
was made to look back on a window of 72 frames: what is longer than six seconds sounds otherwise than with qwen-tts, and costs more and
more. Here the window is kept, so the transformer's past is no longer than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from voicebox_provider.engines.qwen_mlx.codec_layers import Conv, reach, sounding_layers

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

_BLOCK = 32
"""Most frames at once: more would take memory, and attention is quadratic within a block."""

_Codes = npt.NDArray[np.integer[Any]]


class CodecDecoder:
    """The weights of mlx-audio's loaded `Qwen3TTSSpeechTokenizerDecoder`, arranged for streams. Never changes."""

    samples_per_frame: int

    def __init__(self, module: Any) -> None:
        config = module.config
        self.samples_per_frame = math.prod((*config.upsample_rates, *config.upsampling_ratios))
        self._codebooks = _Codebooks(module.quantizer)
        self._entrance = Conv(_without_projections(module), module.pre_conv.conv.bias)
        self._transformer = _Transformer(module.pre_transformer)
        self._layers = sounding_layers(module)
        self._reach = reach(self._layers)

    def stream(self) -> Stream:
        """A new utterance, with silence before it."""
        return Stream(self)


class Stream:
    """One utterance on its way through the decoder; owns its past."""

    def __init__(self, decoder: CodecDecoder) -> None:
        self._decoder = decoder
        self._entered = decoder._entrance.past()
        self._memory = _Memory(0, [None] * len(decoder._transformer.layers))
        self._heard = [layer.past() for layer in decoder._layers]

    def decode(self, codes: _Codes) -> Samples:
        """The next frames' sound: codes (codebooks, n), n >= 1, give float32 (n * samples_per_frame,) within [-1, 1].

        Raises `ValueError` for another shape and `IndexError` for a code beyond its book; neither changes the stream.
        """
        sound = [self._sound(hidden) for hidden in self._hidden(codes)]
        return np.array(mx.clip(mx.concatenate(sound), -1, 1))

    def prime(self, codes: _Codes) -> None:
        """As `decode`, for what was said before, such as a voice's sample; far cheaper, for nobody wants to hear it."""
        hidden = mx.concatenate(list(self._hidden(codes)))
        # The convolutions do not remember more than this.
        hidden = hidden[-self._decoder._reach :]
        for start in range(0, len(hidden), _BLOCK):
            self._sound(hidden[start : start + _BLOCK])

    def _hidden(self, codes: _Codes) -> Iterator[mx.array]:
        self._decoder._codebooks.check(codes)
        for start in range(0, codes.shape[1], _BLOCK):
            found = self._decoder._codebooks(codes[:, start : start + _BLOCK])
            entered, self._entered = self._decoder._entrance(found, self._entered)
            yield self._decoder._transformer(entered, self._memory)

    def _sound(self, hidden: mx.array) -> mx.array:
        for number, layer in enumerate(self._decoder._layers):
            hidden, self._heard[number] = layer(hidden, self._heard[number])
        # With the past, or the graph behind it would grow from call to call.
        mx.eval(hidden, self._entered, self._heard, *filter(None, self._memory.layers))
        return hidden.flatten()


class _Codebooks:
    """What the codes stand for: (codebooks, n) codes to (n, 2 * width), the semantic book beside the sum of the acoustic ones."""

    def __init__(self, quantizer: Any) -> None:
        first, rest = quantizer.rvq_first.vq.layers, quantizer.rvq_rest.vq.layers
        self._semantic = len(first)
        self._books = mx.stack([layer.codebook.embed.weight for layer in (*first, *rest)])
        self._row = mx.arange(len(self._books))[:, None]

    def check(self, codes: _Codes) -> None:
        books, size, _ = self._books.shape
        if codes.ndim != 2 or len(codes) != books or codes.shape[1] == 0:
            raise ValueError(f"codes of shape ({books}, n) were expected, not {codes.shape}")
        if not 0 <= codes.min() <= codes.max() < size:
            raise IndexError(f"a code is not below {size}")

    def __call__(self, codes: _Codes) -> mx.array:
        found = self._books[self._row, mx.array(codes)]
        return mx.concatenate((found[: self._semantic].sum(0), found[self._semantic :].sum(0)), axis=1)


@dataclass
class _Memory:
    """What the transformer remembers: how many frames there were, and, of each layer, the keys, already turned, and values."""

    position: int
    layers: list[tuple[mx.array, mx.array] | None]
    """Each (1, heads, frames, head width), of a window less one frame at most."""


class _Transformer:
    """The package's layers, with the window that they were made for: (n, channels) to the same shape."""

    def __init__(self, module: Any) -> None:
        self.layers = module.layers
        self._module = module
        self._window: int = module.config.sliding_window
        self._turning: float = module.config.rope_theta

    def __call__(self, x: mx.array, memory: _Memory) -> mx.array:
        x = self._module.input_proj(x)
        known = memory.layers[0][0].shape[2] if memory.layers[0] else 0
        age = mx.arange(len(x))[:, None] + known - mx.arange(known + len(x))
        seen = (age >= 0) & (age < self._window)
        for number, layer in enumerate(self.layers):
            heard = self._seen(number, _normal(x, layer.input_layernorm), memory, seen)
            x = x + layer.self_attn_layer_scale(heard)
            x = x + layer.mlp_layer_scale(layer.mlp(_normal(x, layer.post_attention_layernorm)))
        memory.position += len(x)
        return self._module.output_proj(_normal(x, self._module.norm))

    def _seen(self, number: int, x: mx.array, memory: _Memory, seen: mx.array) -> mx.array:
        attention = self.layers[number].self_attn
        query, key, value = (
            projection(x).reshape(1, len(x), -1, attention.head_dim).transpose(0, 2, 1, 3)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = (
            mx.fast.rope(
                each, attention.head_dim, traditional=False, base=self._turning, scale=1.0, offset=memory.position
            )
            for each in (query, key)
        )
        if (past := memory.layers[number]) is not None:
            key, value = (mx.concatenate(pair, axis=2) for pair in zip(past, (key, value), strict=True))
        # A window of one frame remembers nothing, and [-0:] would be all.
        first = max(0, key.shape[2] - (self._window - 1))
        memory.layers[number] = key[:, :, first:], value[:, :, first:]
        out = mx.fast.scaled_dot_product_attention(query, key, value, scale=attention.scale, mask=seen)
        return attention.o_proj(out.transpose(0, 2, 1, 3).reshape(len(x), -1))


def _normal(x: mx.array, norm: Any) -> mx.array:
    return mx.fast.rms_norm(x, norm.weight, norm.eps)


def _without_projections(module: Any) -> mx.array:
    """The first convolution for what `_Codebooks` gives: the quantizer's projections are linear and without bias, so they merge."""
    quantizer = module.quantizer
    projections = [
        np.array(half.output_proj.weight[:, 0], np.float64) for half in (quantizer.rvq_first, quantizer.rvq_rest)
    ]
    weight = np.array(module.pre_conv.conv.weight, np.float64)
    merged = np.einsum("otc,cw->two", weight, np.concatenate(projections, axis=1))
    return mx.array(merged.astype(np.float32))
