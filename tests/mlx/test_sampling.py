"""Draws whose distribution is that of transformers, as far as float32 goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

mx = pytest.importorskip("mlx.core")

from voicebox_provider.engines.qwen.checkpoint import Defaults  # noqa: E402
from voicebox_provider.engines.qwen.noise import uniforms  # noqa: E402
from voicebox_provider.engines.qwen_mlx import sampling  # noqa: E402
from voicebox_provider.engines.qwen_mlx.sampling import FirstBook, draw  # noqa: E402

VOCABULARY = 96
CONTROLS = 1024
POINTS = 300

FILTERS = [
    {"temperature": 0.9, "top_k": 50, "top_p": 1.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
    {"temperature": 1.7, "top_k": 1000, "top_p": 0.5},
    {"temperature": 0.3, "top_k": 1, "top_p": 1.0},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"temperature": 0.9, "top_k": 0, "top_p": 0.01},
]


def probabilities(logits: npt.NDArray[Any], temperature: float, top_k: int, top_p: float) -> npt.NDArray[np.float64]:
    """What transformers' warpers leave, one after the other, in float64."""
    scores = logits.astype(np.float64) / temperature
    if 0 < top_k < len(scores):
        scores[scores < np.sort(scores)[-top_k]] = -np.inf
    if top_p < 1:
        order = np.argsort(scores)
        unlikely = np.cumsum(_softmax(scores[order])) <= 1 - top_p
        unlikely[-1] = False
        scores[order[unlikely]] = -np.inf
    return _softmax(scores)


def _softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    likely = np.exp(scores - scores.max())
    return likely / likely.sum()


def drawn(logits: Any, uniform: float, **filters: Any) -> int:
    return int(draw(mx.array(logits), mx.array(np.float32(uniform)), **filters))


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(filters: dict[str, Any]) -> None:
    logits = (np.random.default_rng(0).standard_normal(VOCABULARY) * 2).astype(np.float32)
    edges = np.cumsum(probabilities(logits, **filters))
    # Away from the edges, which rounding moves.
    points = [point for point in np.arange(POINTS) / POINTS if np.abs(edges - point).min() > 1e-5]
    assert len(points) > POINTS * 0.9
    assert [drawn(logits, point, **filters) for point in points] == [int((edges <= point).sum()) for point in points]


def test_the_greatest_uniform_draws_the_last_possible_code() -> None:
    most = float(np.floor((1 - 2.0**-53) * 2**23) / 2**23)
    assert drawn([0.0, 1.0, -10.0, -np.inf], most, temperature=1.0, top_k=0, top_p=1.0) == 2
    spread = np.random.default_rng(1).standard_normal(2048).astype(np.float32)
    assert drawn(spread, most, temperature=1.0, top_k=0, top_p=1.0) == 2047


def test_equals_of_the_last_of_the_top_stay() -> None:
    codes = {drawn([1.0, 2.0, 1.0, 0.0], point, temperature=1.0, top_k=2, top_p=1.0) for point in (0, 0.5, 0.99)}
    assert codes == {0, 1, 2}


def test_noise_is_that_of_the_other_engine_rounded_down() -> None:
    ours, theirs = np.array(sampling.noise(7, 3, 50)), uniforms(7, 3, 50)
    assert ours.dtype == np.float32
    assert np.all((theirs - ours >= 0) & (theirs - ours < 2.0**-23))


def test_the_first_book_is_processed_as_transformers_does() -> None:
    end, vocabulary, penalty = VOCABULARY + 102, VOCABULARY + CONTROLS, 1.5
    generator = np.random.default_rng(2)
    book = FirstBook(vocabulary, end, penalty)
    said: list[int] = []
    for step in range(6):
        logits = generator.standard_normal(vocabulary).astype(np.float32)
        expected = logits.copy()
        for code in set(said):
            expected[code] = expected[code] * penalty if expected[code] < 0 else expected[code] / penalty
        never = [token for token in range(VOCABULARY, vocabulary) if step < 2 or token != end]
        expected[never] = -np.inf
        assert np.array_equal(np.array(book.scores(mx.array(logits), step)), expected)
        said.append(int(generator.integers(VOCABULARY)) if step % 2 else 3)
        book.say(mx.array(said[-1:]))


def test_half_the_bits_are_whole_again_before_anything_is_drawn() -> None:
    book = FirstBook(VOCABULARY + CONTROLS, VOCABULARY, 1.05)
    assert book.scores(mx.zeros(VOCABULARY + CONTROLS, mx.bfloat16), 0).dtype == mx.float32


@pytest.mark.parametrize("settings", [Defaults(do_sample=False), Defaults(subtalker_dosample=False)], ids=str)
def test_without_sampling_the_likeliest_is_said(settings: Defaults) -> None:
    scores, uniform = mx.array([0.0, 3.0, 2.9]), mx.array(np.float32(0.99))
    greedy, other = sampling.first(settings, scores, uniform), sampling.other(settings, scores, uniform)
    if settings.do_sample:
        greedy, other = other, greedy
    assert (int(greedy), int(other)) == (1, 2)
