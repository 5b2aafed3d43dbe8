"""An engine that has its sound before it is asked: "1500 ms" is a second and a half of it, given at once and in one array.

What is measured of it is the way of the sound, and nothing of its making. Settings: `concurrency`, how many segments it takes
at a time; `leak_mib_per_hour`, how much memory it loses in each hour of sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_provider.engine import Engine, Extend, Utterance

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

__all__ = ["Prepared"]

RATE = 24000
LONGEST_MS = 60_000

_HERTZ = 110.0
_HOUR_MS = 3_600_000
_MEBIBYTE = 2**20


class Prepared(Engine):
    """A tone of a minute, and the beginning of it that a text asks for."""

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="prepared",
            version="1",
            voices=[Voice(id="tone", languages=["en-US"], scripts=["Latn"], default=True)],
            sample_rate=RATE,
            deterministic=True,
            fingerprint="prepared",
            concurrency=int(self.settings.get("concurrency", 1)),
        )

    def load(self, extend: Extend) -> None:
        self._sound = tone()
        self._leak = self.settings.get("leak_mib_per_hour", 0) * _MEBIBYTE / _HOUR_MS
        self._lost: list[bytes] = []

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        milliseconds = int(utterance.text.partition(" ")[0])
        if self._leak:
            # Written to, so that it is there and not only promised.
            self._lost.append(b"\1" * int(self._leak * milliseconds))
        yield self._sound[: frames(milliseconds)]


def text(milliseconds: int) -> str:
    """What asks for so much sound, in one segment."""
    return f"{milliseconds} ms"


def frames(milliseconds: int) -> int:
    """How many samples that is."""
    return RATE * milliseconds // 1000


def tone() -> Samples:
    """The whole of it. Made of one second, in which it has whole waves: what is freed after making it at full length would be
    room enough for a leak to hide in."""
    import numpy as np

    second = 0.3 * np.sin(2 * np.pi * _HERTZ * np.arange(RATE) / RATE)
    return np.tile(second.astype(np.float32), LONGEST_MS // 1000)
