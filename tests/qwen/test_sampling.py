"""Noise that depends on seed and step alone, and draws whose distribution is that of transformers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
if find_spec("transformers") is None:
    pytest.skip("needs transformers", allow_module_level=True)

from voicebox_provider.engines.qwen.sampling import FirstBook, Sampling, draw, uniforms  # noqa: E402

SEEDS = st.integers(0, 2**63 - 1)
STEPS = st.integers(0, 2**20)
COUNTS = st.integers(0, 40)
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


@given(seed=SEEDS, first=STEPS, before=COUNTS, count=COUNTS, after=COUNTS, books=st.integers(1, 33))
def test_a_step_has_its_noise_whatever_is_drawn_around_it(
    seed: int, first: int, before: int, count: int, after: int, books: int
) -> None:
    whole = uniforms(seed, first, before + count + after, books)
    assert np.array_equal(uniforms(seed, first + before, count, books), whole[before : before + count])


@given(seed=SEEDS, first=STEPS, steps=COUNTS, books=st.integers(1, 33))
def test_noise_is_in_the_half_open_interval(seed: int, first: int, steps: int, books: int) -> None:
    noise = uniforms(seed, first, steps, books)
    assert noise.shape == (steps, books)
    assert noise.dtype == np.float64
    assert np.all((noise >= 0) & (noise < 1))


@given(seeds=st.lists(SEEDS, min_size=2, max_size=2, unique=True))
def test_another_seed_is_other_noise(seeds: list[int]) -> None:
    one, other = (uniforms(seed, 0, 4) for seed in seeds)
    assert not np.any(one == other)


def test_noise_is_the_same_for_ever() -> None:
    """What was said with a seed can be said again, whatever the version."""
    assert uniforms(1234567890123456789, 1000, 1)[0, :3].tolist() == [
        0.9612057802952375,
        0.2754340801090096,
        0.16121342942114103,
    ]


def test_noise_is_even() -> None:
    noise = uniforms(3, 0, 10_000)
    assert np.allclose(noise.mean(0), 0.5, atol=0.015)
    assert np.allclose(noise.var(0), 1 / 12, atol=0.004)
    assert np.abs(np.corrcoef(noise.T) - np.eye(16)).max() < 0.05


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
    book = FirstBook(vocabulary, end, penalty, torch.device("cpu"))
    said = torch.zeros(1, 0, dtype=torch.long)
    for step in range(6):
        logits = torch.randn(1, vocabulary, generator=generator)
        expected = logits
        for processor in processors:
            expected = processor(said, expected)
        assert book.scores(logits, step).equal(expected)
        code = torch.randint(0, VOCABULARY, (1,), generator=generator) if step % 2 else torch.tensor([3])
        book.say(code)
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
