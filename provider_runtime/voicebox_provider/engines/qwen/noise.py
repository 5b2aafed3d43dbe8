"""The noise that decides which codes are drawn: one number for each step and codebook, from a counter.

So what a step is given depends on the seed and the step alone, whatever draws with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BOOKS = 16

# Philox makes four words of 64 bit at each count.
_WORDS = 4


def uniforms(seed: int, first_step: int, steps: int, books: int = BOOKS) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), shape (steps, books): row s is that of step `first_step` + s. The seed is not negative, and has up to 128 bit."""
    counts = -(-books // _WORDS)
    words = np.random.Philox(key=seed, counter=first_step * counts).random_raw(steps * counts * _WORDS)
    fractions = (words >> np.uint64(11)) * np.float64(2.0**-53)
    return fractions.reshape(steps, counts * _WORDS)[:, :books]
