"""Samples to 16-bit PCM: round(x * 32767), halves to even, clipped, without dither, so that equal samples give equal files."""

from __future__ import annotations

import math
import sys
from array import array

# numpy takes 50 to 75 ms to load and plain Python 3.3 ms for a second of sound at 24 kHz: below this many samples,
# which is what most sentences have, loading it costs more than it saves.
_WORTH_NUMPY = 20 * 24_000


class Int16Converter:
    """Converts float32 little-endian samples; owns the count that decides when numpy is worth loading."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, data: bytes | bytearray | memoryview) -> bytes:
        """int16 little-endian samples, half as many bytes. NaN becomes 0."""
        self._seen += len(data) // 4
        if self._seen > _WORTH_NUMPY or "numpy" in sys.modules or sys.byteorder == "big":
            return _with_numpy(data)
        return _in_python(data)


def _in_python(data: bytes | bytearray | memoryview) -> bytes:
    samples = array("f")
    samples.frombytes(data)
    try:
        return array("h", [round(sample * 32767.0) for sample in samples]).tobytes()
    except (OverflowError, ValueError):  # outside -1..1, infinite or no number at all: rare, so only then looked at
        return array("h", [_clipped(sample) for sample in samples]).tobytes()


def _clipped(sample: float) -> int:
    if math.isnan(sample):
        return 0
    return round(max(-32768.0, min(32767.0, sample * 32767.0)))


def _with_numpy(data: bytes | bytearray | memoryview) -> bytes:
    import numpy as np

    # In float64, where the product is exact: float32 would round it once before it is rounded.
    scaled = np.frombuffer(data, "<f4").astype(np.float64)
    scaled *= 32767.0
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=32767.0, neginf=-32768.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768.0, 32767.0, out=scaled)
    return scaled.astype("<i2").tobytes()
