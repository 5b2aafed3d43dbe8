"""The transformer layers of Qwen3-TTS, for one sequence: RMSNorm, grouped-query attention, rotary positions, SwiGLU.

Talker and code predictor have the same layers. The talker gives each position three coordinates, which for speech are equal, so its
rotation is the plain one too. Letters in shapes: T positions, D width, H query heads, K key and value heads, G = H / K, d width of a
head, I width of the feed-forward net.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from voicebox_provider.engine import PermanentFault


class _Layer(NamedTuple):
    before_attention: torch.Tensor
    """Weight of an RMSNorm, (D,)."""
    qkv: torch.Tensor
    """((H + 2K) d, D)."""
    heads_norm: torch.Tensor
    """The two RMSNorms of a head's width, a row for each head of queries and keys: (H + K, d)."""
    out: torch.Tensor
    """(D, H d)."""
    before_feed_forward: torch.Tensor
    """(D,)."""
    gate_up: torch.Tensor
    """(2I, D)."""
    down: torch.Tensor
    """(D, I)."""


class Stack:
    """Owns the fused weights of one decoder, and the keys and values of one sequence at a time.

    To be called in `torch.inference_mode`; the type and device of all it takes and gives are those of the weights.
    """

    def __init__(self, model: Any) -> None:
        """From the package's `model` of a talker or code predictor, whose modules share the fused weights from now on.

        Raises `PermanentFault` if its layers are not of the kind that is computed here.
        """
        config = model.config
        if config.attention_bias or config.hidden_act != "silu" or config.sliding_window:
            raise PermanentFault("our loop does not know this checkpoint's layers; the package may: loop = 'reference'")
        self._queries: int = config.num_attention_heads
        self._keys: int = config.num_key_value_heads
        self._width: int = model.layers[0].self_attn.head_dim
        self._epsilon: float = config.rms_norm_eps
        self._layers = [_layer(layer, self._queries, self._keys) for layer in model.layers]
        self._norm: torch.Tensor = model.norm.weight.data
        self._rotary = model.rotary_emb
        self._length = 0
        self._capacity = 0

    def reserve(self, positions: int) -> None:
        """Make room for a sequence of that many positions. The sequence that was there is lost if there was less."""
        if positions <= self._capacity:
            return
        self._capacity = positions
        shape = len(self._layers), 2, self._keys, positions, self._width
        self._cache = torch.empty(shape, dtype=self._norm.dtype, device=self._norm.device).unbind()
        self._cosines, self._sines = self._rotations(positions)

    def prefill(self, inputs: torch.Tensor) -> torch.Tensor:
        """Begin a sequence with inputs (T, D). The output of the last of them, after the final norm: (1, D)."""
        self._length = 0
        return self._advance(inputs)

    def step(self, inputs: torch.Tensor) -> torch.Tensor:
        """Go on by one position, (1, D) to (1, D)."""
        return self._advance(inputs)

    def _rotations(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of all positions, (positions, 1, d) each. The first half of the sines is negative: see `_rotated`."""
        frequencies = self._rotary.inv_freq.to(self._norm.device, torch.float32)
        angles = torch.arange(positions, device=frequencies.device)[:, None] * frequencies
        scale = self._rotary.attention_scaling
        cosines = torch.cat((angles.cos(), angles.cos()), -1) * scale
        sines = torch.cat((-angles.sin(), angles.sin()), -1) * scale
        return cosines[:, None].to(self._norm.dtype), sines[:, None].to(self._norm.dtype)

    def _advance(self, x: torch.Tensor) -> torch.Tensor:
        start, end = self._length, self._length + x.shape[0]
        self._length = end
        rotation = self._cosines[start:end], self._sines[start:end]
        for layer, cache in zip(self._layers, self._cache, strict=True):
            heads = linear(self._normed(x, layer.before_attention), layer.qkv)
            queries = self._remember(
                heads.view(x.shape[0], -1, self._width), layer.heads_norm, rotation, cache[:, :, start:end]
            )
            x = _added(x, self._attention(queries, cache[:, None, :, :end]), layer.out)
            gate, up = linear(self._normed(x, layer.before_feed_forward), layer.gate_up).chunk(2, -1)
            x = _added(x, functional.silu(gate).mul_(up), layer.down)
        return self._normed(x[-1:], self._norm)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._epsilon)

    def _remember(
        self,
        heads: torch.Tensor,
        norm: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        cache: torch.Tensor,
    ) -> torch.Tensor:
        """Turn queries and keys to their positions, and put keys and values into the cache, (2, K, T, d). The queries, (T, H, d)."""
        turning = self._queries + self._keys
        normed = functional.rms_norm(heads[:, :turning], (self._width,), None, self._epsilon).mul_(norm)
        turned = _rotated(normed, *rotation)
        cache[0].copy_(turned[:, self._queries :].transpose(0, 1))
        cache[1].copy_(heads[:, turning:].transpose(0, 1))
        return turned[:, : self._queries]

    def _attention(self, queries: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        """(T, H d) from queries (T, H, d) and all keys and values so far, (2, 1, K, positions, d)."""
        keys, values = cache.unbind()
        if queries.shape[0] == 1:
            # One position sees all, so the G heads that share a key can pass for G positions, and no key is copied G times.
            grouped = queries.view(1, self._keys, -1, self._width)
            return functional.scaled_dot_product_attention(grouped, keys, values).reshape(1, -1)
        seen = functional.scaled_dot_product_attention(
            queries.transpose(0, 1)[None], keys, values, is_causal=True, enable_gqa=True
        )
        return seen[0].transpose(0, 1).flatten(1)


def fused(*modules: Any) -> torch.Tensor:
    """The weights of several modules, one below the other. Each module's weight becomes a view of them: none is in memory twice."""
    weights = torch.cat([module.weight.data for module in modules])
    for module, rows in zip(modules, weights.split([len(module.weight) for module in modules]), strict=True):
        module.weight.data = rows
    return weights


def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(T, out) from x (T, in) and a weight (out, in). One position by the product for vectors: in bfloat16 a CPU saves a fifth."""
    return torch.mv(weight, x[0])[None] if x.shape[0] == 1 else functional.linear(x, weight)


def _added(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`x` + `linear(y, weight)`."""
    return torch.addmv(x[0], weight, y[0])[None] if x.shape[0] == 1 else torch.addmm(x, y, weight.t())


def _layer(layer: Any, queries: int, keys: int) -> _Layer:
    attention, feed_forward = layer.self_attn, layer.mlp
    norms = attention.q_norm.weight.data.expand(queries, -1), attention.k_norm.weight.data.expand(keys, -1)
    return _Layer(
        before_attention=layer.input_layernorm.weight.data,
        qkv=fused(attention.q_proj, attention.k_proj, attention.v_proj),
        heads_norm=torch.cat(norms),
        out=attention.o_proj.weight.data,
        before_feed_forward=layer.post_attention_layernorm.weight.data,
        gate_up=fused(feed_forward.gate_proj, feed_forward.up_proj),
        down=feed_forward.down_proj.weight.data,
    )


def _rotated(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Each head (…, d) turned: its halves (a, b) become (a cos - b sin, b cos + a sin)."""
    return torch.addcmul(heads * cosines, heads.roll(heads.shape[-1] // 2, -1), sines)
