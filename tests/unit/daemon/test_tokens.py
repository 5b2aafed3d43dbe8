"""Tokens are long, all different, and compared whole."""

from __future__ import annotations

import pytest

from voiceboxd import tokens


def test_no_two_tokens_are_alike() -> None:
    made = {tokens.token(16) for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in made)


def test_seeds_fill_63_bits() -> None:
    seeds = [tokens.seed() for _ in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) >= 2**62


@pytest.mark.parametrize(
    ("one", "other", "same"), [("a", "a", True), ("", "", True), ("a", "b", False), ("a", "", False), ("ä", "ä", True)]
)
def test_sameness(one: str, other: str, same: bool) -> None:
    assert tokens.same(one, other) is same
