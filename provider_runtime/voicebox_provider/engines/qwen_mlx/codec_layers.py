"""The convolutions in the decoder of Qwen3-TTS's codec on MLX, for input that comes in portions.

All is time-major: (time, channels). A convolution, a transposed one too, is one product of matrices: on a processor MLX's own are several
times slower, and a step of a stream has few frames. What a layer still needs of its past goes in and comes out with each call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx
from mlx import nn


class Sounding(Protocol):
    """A layer between the transformer and the sound: (n, channels) to (n * stride, other channels), for any n >= 1."""

    stride: int
    rows: int
    """How much of its input it looks back on."""

    def past(self) -> mx.array:
        """A stream's past before it begins: (rows, channels). Zeros, for such is the padding of the package."""

    def __call__(self, x: mx.array, past: mx.array) -> tuple[mx.array, mx.array]:
        """The output, and the past for the next call."""


class Snake:
    """x + sin²(αx) / β for each channel (https://arxiv.org/abs/2006.08195); the module has the logarithms of α and β."""

    def __init__(self, module: Any) -> None:
        self._alpha = mx.exp(module.alpha)
        self._height = 1 / (mx.exp(module.beta) + module.eps)

    def __call__(self, x: mx.array) -> mx.array:
        return x + self._height * mx.square(mx.sin(x * self._alpha))


class Conv:
    """A causal convolution, perhaps after a snake."""

    def __init__(
        self, weight: mx.array, bias: mx.array, *, dilation: int = 1, stride: int = 1, snake: Snake | None = None
    ) -> None:
        """`weight` is (taps, in, out * stride), the output's channels varying fastest; the last tap meets the newest input."""
        self._taps, self._channels, _ = weight.shape
        self._weight = mx.contiguous(weight.reshape(self._taps * self._channels, -1))
        self._bias = mx.tile(bias, stride)
        self._dilation = dilation
        self._snake = snake
        self.stride = stride
        self.rows = (self._taps - 1) * dilation

    def past(self) -> mx.array:
        return mx.zeros((self.rows, self._channels))

    def __call__(self, x: mx.array, past: mx.array) -> tuple[mx.array, mx.array]:
        joined = mx.concatenate((past, x if self._snake is None else self._snake(x)))
        met = mx.concatenate(_taps(joined, len(x), self._taps, self._dilation), axis=1)
        out = mx.addmm(self._bias, met, self._weight)
        return out.reshape(len(x) * self.stride, -1), joined[len(x) :]


class _Residual:
    """A dilated convolution, a pointwise one, and what came in besides."""

    stride = 1

    def __init__(self, module: Any) -> None:
        self._wide = _conv(module.conv1.conv, Snake(module.act1))
        self._narrow = _conv(module.conv2.conv, Snake(module.act2))
        self.rows = self._wide.rows

    def past(self) -> mx.array:
        return self._wide.past()

    def __call__(self, x: mx.array, past: mx.array) -> tuple[mx.array, mx.array]:
        wide, past = self._wide(x, past)
        narrow, _ = self._narrow(wide, self._narrow.past())
        return x + narrow, past


class _ConvNeXt:
    """https://arxiv.org/abs/2201.03545, causal: a convolution for each channel by itself, two linear layers, and what came in."""

    stride = 1

    def __init__(self, module: Any) -> None:
        self._module = module
        self._weight = module.dwconv.conv.weight[:, :, 0].T
        self._bias = module.dwconv.conv.bias
        self.rows = len(self._weight) - 1

    def past(self) -> mx.array:
        return mx.zeros((self.rows, self._weight.shape[1]))

    def __call__(self, x: mx.array, past: mx.array) -> tuple[mx.array, mx.array]:
        module = self._module
        joined = mx.concatenate((past, x))
        met = mx.stack(_taps(joined, len(x), len(self._weight), 1))
        hidden = (met * self._weight[:, None]).sum(0) + self._bias
        hidden = module.pwconv2(nn.gelu(module.pwconv1(module.norm(hidden))))
        return x + module.gamma * hidden, joined[len(x) :]


def _taps(joined: mx.array, n: int, taps: int, dilation: int) -> list[mx.array]:
    """What each tap meets, (n, channels) each, the oldest first."""
    return [joined[tap * dilation : tap * dilation + n] for tap in range(taps)]


def _conv(module: Any, snake: Snake | None = None) -> Conv:
    """The package's weights are (out, taps, in)."""
    return Conv(module.weight.transpose(1, 2, 0), module.bias, dilation=module.dilation, snake=snake)


def _transposed(module: Any, snake: Snake | None = None) -> Conv:
    """Input t sounds at outputs t * stride + (0 .. kernel - 1), of which the package cuts off the last kernel - stride.

    So the outputs t * stride + (0 .. stride - 1) hear input t through the kernel's first `stride` taps, input t - 1 through the
    next, and so on: a convolution that gives `stride` outputs for each input.
    """
    weight, stride = module.weight, module.stride
    out, kernel, channels = weight.shape
    taps = -(-kernel // stride)
    weight = mx.pad(weight, [(0, 0), (0, taps * stride - kernel), (0, 0)]).reshape(out, taps, stride, channels)
    weight = weight.transpose(1, 3, 2, 0).reshape(taps, channels, stride * out)[::-1]
    return Conv(weight, module.bias, stride=stride, snake=snake)


def sounding_layers(module: Any) -> list[Sounding]:
    """From the transformer's output to the sound, which is a single channel."""
    layers: list[Sounding] = []
    for transposed, block in module.upsample:
        layers += [_transposed(transposed.conv), _ConvNeXt(block)]
    first, *blocks, snake, last = module.decoder
    layers.append(_conv(first.conv))
    for block in blocks:
        before, transposed, *residuals = block.block
        layers += [_transposed(transposed.conv, Snake(before)), *(_Residual(residual) for residual in residuals)]
    return [*layers, _conv(last.conv, Snake(snake))]


def reach(layers: Sequence[Sounding]) -> int:
    """How many frames back these layers look together."""
    frames, rate = 0.0, 1
    for layer in layers:
        frames += layer.rows / rate
        rate *= layer.stride
    return math.ceil(frames) + 1
