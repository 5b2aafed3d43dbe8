"""Our decode loop of Qwen3-TTS: from a prompt to frames of sixteen codes, each of which is 80 ms of sound.

The talker says a frame's first code, and the code predictor, conditioned on the talker's state, the other fifteen one by one. The sum
of all sixteen embeddings and of the next bit of text is what the talker hears next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from voicebox_provider.engines.qwen.layers import Stack, fused, linear
from voicebox_provider.engines.qwen.sampling import BOOKS, FirstBook, Sampling, uniforms

# The talker's cache grows by so many positions at least.
_ROOM = 256


class Prompt(NamedTuple):
    """What an utterance begins with: T positions of width D, and the S positions of text that are added to what follows."""

    embeds: torch.Tensor
    """(1, T, D)."""
    trailing_text: torch.Tensor
    """(1, S, D): one for each frame."""
    pad: torch.Tensor
    """(1, 1, D): in place of text once there is no more."""


class Captured(NamedTuple):
    """What the package would have generated from."""

    prompt: Prompt
    max_new_tokens: int
    sampling: Sampling

    @property
    def most(self) -> int:
        """How many frames the package would speak at most: its last token is one that it makes no frame from."""
        return self.max_new_tokens - 1


class Decoder:
    """Owns the weights of talker and code predictor as the loop wants them, and the state of one utterance at a time."""

    def __init__(self, model: Any) -> None:
        """From the package's `Qwen3TTSForConditionalGeneration`, which shares its weights and goes on working.

        Raises `PermanentFault` if its layers are not of the kind that is computed here.
        """
        talker, predictor = model.talker, model.talker.code_predictor
        self._end: int = talker.config.codec_eos_token_id
        self._talker = Stack(talker.model)
        self._predictor = Stack(predictor.model)
        self._predictor.reserve(BOOKS)
        self._head: torch.Tensor = talker.codec_head.weight.data
        self._heads: list[torch.Tensor] = [head.weight.data for head in predictor.lm_head]
        books = talker.model.codec_embedding, *predictor.model.codec_embedding
        sizes = [len(book.weight) for book in books]
        self._embeddings = fused(*books)
        self._starts = torch.tensor([0, *accumulate(sizes[:-1])], device=self._embeddings.device)
        with torch.inference_mode():
            self._project = predictor.small_to_mtp_projection
            # What the predictor hears; it is never told the last book.
            self._heard = [self._project(book) for book in self._embeddings.split(sizes)[:-1]]

    def frames(self, prompt: Prompt, sampling: Sampling, seed: int, *, most: int) -> Iterator[torch.Tensor]:
        """The frames of an utterance, each int64 of shape (16,), as soon as it is complete; the end of speech or `most` frames end them.

        Equal prompts, samplings and seeds give equal frames. Whoever stops iterating has cancelled. Not after another call of this
        method: that one takes the state over.
        """
        first_book = FirstBook(len(self._head), self._end, sampling.repetition_penalty, self._head.device)
        noise = torch.from_numpy(uniforms(seed, 0, most)).to(self._head.device)
        codes: torch.Tensor | None = None
        for step in range(most):
            # Not around the loop: it would hold for the consumer too.
            with torch.inference_mode():
                state = self._begin(prompt, most) if codes is None else self._hear(prompt, codes, step - 1)
                codes = self._frame(state, first_book, sampling, step, noise[step])
            if codes is None:
                return
            yield codes

    def teacher_forced(self, prompt: Prompt, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits that `codes` (F, 16) are one choice from, by the same steps: the talker's, (F, V), the predictor's, (F, 15, W)."""
        first: list[torch.Tensor] = []
        other: list[torch.Tensor] = []

        def given(book: int, logits: torch.Tensor) -> torch.Tensor:
            other.append(logits)
            return codes[len(first) - 1, book : book + 1]

        with torch.inference_mode():
            state = self._begin(prompt, len(codes))
            for step, frame in enumerate(codes):
                first.append(linear(state, self._head))
                self._other_books(state, frame[:1], given)
                state = self._hear(prompt, frame, step)
            return torch.cat(first), torch.stack(other).view(len(codes), BOOKS - 1, -1)

    def _begin(self, prompt: Prompt, most: int) -> torch.Tensor:
        """The talker's state after the prompt, (1, D)."""
        positions = prompt.embeds.shape[1] + most
        self._talker.reserve(positions + -positions % _ROOM)
        return self._talker.prefill(prompt.embeds[0])

    def _hear(self, prompt: Prompt, codes: torch.Tensor, step: int) -> torch.Tensor:
        """The talker's state, (1, D), after the codes of a step."""
        heard = self._embeddings.index_select(0, codes + self._starts).sum(0, keepdim=True)
        text = prompt.trailing_text[:, step] if step < prompt.trailing_text.shape[1] else prompt.pad[:, 0]
        return self._talker.step(heard + text)

    def _frame(
        self, state: torch.Tensor, first_book: FirstBook, sampling: Sampling, step: int, noise: torch.Tensor
    ) -> torch.Tensor | None:
        """The codes of a step, (16,), from its noise, (16,). None at the end of speech."""
        first = sampling.first(first_book.scores(linear(state, self._head), step), noise[:1])
        if int(first) == self._end:
            return None
        first_book.say(first)
        return self._other_books(state, first, lambda book, logits: sampling.other(logits, noise[book : book + 1]))

    def _other_books(
        self, state: torch.Tensor, first: torch.Tensor, choose: Callable[[int, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """All sixteen codes of a frame, from the first, (1,), and what is chosen for a book from its logits, (1, W)."""
        codes = [first]
        output = self._predictor.prefill(torch.cat((self._project(state), self._heard[0].index_select(0, first))))
        for book, head in enumerate(self._heads, 1):
            codes.append(choose(book, linear(output, head)))
            if book < len(self._heads):
                output = self._predictor.step(self._heard[book].index_select(0, codes[book]))
        return torch.cat(codes)


class _Noted(Exception):
    """Leaves the package's method with what its talker was asked for."""

    def __init__(self, asked: dict[str, Any]) -> None:
        super().__init__()
        self.asked = asked


def capture(wrapper: Any, method: str, **asked: Any) -> Captured:
    """What one of the generate methods of the package's `Qwen3TTSModel` gives to its talker: nothing is generated.

    So the layout of a prompt is the package's by construction. Whatever the method raises for what was asked, this raises too.
    """
    talker = wrapper.model.talker

    def note(**noted: Any) -> None:
        raise _Noted(noted)

    talker.generate = note
    try:
        getattr(wrapper, method)(**asked)
    except _Noted as left:
        noted = left.asked
    finally:
        del talker.generate
    prompt = Prompt(noted["inputs_embeds"], noted["trailing_text_hidden"], noted["tts_pad_embed"])
    return Captured(prompt, noted["max_new_tokens"], Sampling.of(noted))
