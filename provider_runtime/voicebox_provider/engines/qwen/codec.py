"""The decoder of Qwen3-TTS's 12 Hz codec for codes that come bit by bit: in any portions, they give the samples of the whole.

The decoder looks only back: codebooks, a transformer with a sliding window, causal convolutions. So a stream keeps what each
layer still needs of its past, and decodes no code twice. qwen-tts decodes a portion with some old codes before it, which costs
their decoding every time and comes near the truth, but not there: eight layers with a window of 72 look far back.

Hidden states are time-major: (time, channels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from voicebox_provider.engines.qwen.codec_convolutions import Conv, reach, sounding_layers
from voicebox_provider.engines.qwen.codec_transformer import BLOCK, Memory, Transformer

if TYPE_CHECKING:
    from torch import Tensor

    from voicebox_provider.engine import Samples


class CodecDecoder:
    """The weights of a loaded `Qwen3TTSTokenizerV2Decoder`, arranged for streams. Never changes, so all threads may share it.

    The linear layers are the module's own. Convolutions are copies, for a tap's weights do not lie together there; whoever
    needs the module no more should drop it. It is left as it was.
    """

    samples_per_frame: int

    def __init__(self, module: Any) -> None:
        config = module.config
        self.samples_per_frame = math.prod((*config.upsample_rates, *config.upsampling_ratios))
        with torch.no_grad():
            self._codebooks = _Codebooks(module.quantizer)
            self._entrance = Conv(_without_projections(module), module.pre_conv.conv.bias)
            self._transformer = Transformer(module.pre_transformer)
            self._layers = sounding_layers(module)
        self._reach = reach(self._layers)

    def stream(self) -> Stream:
        """A new utterance, with silence before it."""
        return Stream(self)


class Stream:
    """One utterance on its way through the decoder; owns its past. For one thread at a time, and for one utterance."""

    def __init__(self, decoder: CodecDecoder) -> None:
        self._decoder = decoder
        with torch.inference_mode():
            self._past: _Past | None = _Past(
                decoder._entrance.past(), decoder._transformer.memory(), [layer.past() for layer in decoder._layers]
            )

    def decode(self, codes: Tensor) -> Samples:
        """The next frames' sound: int64 codes (codebooks, n), n >= 1, give float32 (n * samples_per_frame,) within [-1, 1].

        Raises `ValueError` for another shape, `IndexError` (on a CPU) for a code beyond its book, and `RuntimeError` if the stream is
        closed. After an `IndexError` the stream is of no more use.
        """
        with torch.inference_mode():
            past = self._checked(codes)
            blocks = [self._sound(hidden, past) for hidden in self._hidden(codes, past)]
            sound: Samples = torch.cat(blocks).clamp_(-1, 1).float().cpu().numpy()
            return sound

    def prime(self, codes: Tensor) -> None:
        """As `decode`, for what was said before, such as a voice's sample; far cheaper, for nobody wants to hear it."""
        with torch.inference_mode():
            past = self._checked(codes)
            hidden = torch.cat(list(self._hidden(codes, past)))
            # The convolutions do not remember more than this.
            for block in hidden[-self._decoder._reach :].split(BLOCK):
                self._sound(block, past)

    def close(self) -> None:
        """Frees the past. What follows needs a stream of its own: in this one it would continue what has been said."""
        self._past = None

    def _checked(self, codes: Tensor) -> _Past:
        if self._past is None:
            raise RuntimeError("this stream is closed")
        self._decoder._codebooks.check(codes)
        return self._past

    def _hidden(self, codes: Tensor, past: _Past) -> Iterator[Tensor]:
        decoder = self._decoder
        for block in codes.split(BLOCK, dim=1):
            yield decoder._transformer(decoder._entrance(decoder._codebooks(block), past.entered), past.memory)

    def _sound(self, hidden: Tensor, past: _Past) -> Tensor:
        for layer, heard in zip(self._decoder._layers, past.heard, strict=True):
            hidden = layer(hidden, heard)
        return hidden.flatten()


@dataclass
class _Past:
    """All that is left of what a stream has decoded, a few megabytes; the tensors change in place."""

    entered: Tensor
    memory: Memory
    heard: list[Tensor]


class _Codebooks:
    """What the codes stand for: (codebooks, n) codes to (n, 2 * width), the semantic book beside the sum of the acoustic ones."""

    def __init__(self, quantizer: Any) -> None:
        first, rest = quantizer.rvq_first.vq.layers, quantizer.rvq_rest.vq.layers
        self._semantic = len(first)
        self._books = torch.stack([_book(layer._codebook) for layer in (*first, *rest)])
        self._row = torch.arange(len(self._books), device=self._books.device)[:, None]

    def check(self, codes: Tensor) -> None:
        if codes.dim() != 2 or codes.shape[0] != len(self._books) or codes.shape[1] == 0:
            raise ValueError(f"codes of shape ({len(self._books)}, n) were expected, not {tuple(codes.shape)}")

    def __call__(self, codes: Tensor) -> Tensor:
        found = self._books[self._row, codes.to(self._books.device)]
        return torch.cat((found[: self._semantic].sum(0), found[self._semantic :].sum(0)), dim=1)


def _book(codebook: Any) -> Tensor:
    return codebook.embedding_sum / codebook.cluster_usage.clamp(min=codebook.epsilon)[:, None]


def _without_projections(module: Any) -> Tensor:
    """The first convolution for what `_Codebooks` gives: the quantizer's projections are linear and without bias, so they merge."""
    quantizer = module.quantizer
    projections = [half.output_proj.weight[:, :, 0] for half in (quantizer.rvq_first, quantizer.rvq_rest)]
    weight = module.pre_conv.conv.weight
    merged = torch.einsum("oct,cw->owt", weight.double(), torch.cat(projections, dim=1).double())
    return merged.to(weight.dtype)
