"""How many threads native libraries use: fixed before they load, because other counts give other samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from voicebox_provider.engine import PermanentFault

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_MOST = 256


def thread_count(settings: Mapping[str, Any]) -> int:
    """The setting `threads` (1 if there is none). Raises `PermanentFault` if it is no count."""
    threads = settings.get("threads", 1)
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= _MOST:
        raise PermanentFault(f"the setting `threads` is {threads!r}; it takes a number from 1 to {_MOST}")
    return threads


def pin(threads: int) -> None:
    """Tell every library that reads its count from the environment. Works only before the library is imported."""
    for variable in _VARIABLES:
        os.environ[variable] = str(threads)
