"""What runs inside a provider process: write an `Engine`, and `python -m voicebox_provider` runs it for the daemon."""

from __future__ import annotations

from voicebox_provider.engine import (
    DeviceMemory,
    Engine,
    Extend,
    Mark,
    PermanentFault,
    Reference,
    TemporaryFault,
    Utterance,
)

__all__ = ["DeviceMemory", "Engine", "Extend", "Mark", "PermanentFault", "Reference", "TemporaryFault", "Utterance"]
