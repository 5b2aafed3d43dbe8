"""An engine that cannot be loaded until a file is there: as one does whose model has yet to be put in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voicebox_provider.engine import Extend, PermanentFault
from voicebox_provider.testing import FakeEngine


class Mendable(FakeEngine):
    """Settings: `model`, the file; `dies`, whether it crashes where others would say what is wrong. The rest is FakeEngine's."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._model = Path(settings["model"])
        self._dies = bool(settings.get("dies"))
        super().__init__({name: value for name, value in settings.items() if name not in ("model", "dies")})

    def load(self, extend: Extend) -> None:
        if not self._model.exists():
            print("looking for the model\x1b[2J", flush=True)
            if self._dies:
                os._exit(9)
            raise PermanentFault("the model is missing")
        super().load(extend)
