"""An engine that gives its sound at once and has as much memory resident as the setting `resident_mb` says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voicebox_provider.engine import Extend
from voicebox_provider.testing import FakeEngine

__all__ = ["Bulky"]

_MEGABYTE = 1_000_000


class Bulky(FakeEngine):
    """A `FakeEngine` with ballast."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__({name: value for name, value in settings.items() if name != "resident_mb"})
        self._resident_mb = int(settings.get("resident_mb", 0))
        self._ballast = bytearray()

    def load(self, extend: Extend) -> None:
        missing = self._resident_mb * _MEGABYTE - _resident()
        self._ballast = bytearray(b"\1") * max(0, missing)
        super().load(extend)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
