"""A voice in which every sample is loud, and no two texts share one: whatever of it is found in a recording is known by its place."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from voicebox_provider.engine import Utterance
from voicebox_provider.testing import ARRAY_MS, FakeEngine, plain

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples


class Loud(FakeEngine):
    """Everything that `FakeEngine` can do, with noise in the place of its tone. No sample is nearer to 0 than 0.1."""

    def _tone(self, utterance: Utterance) -> Iterator[Samples]:
        own, text = self._set, plain(utterance.text)
        frames = len(text) * own.ms_per_char * own.sample_rate // 1000
        drawn = np.random.default_rng([utterance.seed, zlib.crc32(text.encode())]).uniform(0.1, 0.9, frames)
        samples = np.where(np.arange(frames) % 2, drawn, -drawn).astype(np.float32)
        piece = own.sample_rate * ARRAY_MS // 1000
        for start in range(0, frames, piece):
            yield samples[start : start + piece]
