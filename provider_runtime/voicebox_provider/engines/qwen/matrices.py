"""Weight matrices, and how one multiplies what comes: as it is, or rounded to eight bits.

A step of one position reads every weight once and does little with it, so it takes as long as the reading does; eight bits are a
quarter of float32. Letters in shapes: T positions.
"""

from __future__ import annotations

import warnings

import torch
from torch.nn import functional

from voicebox_provider.engines.qwen.processor import has_int8_products


class Whole:
    """A weight, (out, in), as it is."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(T, out) from x (T, in). One position by the product for vectors: in bfloat16 a CPU saves a fifth."""
        return torch.mv(self._weight, x[0])[None] if x.shape[0] == 1 else functional.linear(x, self._weight)

    def added(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x` and the product with `y`."""
        if x.shape[0] == 1:
            return torch.addmv(x[0], self._weight, y[0])[None]
        return torch.addmm(x, y, self._weight.t())


class Int8:
    """A weight, (out, in), of which each row is rounded to 255 steps of its own, and each x, as it comes, to 256 of its own.

    For the processor, and float32. Integers are summed exactly, so equal inputs give equal outputs.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        whole = weight.float()
        steps = whole.abs().amax(1).clamp(min=torch.finfo().tiny) / 127
        rounded = (whole / steps[:, None]).round().to(torch.int8)
        zeros = torch.zeros(len(steps), dtype=torch.int64)
        with warnings.catch_warnings():
            # Such tensors are to go one day; PyTorch has no other product yet that is as fast for one position.
            warnings.simplefilter("ignore")
            quantized = torch._make_per_channel_quantized_tensor(rounded, steps.double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(quantized, None)
        # Without these instructions, sums of two products of eight bits each may overflow.
        self._seven_bits = not has_int8_products()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(T, out) from x (T, in)."""
        product: torch.Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._seven_bits)
        return product

    def added(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x` and the product with `y`."""
        return self(y).add_(x)


Matrix = Whole | Int8


def matrix(weight: torch.Tensor, *, int8: bool) -> Matrix:
    return Int8(weight) if int8 else Whole(weight)
