"""What this processor computes with: known from Linux, without PyTorch, for the capability document is asked for before that is loaded."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FLAGS = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)


def has_int8_products(place: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether it multiplies eight bits four at a time, and sums them in 32 (AVX-512 VNNI)."""
    return "avx512_vnni" in _flags(place)


@cache
def _flags(place: Path) -> frozenset[str]:
    try:
        found = _FLAGS.search(place.read_text(encoding="utf-8"))
    except OSError:
        found = None
    return frozenset(found[1].split()) if found else frozenset()
