"""Recycling: what leaks makes room, what does not stays."""

from __future__ import annotations

import pytest

from voiceboxd.recycling import RecyclePolicy, Wear, worn

MB = 1_000_000


@pytest.mark.parametrize(
    ("policy", "wear", "words"),
    [
        (RecyclePolicy(), Wear(10**6, 0, 10**12, 0, 10**12), None),
        (RecyclePolicy(jobs=3), Wear(2), None),
        (RecyclePolicy(jobs=3), Wear(3), "after 3 segments"),
        (RecyclePolicy(growth=100 * MB), Wear(9, 500 * MB, 599 * MB), None),
        (RecyclePolicy(growth=100 * MB), Wear(9, 500 * MB, 600 * MB), "its memory grew by 100 MB"),
        (RecyclePolicy(growth=100 * MB), Wear(9, 500 * MB, None), None),
        (RecyclePolicy(growth=100 * MB), Wear(9, 1, 1, 0, 250 * MB), "its accelerator memory grew by 250 MB"),
    ],
)
def test_a_worn_worker_is_told_by_what_it_did_or_grew(policy: RecyclePolicy, wear: Wear, words: str | None) -> None:
    found = worn(policy, wear)
    assert (found is None) == (words is None)
    assert words is None or (found is not None and words in found)
