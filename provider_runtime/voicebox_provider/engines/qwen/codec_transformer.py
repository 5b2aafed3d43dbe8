"""The transformer in the decoder of Qwen3-TTS's codec: a sliding window, for frames that come in blocks.

Shapes are (n, width), for the n frames of a block, where nothing else is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32
"""Most frames at once: more would take memory, and attention is quadratic within a block."""

_LONG_AGO = -(2**40)


@dataclass
class Memory:
    """What the transformer remembers. A ring: the frame at position p lies in slot p % slots, and masks tell its age."""

    position: int
    positions: Tensor
    """Of what lies in each slot; int64 (slots,)."""
    layers: list[tuple[Tensor, Tensor]]
    """Keys, already turned, and values: each (1, heads, slots, head width)."""


@dataclass
class _Here:
    """Where a block of n frames stands, for all layers."""

    slots: Tensor
    cos: Tensor
    sin: Tensor
    mask: Tensor
    """(n, slots), 0 where a frame may look, and -inf where not."""


class Transformer:
    """The package's layers, with a memory of their own for each stream; from the first convolution's output to the same shape."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._layers = [_Layer(layer) for layer in module.layers[: module.config.num_hidden_layers]]
        self._window = module.config.sliding_window
        self._slots = self._window - 1 + BLOCK

    def memory(self) -> Memory:
        positions = torch.full((self._slots,), _LONG_AGO, device=self._module.norm.weight.device)
        return Memory(0, positions, [layer.memory(self._slots) for layer in self._layers])

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        x = self._module.input_proj(x)
        here = self._here(len(x), memory, x.dtype)
        for layer, (keys, values) in zip(self._layers, memory.layers, strict=True):
            x = layer(x, keys, values, here)
        return self._module.output_proj(self._module.norm(x))

    def _here(self, n: int, memory: Memory, dtype: torch.dtype) -> _Here:
        positions = torch.arange(memory.position, memory.position + n, device=memory.positions.device)
        memory.position += n
        slots = positions % self._slots
        memory.positions[slots] = positions
        age = positions[:, None] - memory.positions
        mask = torch.zeros(age.shape, dtype=dtype, device=age.device)
        mask.masked_fill_((age < 0) | (age >= self._window), -math.inf)
        turning = self._module.rotary_emb
        angles = positions.float()[:, None] * turning.inv_freq.float()
        angles = torch.cat((angles, angles), dim=1)
        cos, sin = (wave * turning.attention_scaling for wave in (angles.cos(), angles.sin()))
        return _Here(slots, cos.to(dtype), sin.to(dtype), mask)


class _Layer:
    """Attention and a gated net, each scaled and added to what came in."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._attention = module.self_attn

    def memory(self, slots: int) -> tuple[Tensor, Tensor]:
        heads, weight = self._attention.config.num_key_value_heads, self._attention.k_proj.weight
        shape = (1, heads, slots, self._attention.head_dim)
        # Zeros, for what is masked is multiplied all the same.
        return weight.new_zeros(shape), weight.new_zeros(shape)

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor, here: _Here) -> Tensor:
        module = self._module
        seen = self._seen(_normal(x, module.input_layernorm), keys, values, here)
        x = torch.addcmul(x, seen, module.self_attn_layer_scale.scale)
        thought = module.mlp(_normal(x, module.post_attention_layernorm))
        return torch.addcmul(x, thought, module.mlp_layer_scale.scale)

    def _seen(self, x: Tensor, keys: Tensor, values: Tensor, here: _Here) -> Tensor:
        attention = self._attention
        keys.index_copy_(2, here.slots, _turned(self._heads(attention.k_proj(x)), here))
        values.index_copy_(2, here.slots, self._heads(attention.v_proj(x)))
        query = _turned(self._heads(attention.q_proj(x)), here)
        shared = query.shape[1] != keys.shape[1]
        seen = functional.scaled_dot_product_attention(
            query, keys, values, here.mask, scale=attention.scaling, enable_gqa=shared
        )
        return attention.o_proj(seen[0].transpose(0, 1).flatten(1))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(1, len(x), -1, self._attention.head_dim).transpose(1, 2)


def _normal(x: Tensor, norm: Any) -> Tensor:
    return functional.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _turned(x: Tensor, here: _Here) -> Tensor:
    """Rotary positions, in the convention that pairs a head's first half with its second."""
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * here.cos, torch.cat((-second, first), dim=-1), here.sin)
