"""An engine whose every sample is known from the seed alone: noise, in which no two slots of memory look alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_provider.engine import Engine, Extend, Utterance

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

RATE = 24000
FRAMES = 50_000
ARRAY = 10_000


def noise(seed: int) -> Samples:
    """A whole segment."""
    return np.random.default_rng(seed).uniform(-1, 1, FRAMES).astype(np.float32)


class Noisy(Engine):
    """Noise in arrays that it uses again. Setting `ms`: so long for each of them."""

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="noisy",
            version="1",
            voices=[Voice(id="noise", languages=["en"])],
            sample_rate=RATE,
            streaming=True,
            deterministic=True,
        )

    def load(self, extend: Extend) -> None:
        pass

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        array = np.zeros(ARRAY, np.float32)
        for part in noise(utterance.seed).reshape(-1, ARRAY):
            array[:] = part
            time.sleep(self.settings.get("ms", 0) / 1000)
            yield array
