"""The transformer layers of Qwen3-TTS, for one sequence: RMSNorm, grouped-query attention, rotary positions, SwiGLU.

Talker and code predictor have the same layers. The talker gives each position three coordinates, which for speech are equal, so its
rotation is the plain one too. Letters in shapes: T positions, D width, H query heads, K key and value heads, G = H / K, d width of a
head, I width of the feed-forward net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from voicebox_provider.engine import PermanentFault
from voicebox_provider.engines.qwen.matrices import Matrix, matrix


class _Layer(NamedTuple):
    before_attention: torch.Tensor
    """Weight of an RMSNorm, (D,)."""
    qkv: Matrix
    """((H + 2K) d, D)."""
    heads_norm: torch.Tensor
    """The two RMSNorms of a head's width, a row for each head of queries and keys: (H + K, d)."""
    out: Matrix
    """(D, H d)."""
    before_feed_forward: torch.Tensor
    """(D,)."""
    gate_up: Matrix
    """(2I, D)."""
    down: Matrix
    """(D, I)."""


class Stack:
    """Owns the fused weights of one decoder, and the keys and values of one sequence at a time.

    To be called in `torch.inference_mode`; what it takes and gives is of `dtype`, on the device of the weights.
    """

    def __init__(self, model: Any, *, int8: bool = False) -> None:
        """From the package's `model` of a talker or code predictor, whose modules share the fused weights from now on.

        `int8` rounds the matrices, and all else is float32. Raises `PermanentFault` for layers of another kind than is computed here.
        """
        config = model.config
        if config.attention_bias or config.hidden_act != "silu" or config.sliding_window:
            raise PermanentFault("our loop does not know this checkpoint's layers; the package may: loop = 'reference'")
        self._queries: int = config.num_attention_heads
        self._keys: int = config.num_key_value_heads
        self._width: int = model.layers[0].self_attn.head_dim
        self._epsilon: float = config.rms_norm_eps
        weight: torch.Tensor = model.norm.weight.data
        self.dtype = torch.float32 if int8 else weight.dtype
        self._norm = weight.to(self.dtype)
        self._layers = [self._layer(layer, int8) for layer in model.layers]
        self._rotary = model.rotary_emb
        self.places = torch.arange(0, device=weight.device)
        """The positions that there is room for."""

    def reserve(self, positions: int) -> None:
        """Make room for a sequence of that many positions. The sequence that was there is lost."""
        # Not left as it comes: what is there before it is written must be a number, for it is multiplied by nought.
        shape = len(self._layers), 2 * self._keys, positions, self._width
        self._cache = torch.zeros(shape, dtype=self.dtype, device=self._norm.device).unbind()
        self.places = torch.arange(positions, device=self._norm.device)
        self._cosines, self._sines = self._rotations()

    def prefill(self, inputs: torch.Tensor) -> torch.Tensor:
        """Begin a sequence with inputs (T, D). The output of the last of them, after the final norm: (1, D)."""
        return self._advance(inputs, self.places[: len(inputs)], len(inputs), None)

    def step(self, inputs: torch.Tensor, position: int) -> torch.Tensor:
        """The output, (1, D), of the next position, from its input, (1, D)."""
        return self._advance(inputs, self.places[position : position + 1], position + 1, None)

    def step_at(self, inputs: torch.Tensor, position: torch.Tensor, seen: int) -> torch.Tensor:
        """As `step`, for a position, int64 (1,), of which the host need only know that it is below `seen`."""
        return self._advance(inputs, position, seen, (self.places[:seen] <= position)[None])

    def repeat(self, inputs: torch.Tensor, position: int, seen: Sequence[int]) -> None:
        """Hear inputs (T, D) from a position on as `step_at` would, one by one, and to the last bit: what is rounded afterwards would
        make another code of a difference in the last. Quicker, for each matrix stays in the cache for all of them."""
        places = [self.places[each : each + 1] for each in range(position, position + len(inputs))]
        rotations = [(self._cosines.index_select(0, at), self._sines.index_select(0, at)) for at in places]
        masks = [(self.places[:until] <= at)[None] for at, until in zip(places, seen, strict=True)]
        xs = [inputs[each : each + 1] for each in range(len(inputs))]
        for layer, cache in zip(self._layers, self._cache, strict=True):
            heads = [self._heads(layer, cache, x, at, turn) for x, at, turn in zip(xs, places, rotations, strict=True)]
            found = [
                self._attention(own[:, : self._queries], cache[:, :until], mask)
                for own, until, mask in zip(heads, seen, masks, strict=True)
            ]
            xs = [layer.out.added(x, each) for x, each in zip(xs, found, strict=True)]
            gated = [self._gated(layer, x) for x in xs]
            xs = [layer.down.added(x, each) for x, each in zip(xs, gated, strict=True)]

    def _layer(self, layer: Any, int8: bool) -> _Layer:
        attention, feed_forward = layer.self_attn, layer.mlp
        norms = (
            attention.q_norm.weight.data.expand(self._queries, -1),
            attention.k_norm.weight.data.expand(self._keys, -1),
        )
        return _Layer(
            before_attention=layer.input_layernorm.weight.data.to(self.dtype),
            qkv=matrix(fused(attention.q_proj, attention.k_proj, attention.v_proj), int8=int8),
            heads_norm=torch.cat(norms).to(self.dtype),
            out=matrix(attention.o_proj.weight.data, int8=int8),
            before_feed_forward=layer.post_attention_layernorm.weight.data.to(self.dtype),
            gate_up=matrix(fused(feed_forward.gate_proj, feed_forward.up_proj), int8=int8),
            down=matrix(feed_forward.down_proj.weight.data, int8=int8),
        )

    def _rotations(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of all positions, (positions, 1, d) each. The first half of the sines is negative: see `_rotated`."""
        frequencies = self._rotary.inv_freq.to(self._norm.device, torch.float32)
        angles = self.places[:, None] * frequencies
        scale = self._rotary.attention_scaling
        cosines = torch.cat((angles.cos(), angles.cos()), -1) * scale
        sines = torch.cat((-angles.sin(), angles.sin()), -1) * scale
        return cosines[:, None].to(self.dtype), sines[:, None].to(self.dtype)

    def _advance(self, x: torch.Tensor, positions: torch.Tensor, seen: int, mask: torch.Tensor | None) -> torch.Tensor:
        """Inputs (T, D) at `positions`, (T,), that attend to the first `seen` places, or those of them in the mask, (1, seen)."""
        rotation = self._cosines.index_select(0, positions), self._sines.index_select(0, positions)
        for layer, cache in zip(self._layers, self._cache, strict=True):
            heads = self._heads(layer, cache, x, positions, rotation)
            x = layer.out.added(x, self._attention(heads[:, : self._queries], cache[:, :seen], mask))
            x = layer.down.added(x, self._gated(layer, x))
        return self._normed(x[-1:], self._norm)

    def _heads(
        self,
        layer: _Layer,
        cache: torch.Tensor,
        x: torch.Tensor,
        positions: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """Queries, keys and values, (T, H + 2K, d), of which the last two are in the cache now."""
        heads = layer.qkv(self._normed(x, layer.before_attention)).view(x.shape[0], -1, self._width)
        self._turn(heads, layer.heads_norm, rotation)
        cache.index_copy_(1, positions, heads[:, self._queries :].transpose(0, 1))
        return heads

    def _gated(self, layer: _Layer, x: torch.Tensor) -> torch.Tensor:
        """What the feed-forward net makes of x (T, D) before its last matrix: (T, I)."""
        gate, up = layer.gate_up(self._normed(x, layer.before_feed_forward)).chunk(2, -1)
        return functional.silu(gate).mul_(up)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._epsilon)

    def _turn(self, heads: torch.Tensor, norm: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Norm queries and keys, the first of the heads (T, H + 2K, d), and turn them to their positions: in place."""
        turning = heads[:, : self._queries + self._keys]
        normed = functional.rms_norm(turning, (self._width,), None, self._epsilon).mul_(norm)
        turning.copy_(_rotated(normed, *rotation))

    def _attention(self, queries: torch.Tensor, cache: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(T, H d) from queries (T, H, d), and keys and values, (2K, seen, d)."""
        keys, values = cache.view(1, 2, self._keys, -1, self._width).unbind(1)
        if queries.shape[0] == 1:
            # One position sees all, so the G heads that share a key can pass for G positions, and no key is copied G times.
            grouped = queries.reshape(1, self._keys, -1, self._width)
            return functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask).reshape(1, -1)
        found = functional.scaled_dot_product_attention(
            queries.transpose(0, 1)[None], keys, values, is_causal=True, enable_gqa=True
        )
        return found[0].transpose(0, 1).flatten(1)


def fused(*modules: Any) -> torch.Tensor:
    """The weights of several modules, one below the other. Each module's weight becomes a view of them: none is in memory twice."""
    weights = torch.cat([module.weight.data for module in modules])
    for module, rows in zip(modules, weights.split([len(module.weight) for module in modules]), strict=True):
        module.weight.data = rows
    return weights


def _rotated(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Each head (…, d) turned: its halves (a, b) become (a cos - b sin, b cos + a sin)."""
    return torch.addcmul(heads * cosines, heads.roll(heads.shape[-1] // 2, -1), sines)
