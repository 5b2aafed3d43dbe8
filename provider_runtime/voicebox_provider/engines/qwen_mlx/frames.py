"""Our decode loop of Qwen3-TTS on MLX: from a prompt to frames of sixteen codes, each of which is 80 ms of sound.

The layers are the package's, quantized or not; ours is what is between them. Its own loop draws from a generator that all share, draws
every book as the checkpoint wants the first drawn, and forgets what was said 64 frames ago.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx
import numpy as np

from voicebox_provider.engine import PermanentFault
from voicebox_provider.engines.qwen.noise import BOOKS
from voicebox_provider.engines.qwen_mlx import sampling
from voicebox_provider.engines.qwen_mlx.sampling import FirstBook

if TYPE_CHECKING:
    from voicebox_provider.engines.qwen.checkpoint import Defaults

_Others = Callable[[mx.array, mx.array, mx.array], tuple[mx.array, mx.array]]


class Prompt(NamedTuple):
    """What an utterance begins with: T positions of width D. All of the text is among them."""

    embeds: mx.array
    """(1, T, D)."""
    pad: mx.array
    """(1, 1, D): beside each frame that is heard, where text could be."""


class Decoder:
    """Owns the graph of a frame; what an utterance needs lives as long as its iterator."""

    def __init__(self, model: Any) -> None:
        """From mlx-audio's `Model` for Qwen3-TTS. Raises `PermanentFault` if its frames are not of sixteen codes."""
        self._talker = model.talker
        config = self._talker.config
        if config.num_code_groups != BOOKS:
            raise PermanentFault(f"its frames have {config.num_code_groups} codes, and only those of {BOOKS} are known")
        self._end: int = config.codec_eos_token_id
        self._vocabulary: int = config.vocab_size
        self._predictor = self._talker.code_predictor
        self._embeddings = [self._talker.model.codec_embedding, *self._predictor.codec_embedding]
        self._others: tuple[Defaults, _Others] | None = None

    def frames(
        self, prompt: Prompt, settings: Defaults, seed: int, *, most: int, given: Sequence[Sequence[int]] = ()
    ) -> Iterator[list[int]]:
        """The frames of an utterance, sixteen codes each, as soon as each is complete; the end of speech or `most` frames end them.

        Equal prompts, settings and seeds give equal frames. `given` are the first frames, which were spoken already: they are heard in
        one go, count towards `most`, and those after them follow. Whoever stops iterating has cancelled.
        """
        if len(given) >= most:
            return
        others = self._other_books(settings)
        first_book = FirstBook(self._vocabulary, self._end, settings.repetition_penalty)
        cache = self._talker.make_cache()
        inputs = prompt.embeds
        if given:
            spoken = mx.array([list(frame) for frame in given])
            inputs = mx.concatenate((inputs, self._heard(spoken) + prompt.pad), axis=1)
            first_book.say(spoken[:, 0])
        noise = sampling.noise(seed, len(given), most - len(given))
        for step, uniform in enumerate(noise, len(given)):
            state = self._talker.model(inputs, cache=cache)[:, -1:]
            scores = first_book.scores(self._talker.codec_head(state)[0, 0], step)
            first = sampling.first(settings, scores, uniform[0])
            first_book.say(first[None])
            codes, heard = others(state, first, uniform)
            # The only wait of a frame.
            frame: list[int] = np.array(codes).tolist()
            if frame[0] == self._end:
                return
            yield frame
            inputs = heard + prompt.pad

    def _other_books(self, settings: Defaults) -> _Others:
        """From the talker's state (1, 1, D), a frame's first code and noise (16,): its codes (16,), and what is heard of them (1, 1, D)."""
        if self._others is None or self._others[0] != settings:
            self._others = settings, mx.compile(lambda *inputs: self._frame(settings, *inputs))
        return self._others[1]

    def _frame(
        self, settings: Defaults, state: mx.array, first: mx.array, uniform: mx.array
    ) -> tuple[mx.array, mx.array]:
        codes = [first.astype(mx.int32)]
        cache = [_Past() for _ in self._predictor.model.layers]
        inputs = mx.concatenate((state, self._embeddings[0](first[None, None])), axis=1)
        for book in range(1, BOOKS):
            logits, _, _ = self._predictor(inputs, cache=cache, generation_step=book - 1)
            codes.append(sampling.other(settings, logits[0, -1], uniform[book]).astype(mx.int32))
            inputs = self._embeddings[book](codes[book][None, None])
        frame = mx.stack(codes)
        return frame, self._heard(frame[None])

    def _heard(self, codes: mx.array) -> mx.array:
        """What the talker hears of frames (F, 16): the sum of their embeddings, (1, F, D)."""
        heard = self._embeddings[0](codes[None, :, 0])
        for book in range(1, BOOKS):
            heard = heard + self._embeddings[book](codes[None, :, book])
        return heard


class _Past:
    """Keys and values of one predictor layer within a frame. The package's own reserves 256 positions, of which 16 are ever used."""

    def __init__(self) -> None:
        self.offset = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """All keys and values so far, (1, heads, positions, width), from the newest."""
        if self._keys is not None and self._values is not None:
            keys = mx.concatenate((self._keys, keys), axis=2)
            values = mx.concatenate((self._values, values), axis=2)
        self._keys, self._values, self.offset = keys, values, keys.shape[2]
        return keys, values
