"""Whether a value that a peer sent can be passed on: plain data, not too deep, with nothing that only breaks later."""

from __future__ import annotations

import math
from typing import Any

DEEPEST = 32


def is_plain(value: Any, depth: int = DEEPEST) -> bool:
    """Null, booleans, strings, finite numbers, and lists and string-keyed maps of these, at most `depth` deep."""
    if value is None or isinstance(value, bool | str | int):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if not depth:
        return False
    if isinstance(value, list | tuple):
        return all(is_plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item, depth - 1) for key, item in value.items())
    return False
