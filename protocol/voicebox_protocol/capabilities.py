"""What an engine can do, as it says itself in Hello: the daemon refuses what is not in here rather than dropping it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

_Tag = Annotated[str, msgspec.Meta(max_length=64)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


CLONED = "cloned"
"""What answers call the voice of a recording."""


class Voice(msgspec.Struct, kw_only=True):
    """One voice. `languages` are BCP 47 tags; `scripts` ISO 15924 codes of the letters it reads; `kind` preset, cloned or designed;
    `models` are those that have it, empty for all."""

    id: _Name
    name: str = ""
    languages: list[_Tag] = []
    scripts: list[_Tag] = []
    gender: str | None = None
    kind: str = "preset"
    default: bool = False
    models: list[_Name] = []


class Capabilities(msgspec.Struct, kw_only=True):
    """The capability document. Ranges are [lowest, highest]; null where there is no such control.

    `runner` names what of `speed`, `pitch` and `volume` the runner does to the samples, where the engine's own range ends.
    `languages` and `scripts` are those of the voice of a recording, for an engine with `cloning`, and `cloning_models` the models that
    can have it, empty for all.
    """

    engine: _Name
    version: str
    kinds: list[str] = msgspec.field(default_factory=lambda: ["tts"])
    voices: list[Voice] = []
    sample_rate: Annotated[int, msgspec.Meta(ge=8_000, le=192_000)] = 24000
    max_chars: Annotated[int, msgspec.Meta(ge=20, le=100_000)] = 400
    streaming: bool = False
    deterministic: bool = False
    fingerprint: str = ""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    speed: tuple[float, float] | None = None
    pitch: tuple[float, float] | None = None
    volume: tuple[float, float] | None = None
    runner: list[str] = []
    instruct: bool = False
    cloning: bool = False
    cloning_models: list[str] = []
    languages: list[_Tag] = []
    scripts: list[_Tag] = []
    models: list[str] = []
    devices: list[str] = msgspec.field(default_factory=lambda: ["cpu"])
    memory_bytes: int | None = None
    vram_bytes: int | None = None
    metered: bool = False
    options: dict[str, Any] = {}

    def default_voice(self) -> Voice | None:
        """The voice that speaks when none is named."""
        return next((voice for voice in self.voices if voice.default), self.voices[0] if self.voices else None)

    def cloned_voice(self) -> Voice | None:
        """The voice of a recording, where the engine can have that."""
        if not self.cloning:
            return None
        return Voice(
            id=CLONED, languages=self.languages, scripts=self.scripts, kind="cloned", models=self.cloning_models
        )

    def cloning_model(self) -> str | None:
        """The model that listens to a recording when none is named; None for an engine that names no models."""
        return next(iter(self.cloning_models or self.models), None)


def speaks(tags: list[str], wanted: str) -> bool:
    """Whether one of the BCP 47 `tags` serves `wanted`: equal, or one is the other's language without a region."""
    want = wanted.lower().replace("_", "-")
    return any((tag := own.lower()) == want or tag.startswith(want + "-") or want.startswith(tag + "-") for own in tags)
