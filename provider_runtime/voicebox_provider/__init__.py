"""What runs inside a provider process: write an `Engine`, and `python -m voicebox_provider` runs it for the daemon."""

from __future__ import annotations

from voicebox_provider.engine import Engine, Extend, Mark, PermanentFault, Utterance

__all__ = ["Engine", "Extend", "Mark", "PermanentFault", "Utterance"]
