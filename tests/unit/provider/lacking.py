"""An engine whose packages nobody has installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from voicebox_protocol.capabilities import Capabilities
from voicebox_provider.engine import Engine, Extend, Utterance
from voicebox_provider.extras import require


class LackingEngine(Engine):
    """Never gets further than its constructor."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        require("lacking", "json", "no_such_module", "nor_this")

    def capabilities(self) -> Capabilities:
        raise AssertionError("nobody asks")

    def load(self, extend: Extend) -> None:
        raise AssertionError("nobody loads")

    def synthesize(self, utterance: Utterance) -> Iterator[Any]:
        raise AssertionError("nobody speaks")
