"""Our decode loop of Qwen3-TTS: from a prompt to frames of sixteen codes, each of which is 80 ms of sound.

The talker says a frame's first code, and the code predictor, conditioned on the talker's state, the other fifteen one by one. The sum
of all sixteen embeddings and of the next bit of text is what the talker hears next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from voicebox_provider.engines.qwen.graphs import Graphs
from voicebox_provider.engines.qwen.layers import Stack, fused
from voicebox_provider.engines.qwen.matrices import matrix
from voicebox_provider.engines.qwen.noise import BOOKS, uniforms
from voicebox_provider.engines.qwen.sampling import FirstBook, Sampling

# There is room for so many positions, or twice as many, and so on.
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
    """Owns the weights of talker and code predictor as the loop wants them, and the state of one utterance at a time.

    The work of a step is `_advance`. It takes what it needs from tensors that stay where they are and leaves there what it found, asks the
    host nothing, and changes nothing that it reads but the keys and values of its own position, which it writes alike each
    time: so it can be run from a graph, or again.
    """

    def __init__(self, model: Any, *, int8: bool = False, graphs: Graphs | None = None) -> None:
        """From the package's `Qwen3TTSForConditionalGeneration`, which shares its weights and goes on working.

        `int8`: the code predictor's matrices are rounded to eight bits. With `graphs` a step is run by them.
        Raises `PermanentFault` if its layers are not of the kind that is computed here.
        """
        talker, predictor = model.talker, model.talker.code_predictor
        self._end: int = talker.config.codec_eos_token_id
        self._graphs = graphs
        self._talker = Stack(talker.model)
        self._predictor = Stack(predictor.model, int8=int8)
        self._predictor.reserve(BOOKS)
        self._head = matrix(talker.codec_head.weight.data, int8=False)
        self._heads = [matrix(head.weight.data, int8=int8) for head in predictor.lm_head]
        books = talker.model.codec_embedding, *predictor.model.codec_embedding
        sizes = [len(book.weight) for book in books]
        self._embeddings = fused(*books)
        device, dtype = self._embeddings.device, self._embeddings.dtype
        self._starts = torch.tensor([0, *accumulate(sizes[:-1])], device=device)
        self._first_book = FirstBook(len(talker.codec_head.weight), self._end, device)
        with torch.inference_mode():
            self._project = predictor.small_to_mtp_projection
            # What the predictor hears; it is never told the last book.
            self._heard = [self._project(book) for book in self._embeddings.split(sizes)[:-1]]
        width = self._embeddings.shape[1]
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._input = torch.zeros(1, width, dtype=dtype, device=device)
        self._codes = torch.zeros(BOOKS, dtype=torch.int64, device=device)
        self._next = torch.zeros(1, width, dtype=dtype, device=device)
        self._reserve(_ROOM)

    def frames(
        self, prompt: Prompt, sampling: Sampling, seed: int, *, most: int, given: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """The frames of an utterance, each int64 of shape (16,), as soon as it is complete; the end of speech or `most` frames end them.

        Equal prompts, samplings and seeds give equal frames. `given`, int64 (F, 16), are the first frames, which were spoken already: they
        are heard without being drawn again, count towards `most`, and those after them follow, the same to the last bit. Whoever stops
        iterating has cancelled. Not after another call of this method: that one takes the state over.
        """
        given = self._codes.new_empty(0, BOOKS) if given is None else given.to(self._codes.device)
        if len(given) >= most:
            return
        # Not around the loop: it would hold for the consumer too.
        with torch.inference_mode():
            position = self._begin(prompt, given, most)
            self._noise[len(given) : most] = torch.from_numpy(uniforms(seed, len(given), most - len(given)))
            self._first_book.say(given[:, 0], sampling.repetition_penalty)
        for step in range(len(given), most):
            with torch.inference_mode():
                self._go_to(position, step)
                self._run(sampling, position)
                codes = self._codes.clone()
                self._first_book.say(codes[:1], sampling.repetition_penalty)
            if int(codes[0]) == self._end:
                return
            yield codes
            position += 1

    def teacher_forced(self, prompt: Prompt, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits that `codes` (F, 16) are one choice from, by the same steps: the talker's, (F, V), the predictor's, (F, 15, W)."""
        first: list[torch.Tensor] = []
        other: list[torch.Tensor] = []

        def given(book: int, logits: torch.Tensor) -> torch.Tensor:
            other.append(logits)
            return codes[len(first) - 1, book : book + 1]

        with torch.inference_mode():
            begun = self._begin(prompt, codes[:0], len(codes))
            for step, frame in enumerate(codes):
                self._go_to(begun + step, step)
                state = self._hear(begun + step + 1)
                first.append(self._head(state))
                self._say(self._other_books(state, frame[:1], given))
            return torch.cat(first), torch.stack(other).view(len(codes), BOOKS - 1, -1)

    def _reserve(self, positions: int) -> None:
        """Room for an utterance of so many positions, prompt and all. What was begun is lost."""
        self._room = positions
        self._talker.reserve(positions)
        self._text = self._input.new_zeros(positions, self._input.shape[1])
        self._noise = torch.zeros(positions, BOOKS, dtype=torch.float64, device=self._input.device)
        if self._graphs:
            self._graphs.forget()

    def _begin(self, prompt: Prompt, given: torch.Tensor, most: int) -> int:
        """Hear the prompt and the frames given, (F, 16), but for the last position: that is returned, and its input is heard next."""
        positions = prompt.embeds.shape[1] + most
        if positions > self._room:
            self._reserve(_power_of_two(positions))
        text = prompt.trailing_text[0, :most]
        self._text[: len(text)] = text
        self._text[len(text) : most] = prompt.pad[0]
        self._first_book.begin()
        heard = [self._embedded(frame[None]) + text for frame, text in zip(given, self._text.split(1), strict=False)]
        inputs = torch.cat((prompt.embeds[0], *heard))
        begun, last = prompt.embeds.shape[1] - 1, len(inputs) - 1
        self._talker.prefill(inputs[:begun])
        self._talker.repeat(inputs[begun:last], begun, [self._seen(position) for position in range(begun, last)])
        self._next.copy_(inputs[-1:])
        return last

    def _go_to(self, position: int, step: int) -> None:
        self._input.copy_(self._next)
        self._position.fill_(position)
        self._step.fill_(step)

    def _run(self, sampling: Sampling, position: int) -> None:
        seen = self._seen(position)
        if self._graphs is None:
            self._advance(sampling, seen)
        else:
            self._graphs.run((sampling, seen), partial(self._advance, sampling, seen))

    def _seen(self, position: int) -> int:
        """How many places the step at a position looks at: for graphs few numbers, each of which needs one of its own."""
        return position + 1 if self._graphs is None else min(_power_of_two(position + 1), self._room)

    def _advance(self, sampling: Sampling, seen: int) -> None:
        """One step: hear the input, and say a frame."""
        state = self._hear(seen)
        noise = self._noise.index_select(0, self._step)[0]
        first = sampling.first(self._first_book.scores(self._head(state), self._step), noise[:1])
        self._say(self._other_books(state, first, lambda book, logits: sampling.other(logits, noise[book : book + 1])))

    def _hear(self, seen: int) -> torch.Tensor:
        """The talker's state, (1, D), after the input."""
        return self._talker.step_at(self._input, self._position, seen)

    def _say(self, codes: torch.Tensor) -> None:
        """Leave the codes, (16,), and what the talker hears of them."""
        self._codes.copy_(codes)
        self._next.copy_(self._embedded(codes[None]) + self._text.index_select(0, self._step))

    def _embedded(self, codes: torch.Tensor) -> torch.Tensor:
        """The sums, (F, D), of all embeddings of codes (F, 16)."""
        rows = (codes + self._starts).flatten()
        return self._embeddings.index_select(0, rows).unflatten(0, codes.shape).sum(1)

    def _other_books(
        self, state: torch.Tensor, first: torch.Tensor, choose: Callable[[int, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """All sixteen codes of a frame, from the first, (1,), and what is chosen for a book from its logits, (1, W)."""
        codes = [first]
        dtype = self._predictor.dtype
        heard = torch.cat((self._project(state), self._heard[0].index_select(0, first)))
        output = self._predictor.prefill(heard.to(dtype))
        for book, head in enumerate(self._heads, 1):
            codes.append(choose(book, head(output)))
            if book < len(self._heads):
                heard = self._heard[book].index_select(0, codes[book])
                output = self._predictor.step(heard.to(dtype), book + 1)
        return torch.cat(codes)


def _power_of_two(positions: int) -> int:
    """The least of `_ROOM`, twice as much, and so on, that is enough."""
    return max(_ROOM, 1 << (positions - 1).bit_length())


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
