"""A client in a process of its own that reads noise and compares every sample. Says `began`, then `right` or what is wrong.

Arguments: a seed; how many segments; and how it reads: `fast`, `slow`, `keep` (it keeps arrays of all of it, and looks at
them again at the end), `scarce` (it has no descriptor left when it begins to read), `last` (it has one left), `narrow` (it
has no addresses left).
"""

from __future__ import annotations

import os
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from tests.providers.noisy import noise
from voicebox_client import Chunk, Voicebox
from voiceboxd.request import segment_seed

SENTENCE = "So much of it. "


def whole(seed: int, segments: int) -> np.ndarray:
    """What a request sounds like."""
    return np.concatenate([noise(segment_seed(seed, number)) for number in range(segments)])


def lowest_free() -> int:
    free = os.dup(0)
    os.close(free)
    return free


def limit(how: str) -> None:
    if how in ("scarce", "last"):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free() + (how == "last"), hard))
    elif how == "narrow":
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 6_000_000, -1))


def main(seed: int, segments: int, how: str) -> None:
    expected, heard, shared = whole(seed, segments), 0, 0
    kept: list[tuple[int, np.ndarray]] = []

    def take(chunk: Chunk) -> None:
        nonlocal heard, shared
        assert chunk.verify(), f"piece {chunk.seq} has another checksum"
        samples = chunk.as_array()
        assert chunk.start == heard, "it goes on where it was"
        assert np.array_equal(samples, expected[heard : chunk.end]), f"piece {chunk.seq} sounds otherwise"
        heard, shared = chunk.end, shared + chunk.shared
        if how == "keep":
            kept.append((chunk.start, samples))

    with warnings.catch_warnings(), Voicebox() as box:
        warnings.simplefilter("ignore", RuntimeWarning)
        box.connect()
        limit(how)
        speech = box.say(SENTENCE * segments, seed=seed, on_failure="fail")
        take(next(speech))
        print("began", flush=True)
        for chunk in speech:
            take(chunk)
            if how == "slow":
                time.sleep(0.005)
    assert heard == len(expected), f"{heard} frames of {len(expected)}"
    assert all(np.array_equal(samples, expected[start : start + len(samples)]) for start, samples in kept)
    print(f"right {shared}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
