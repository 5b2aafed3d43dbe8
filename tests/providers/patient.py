"""An engine that holds its breath in mid-sentence until it is let go, so that a test knows when it is at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_provider.engine import Engine, Extend, Utterance

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

RATE = 16000


class Patient(Engine):
    """A tone of the seed's pitch. After its first tenth of a second it waits for the file of the setting `gate`."""

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="patient",
            version="1",
            voices=[Voice(id="patient", languages=["en"])],
            sample_rate=RATE,
            streaming=True,
            deterministic=True,
        )

    def load(self, extend: Extend) -> None:
        pass

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        hertz = 200 + utterance.seed % 400
        gate = Path(self.settings["gate"])
        for tenth in range(5):
            when = np.arange(tenth * RATE // 10, (tenth + 1) * RATE // 10) / RATE
            yield (0.3 * np.sin(2 * np.pi * hertz * when)).astype(np.float32)
            while not gate.exists():
                time.sleep(0.01)
