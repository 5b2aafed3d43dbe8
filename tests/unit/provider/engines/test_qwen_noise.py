"""Noise that depends on seed and step alone: whatever draws with it, and in whatever order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voicebox_provider.engines.qwen.noise import uniforms

SEEDS = st.integers(0, 2**63 - 1)
STEPS = st.integers(0, 2**20)
COUNTS = st.integers(0, 40)


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
