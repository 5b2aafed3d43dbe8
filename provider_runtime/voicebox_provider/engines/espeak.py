"""espeak-ng: over a hundred languages, small, quick and plain to hear as a machine.

espeak-ng is under the GPL, version 3 or later. That is why it is an optional extra (`pip install 'voiceboxd[espeak]'`) and why it
is loaded here alone, in a provider process of its own; nothing else of voiceboxd is linked with it.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import Unspeakable
from voicebox_provider.engine import Engine, Extend, Utterance
from voicebox_provider.engines.espeak_library import SAMPLE_RATE, Library, Parameter
from voicebox_provider.engines.espeak_text import foreign_words, lost_words, marks, pieces
from voicebox_provider.engines.espeak_voices import DEFAULT_VOICE, VoiceFile, described, voice_files
from voicebox_provider.extras import require
from voicebox_provider.settings import check_settings
from voicebox_provider.speakable import quoted

if TYPE_CHECKING:
    from voicebox_provider.engine import Sound

MAX_CHARS = 400

_MEMORY_BYTES = 60 * 1024 * 1024
_SETTINGS = ("threads",)
_SPEED = (0.46, 2.57)
_PITCH = (0.6, 1.8)
_VOLUME = (0.0, 2.0)
_WORDS_PER_MINUTE = 175
_NORMAL = 50
_LOUDNESS = 100
_RANGE_TO_BASE = 0.234
_FULL_SCALE = 32768


class EspeakEngine(Engine):
    """Every voice of the installed espeak-ng. It has no use for the seed: equal texts give equal samples in any case."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        require("espeak", "espeakng_loader")
        check_settings("espeak", settings, _SETTINGS)

    @cached_property
    def _files(self) -> dict[str, VoiceFile]:
        found = find_spec("espeakng_loader")
        assert found is not None
        assert found.origin is not None
        return voice_files(Path(found.origin).parent / "espeak-ng-data")

    @cached_property
    def _scripts(self) -> dict[str, list[str]]:
        return {voice.id: voice.scripts for voice in described(self._files)}

    def capabilities(self) -> Capabilities:
        loader = version("espeakng-loader")
        return Capabilities(
            engine="espeak-ng",
            version=loader,
            voices=described(self._files),
            sample_rate=SAMPLE_RATE,
            max_chars=MAX_CHARS,
            streaming=True,
            deterministic=True,
            fingerprint=f"espeakng-loader {loader}, cpu {platform.machine()}",
            speed=_SPEED,
            pitch=_PITCH,
            volume=_VOLUME,
            memory_bytes=_MEMORY_BYTES,
        )

    def load(self, extend: Extend) -> None:  # noqa: ARG002 (some milliseconds need no extension)
        for _ in self.synthesize(Utterance(text="Warm.", voice=DEFAULT_VOICE)):
            pass

    def synthesize(self, utterance: Utterance) -> Iterator[Sound]:
        import numpy as np

        voice = utterance.voice or DEFAULT_VOICE
        if foreign := foreign_words(utterance.text, self._scripts[voice]):
            raise Unspeakable(f"the voice {voice} cannot read {quoted(foreign)}")
        frame = behind = 0
        with Library(utterance.cancelled) as library:
            self._prepare(library, voice, utterance)
            for piece in pieces(utterance.text):
                raw, words = library.speak(piece.text, pause=piece.pause)
                if utterance.cancelled():
                    return
                found = list(marks(words, piece, frame, behind))
                if lost := lost_words(piece, found):
                    raise Unspeakable(f"the voice {voice} has no sound for {quoted(lost)}")
                sound = np.frombuffer(raw, np.int16).astype(np.float32) / np.float32(_FULL_SCALE)
                frame += len(sound)
                behind = found[-1].char_end if found else behind
                yield sound, found

    def _prepare(self, library: Library, voice: str, utterance: Utterance) -> None:
        library.voice(self._files[voice].path)
        library.set(Parameter.RATE, round(_WORDS_PER_MINUTE * utterance.speed))
        library.set(Parameter.VOLUME, round(_LOUDNESS * utterance.volume))
        if utterance.pitch != 1.0:
            base, span = _pitch(utterance.pitch)
            library.set(Parameter.PITCH, base)
            library.set(Parameter.RANGE, span)


def _pitch(factor: float) -> tuple[int, int]:
    """espeak's pitch and range, both normal at 50, for a factor on every frequency of the voice.

    Its pitch goes by octaves, its range by halves and doubles; and as the range grows it lowers the base by 18 times as much
    (`SetPitchFormants` and `SetPitch` in its wavegen.c), which for its usual voices is 0.234 of the base. Here that is made good.
    """
    base = factor + _RANGE_TO_BASE * (factor - 1)
    return round(_NORMAL + _NORMAL * math.log2(base)), round(_NORMAL * factor)
