"""`say` without `-o`: the daemon's loudspeaker plays it, and nothing of the sound comes here."""

from __future__ import annotations

from typing import Any

from voicebox_client import Accepted, Chunk, Result


class Loudspeaker:
    """Where the sound goes that is heard. One that is `detached` is spoken without its client, which need not stay."""

    def __init__(self, *, follow: bool, detached: bool) -> None:
        self.place: str | None = None
        self.detached = detached
        self.fields: dict[str, Any] = {"follow": follow and not detached, "detached": detached}

    def __enter__(self) -> Loudspeaker:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing: the daemon owns the device."""

    def load(self) -> None:
        """Nothing is needed here."""

    def write(self, chunk: Chunk) -> None:
        """No chunk comes."""

    def finish(self, accepted: Accepted, result: Result) -> None:
        """It was heard."""
