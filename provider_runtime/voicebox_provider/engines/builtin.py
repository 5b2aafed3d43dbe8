"""The built-in voice: hibari, small enough to lie inside its wheel. Nothing is ever downloaded."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_provider.engine import Engine, Extend, PermanentFault, Utterance
from voicebox_provider.native_threads import thread_count
from voicebox_provider.settings import check_settings

if TYPE_CHECKING:
    from hibari import Hibari

    from voicebox_provider.engine import Samples
    from voicebox_provider.engines.hibari_reader import Reader

DEFAULT_VOICE = "heart"
SAMPLE_RATE = 24000
MAX_CHARS = 400
"""Longer segments would cost hundreds of megabytes, and onnxruntime gives none of them back."""

_MEMORY_BYTES = 211 * 1024 * 1024
_SPEED = (0.5, 2.0)
_SETTINGS = ("threads",)
_WARM_UP = "Warm zyxglop."  # the second word wakes the net for unknown words


class BuiltinEngine(Engine):
    """hibari's voices that are on this machine; each is one model of 8 MB, loaded when it is first spoken with."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        check_settings("the built-in engine", settings, _SETTINGS)
        self._threads = thread_count(settings)
        self._known = _present_voices()
        self._voices: dict[str, Hibari] = {}
        self._readers: dict[bool, Reader] = {}

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="hibari",
            version=version("hibari-tts"),
            voices=[_described(name, entry) for name, entry in self._known.items()],
            sample_rate=SAMPLE_RATE,
            max_chars=MAX_CHARS,
            deterministic=True,
            fingerprint=_fingerprint(self._threads),
            speed=_SPEED,
            memory_bytes=_MEMORY_BYTES,
        )

    def load(self, extend: Extend) -> None:  # noqa: ARG002 (half a second needs no extension)
        if DEFAULT_VOICE not in self._known:
            raise PermanentFault("hibari's own voice is missing from its package; install hibari-tts again")
        # The model is read in C++ and the dictionaries in Python: side by side they take half the time.
        with ThreadPoolExecutor(1) as pool:
            model = pool.submit(self._voice, DEFAULT_VOICE)
            self._reader(DEFAULT_VOICE)
            model.result()
        for _ in self.synthesize(Utterance(text=_WARM_UP, voice=DEFAULT_VOICE)):
            pass

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        import numpy as np

        from voicebox_provider.engines.hibari_reader import runs, tidied

        name = utterance.voice or DEFAULT_VOICE
        voice, reader = self._voice(name), self._reader(name)
        sentences = voice.phonemize(tidied(utterance.text))
        reader.check()
        # One generator for the whole segment, as in Hibari.stream: it makes the noise that the seed fixes.
        noise = np.random.default_rng(utterance.seed)
        for sentence in sentences:
            for run in runs(sentence):
                yield voice.from_ids(voice.ids(run), utterance.speed, noise)

    def unload(self) -> None:
        self._voices.clear()
        self._readers.clear()

    def _voice(self, name: str) -> Hibari:
        if name not in self._voices:
            from hibari import Hibari

            # The path is given, because with the name alone hibari would download what it misses.
            self._voices[name] = Hibari(
                name,
                model=str(self._known[name]["path"]),
                threads=self._threads,
                g2p=lambda sentence: self._reader(name)(sentence),
            )
        return self._voices[name]

    def _reader(self, name: str) -> Reader:
        british = bool(self._known[name]["british"])
        if british not in self._readers:
            from voicebox_provider.engines.hibari_reader import Reader

            self._readers[british] = Reader(british=british)
        return self._readers[british]


def _present_voices() -> dict[str, dict[str, Any]]:
    """hibari's registry, reduced to the voices whose model is on this machine; each entry gains its `path`.

    Read from hibari's files, because importing hibari brings numpy, and Hello must not wait for that.
    """
    found = find_spec("hibari")
    if found is None or found.origin is None:
        raise PermanentFault("hibari-tts is not installed; install voiceboxd again")
    assets = Path(found.origin).parent / "assets"
    registry = json.loads((assets / "voices.json").read_text(encoding="utf-8"))
    placed = {name: {**entry, "path": _model_path(entry, assets)} for name, entry in registry.items()}
    return {name: entry for name, entry in placed.items() if _is_whole(entry["path"], entry["bytes"])}


def _model_path(entry: Mapping[str, Any], assets: Path) -> Path:
    return (assets if entry.get("bundled") else cache_directory()) / str(entry["file"])


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def cache_directory() -> Path:
    """Where hibari keeps downloaded voices; the same rule as `hibari.voices.cache_dir`, without importing it."""
    chosen = os.environ.get("HIBARI_HOME")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hibari"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hibari"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hibari"


def _described(name: str, entry: Mapping[str, Any]) -> Voice:
    return Voice(
        id=name,
        name=name.capitalize(),
        languages=[entry["language"]],
        scripts=["Latn"],
        gender=entry["gender"],
        default=name == DEFAULT_VOICE,
    )


@cache
def _fingerprint(threads: int) -> str:
    """All that changes samples. hibari uses scipy's FFT where there is one, so its absence counts as well."""
    parts = [f"{package} {_version(package)}" for package in ("hibari-tts", "onnxruntime", "numpy", "scipy")]
    return ", ".join([*parts, f"{threads} threads", f"cpu {platform.machine()}"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
