"""Holes in a recording: runs of nothing between sound, wherever the blocks are cut that it comes in."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.loudspeaker_holes import SHORTEST, Count

SOUND = np.full(1000, 0.001, np.float32)


def nothing(frames: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.zeros(frames, np.float32)


@pytest.mark.parametrize("block", [1, 7, 480, 100_000])
def test_only_what_lies_between_sound_is_a_hole(block: int) -> None:
    whole = np.concatenate([nothing(500), SOUND, nothing(SHORTEST), SOUND, nothing(300), SOUND, nothing(9000)])
    count = Count()
    for start in range(0, len(whole), block):
        count.add(whole[start : start + block])
    assert count.holes == [SHORTEST, 300]
    assert count.frames == 3 * len(SOUND) + SHORTEST + 300


def test_shorter_runs_are_the_voice_s_own() -> None:
    count = Count()
    count.add(np.concatenate([SOUND, nothing(SHORTEST - 1), SOUND]))
    assert (count.holes, count.frames) == ([], 2 * len(SOUND) + SHORTEST - 1)
