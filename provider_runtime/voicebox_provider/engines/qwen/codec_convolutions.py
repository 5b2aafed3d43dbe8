"""The convolutions in the decoder of Qwen3-TTS's codec, from the transformer's output to the sound, for input that comes in portions.

All is time-major: (time, channels). A convolution, a transposed one too, is then a few products of matrices, which for portions
of a few frames are several times faster than torch's convolutions: those arrange their weights anew in each call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class Sounding(Protocol):
    """A layer between the transformer and the sound: (n, channels) to (n * stride, other channels), for any n >= 1."""

    stride: int
    rows: int
    """How much of its input it looks back on."""

    def past(self) -> Tensor:
        """A stream's past before it begins: (rows, channels). Zeros, for such is the padding of the package."""

    def __call__(self, x: Tensor, past: Tensor) -> Tensor:
        """Leaves in `past` what the next call needs."""


class _Snake:
    """x + sin²(αx) / β for each channel (https://arxiv.org/abs/2006.08195); the module has the logarithms of α and β."""

    def __init__(self, module: Any) -> None:
        self._alpha = module.alpha.exp()
        self._height = 1 / (module.beta.exp() + module.no_div_by_zero)

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """`out` may be `x`."""
        wave = torch.mul(x, self._alpha).sin_()
        return torch.addcmul(x, wave.square_(), self._height, out=out)


class Conv:
    """A causal convolution, one product of matrices for each tap, perhaps after a snake."""

    def __init__(
        self, weight: Tensor, bias: Tensor, *, dilation: int = 1, stride: int = 1, snake: _Snake | None = None
    ) -> None:
        """`weight` is (out * stride, in, taps), the output's channels varying fastest; the last tap meets the newest input."""
        self._weight = weight.permute(2, 1, 0).contiguous()
        self._bias = bias.repeat(stride)
        self._dilation = dilation
        self._snake = snake
        self.stride = stride
        self.rows = (len(self._weight) - 1) * dilation

    def past(self) -> Tensor:
        return self._weight.new_zeros((self.rows, self._weight.shape[1]))

    def __call__(self, x: Tensor, past: Tensor) -> Tensor:
        taps = _taps(_joined(past, x, self._snake), len(x), self._dilation)
        return torch.addbmm(self._bias, taps, self._weight).view(len(x) * self.stride, -1)


class _Residual:
    """A dilated convolution, a pointwise one, and what came in besides."""

    stride = 1

    def __init__(self, module: Any) -> None:
        self._wide = _conv(module.conv1, _Snake(module.act1))
        self._snake = _Snake(module.act2)
        self._weight = module.conv2.conv.weight[:, :, 0].t()
        self._bias = module.conv2.conv.bias
        self.rows = self._wide.rows

    def past(self) -> Tensor:
        return self._wide.past()

    def __call__(self, x: Tensor, past: Tensor) -> Tensor:
        wide = self._wide(x, past)
        return torch.addmm(x, self._snake(wide, out=wide), self._weight).add_(self._bias)


class _ConvNeXt:
    """https://arxiv.org/abs/2201.03545, causal: a convolution for each channel by itself, two linear layers, and what came in."""

    stride = 1

    def __init__(self, module: Any) -> None:
        self._module = module
        self._weight = module.dwconv.conv.weight.permute(2, 1, 0).contiguous()
        self.rows = len(self._weight) - 1

    def past(self) -> Tensor:
        return self._weight.new_zeros((self.rows, self._weight.shape[2]))

    def __call__(self, x: Tensor, past: Tensor) -> Tensor:
        module = self._module
        hidden = (_taps(_joined(past, x), len(x)) * self._weight).sum(0) + module.dwconv.conv.bias
        hidden = module.pwconv2(module.act(module.pwconv1(module.norm(hidden))))
        return torch.addcmul(x, hidden, module.gamma)


def _joined(past: Tensor, x: Tensor, snake: _Snake | None = None) -> Tensor:
    """The past, and behind it `x` after its snake: (rows + n, channels). The end of that becomes the past."""
    rows = len(past)
    joined = x.new_empty((rows + len(x), x.shape[1]))
    joined[:rows] = past
    if snake is None:
        joined[rows:] = x
    else:
        snake(x, out=joined[rows:])
    past.copy_(joined[len(x) :])
    return joined


def _taps(joined: Tensor, n: int, dilation: int = 1) -> Tensor:
    """What each tap meets: (taps, n, channels), overlapping views of what lies there once."""
    channels = joined.shape[1]
    taps = (len(joined) - n) // dilation + 1
    return joined.as_strided((taps, n, channels), (dilation * channels, channels, 1))


def _conv(module: Any, snake: _Snake | None = None) -> Conv:
    return Conv(module.conv.weight, module.conv.bias, dilation=module.dilation, snake=snake)


def _transposed(module: Any, snake: _Snake | None = None) -> Conv:
    """Input t sounds at outputs t * stride + (0 .. kernel - 1), of which the package cuts off the last kernel - stride.

    So the outputs t * stride + (0 .. stride - 1) hear input t through the kernel's first `stride` taps, input t - 1 through the
    next, and so on: a convolution that gives `stride` outputs for each input.
    """
    weight, stride = module.conv.weight, module.conv.stride[0]
    channels, out, kernel = weight.shape
    taps = -(-kernel // stride)
    weight = functional.pad(weight, (0, taps * stride - kernel)).view(channels, out, taps, stride)
    weight = weight.permute(3, 1, 0, 2).reshape(stride * out, channels, taps).flip(2)
    return Conv(weight, module.conv.bias, stride=stride, snake=snake)


def sounding_layers(module: Any) -> list[Sounding]:
    """From the transformer's output to the sound, which is a single channel."""
    layers: list[Sounding] = []
    for transposed, block in module.upsample:
        layers += [_transposed(transposed), _ConvNeXt(block)]
    first, *blocks, snake, last = module.decoder
    layers.append(_conv(first))
    for block in blocks:
        before, transposed, *residuals = block.block
        layers += [_transposed(transposed, _Snake(before)), *(_Residual(residual) for residual in residuals)]
    return [*layers, _conv(last, _Snake(snake))]


def reach(layers: Sequence[Sounding]) -> int:
    """How many frames back these layers look together."""
    frames, rate = 0.0, 1
    for layer in layers:
        frames += layer.rows / rate
        rate *= layer.stride
    return math.ceil(frames) + 1
