"""Draws whose distribution is that of transformers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if find_spec("transformers") is None:
    pytest.skip("needs transformers", allow_module_level=True)

from voicebox_provider.engines.qwen.noise import uniforms  # noqa: E402
from voicebox_provider.engines.qwen.sampling import FirstBook, Sampling, draw  # noqa: E402

VOCABULARY = 96
CONTROLS = 1024

FILTERS = [
    {"temperature": 0.9, "top_k": 50, "top_p": 1.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
    {"temperature": 1.7, "top_k": 1000, "top_p": 0.5},
    {"temperature": 0.3, "top_k": 1, "top_p": 1.0},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"temperature": 0.9, "top_k": 0, "top_p": 0.01},
]


def processed(logits: Any, temperature: float, top_k: int, top_p: float) -> Any:
    """The probabilities that transformers would draw from."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return scores.softmax(-1, dtype=torch.float64)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_a_draw_is_the_inverse_of_the_cumulative_distribution_of_transformers(filters: dict[str, Any]) -> None:
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(0)) * 2
    edges = processed(logits, **filters).cumsum(-1)[0]
    uniform = torch.arange(4000, dtype=torch.float64) / 4000
    drawn = draw(logits.expand(4000, -1), uniform, **filters)
    expected = (edges > uniform[:, None] * edges[-1]).int().argmax(-1)
    assert drawn.equal(expected)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_codes_are_as_frequent_as_they_are_likely(filters: dict[str, Any]) -> None:
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(1))
    expected = processed(logits, **filters)[0].numpy() * 100_000
    uniform = torch.from_numpy(uniforms(11, 0, 6250).ravel())
    found = draw(logits.expand(100_000, -1), uniform, **filters).bincount(minlength=VOCABULARY).numpy()
    possible = expected > 0
    assert found[~possible].sum() == 0
    distance = ((found - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = possible.sum() - 1
    assert distance <= freedom + 5 * np.sqrt(2 * freedom)


def test_the_greatest_uniform_draws_the_last_possible_code() -> None:
    logits = torch.tensor([[0.0, 1.0, -30.0, -torch.inf]])
    uniform = torch.tensor([1 - 2.0**-53], dtype=torch.float64)
    assert draw(logits, uniform, temperature=1.0, top_k=0, top_p=1.0).tolist() == [2]


def test_equals_of_the_last_of_the_top_stay() -> None:
    uniform = torch.linspace(0, 0.999, 100, dtype=torch.float64)
    drawn = draw(torch.tensor([[1.0, 2.0, 1.0, 0.0]]).expand(100, -1), uniform, temperature=1.0, top_k=2, top_p=1.0)
    assert drawn.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("penalty", [1.0, 1.05, 1.5])
def test_the_first_book_is_processed_as_transformers_does(penalty: float) -> None:
    from transformers import (
        MinNewTokensLengthLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        SuppressTokensLogitsProcessor,
    )

    end = VOCABULARY + 102
    vocabulary = VOCABULARY + CONTROLS
    generator = torch.Generator().manual_seed(2)
    processors = (
        RepetitionPenaltyLogitsProcessor(penalty),
        MinNewTokensLengthLogitsProcessor(0, 2, end),
        SuppressTokensLogitsProcessor([token for token in range(VOCABULARY, vocabulary) if token != end]),
    )
    book = FirstBook(vocabulary, end, torch.device("cpu"))
    said = torch.zeros(1, 0, dtype=torch.long)
    for step in range(6):
        logits = torch.randn(1, vocabulary, generator=generator)
        expected = logits
        for processor in processors:
            expected = processor(said, expected)
        assert book.scores(logits, torch.tensor([step])).equal(expected)
        code = torch.randint(0, VOCABULARY, (1,), generator=generator) if step % 2 else torch.tensor([3])
        book.say(code, penalty)
        said = torch.cat((said, code[None]), 1)


def test_sampling_is_what_a_checkpoint_says() -> None:
    said = {"temperature": 0.6, "top_k": 0, "do_sample": False, "max_new_tokens": 8192, "top_p": None}
    assert Sampling.of(said) == Sampling(temperature=0.6, top_k=0, do_sample=False)
    assert Sampling.of({}) == Sampling(True, 50, 1.0, 0.9, 1.05, True, 50, 1.0, 0.9)


@pytest.mark.parametrize("sampling", [Sampling(do_sample=False), Sampling(subtalker_dosample=False)], ids=str)
def test_without_sampling_the_likeliest_is_said(sampling: Sampling) -> None:
    scores = torch.tensor([[0.0, 3.0, 2.9]])
    uniform = torch.tensor([0.99], dtype=torch.float64)
    greedy, drawn = (sampling.other, sampling.first) if sampling.do_sample else (sampling.first, sampling.other)
    assert greedy(scores, uniform).tolist() == [1]
    assert drawn(scores, uniform).tolist() == [2]
