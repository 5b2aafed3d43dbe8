"""Holes in what was recorded of a voice that is never quite silent."""

from __future__ import annotations

import os
import subprocess
import threading

import numpy as np
import numpy.typing as npt

RATE = 48_000
# Shorter ones may be of the voice's own making.
SHORTEST = RATE // 1000


class Holes:
    """Owns what was found so far; a thread of its own reads what the recorder writes, float32 at 48 kHz."""

    def __init__(self, recorder: subprocess.Popen[bytes]) -> None:
        assert recorder.stdout is not None
        self._pipe = recorder.stdout.fileno()
        self._count = Count()
        self.stood = False
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def seconds(self) -> float:
        """How much was recorded from the first sound to the last."""
        return self._count.frames / RATE

    @property
    def found(self) -> list[float]:
        """How many seconds each of them lasted."""
        return [frames / RATE for frames in self._count.holes]

    def _listen(self) -> None:
        odd = b""
        while read := os.read(self._pipe, 1 << 16):
            block = odd + read
            whole = len(block) // 4 * 4
            self._count.add(np.frombuffer(block[:whole], np.float32))
            odd = block[whole:]
        self.stood = True


class Count:
    """Counts runs of nothing between sound. `frames` from the first sound to the last; `holes`: how many frames each run has."""

    def __init__(self) -> None:
        self.frames = 0
        self.holes: list[int] = []
        self._silent: int | None = None

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """The next samples, shape (frames,)."""
        (loud,) = np.nonzero(samples)
        if not len(loud):
            if self._silent is not None:
                self._silent += len(samples)
            return
        before = int(loud[0]) if self._silent is None else self._silent + int(loud[0])
        runs = [0 if self._silent is None else before, *(np.diff(loud) - 1).tolist()]
        self.holes += [run for run in runs if run >= SHORTEST]
        self.frames += int(loud[-1] - loud[0]) + 1 + (0 if self._silent is None else before)
        self._silent = len(samples) - 1 - int(loud[-1])
