"""`say --clone`: the recording, and the voice prompt that was made of it, kept so that the next sentence need not wait for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from voicebox_client import Voicebox, VoicePrompt
from voicebox_client import reference_audio as recordings
from voicebox_protocol import places
from voicebox_protocol.errors import BadPrompt, OutputFailed

# 64 of them take at most 17 MB, and commonly a hundredth of that.
MOST_KEPT = 64
_SUFFIX = ".voice"


class Likeness:
    """Owns what is known of one recording. `provider` and `model` are those that the request names, if it does."""

    def __init__(self, path: str, text: str | None, provider: str | None, model: str | None) -> None:
        self._path = path
        self._text = text
        self._provider = provider
        self._model = model
        self._recording: recordings.Recording | None = None
        self._kept: Path | None = None

    def read(self) -> recordings.Recording:
        """The recording, read once. Raises `BadReference`."""
        if self._recording is None:
            self._recording = recordings.read(self._path)
        return self._recording

    def prompt(self, box: Voicebox) -> VoicePrompt:
        """The voice prompt: the one that is kept, else made now, and kept."""
        place = kept_dir() / f"{self._key()}{_SUFFIX}"
        with contextlib.suppress(BadPrompt):
            found = VoicePrompt.load(place)
            # The oldest go first.
            with contextlib.suppress(OSError):
                os.utime(place)
            self._kept = place
            return found
        made = self._prepared(box)
        with contextlib.suppress(OSError, OutputFailed):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.save(place)
            prune(place.parent)
        return made

    def forget(self) -> bool:
        """Drop the kept prompt, if that was the one; it may be of a model that is gone."""
        place, self._kept = self._kept, None
        if place is None:
            return False
        with contextlib.suppress(OSError):
            place.unlink()
        return True

    def _prepared(self, box: Voicebox) -> VoicePrompt:
        import numpy as np

        recording = self.read()
        return box.prepare_voice(
            np.frombuffer(recording.audio, "<f4"),
            self._text,
            provider=self._provider,
            model=self._model,
            sample_rate=recording.sample_rate,
        )

    def _key(self) -> str:
        recording = self.read()
        digest = hashlib.sha256(recording.audio)
        for part in (str(recording.sample_rate), self._text, self._provider, self._model):
            digest.update(b"\0" if part is None else b"\1" + part.encode() + b"\0")
        return digest.hexdigest()


def kept_dir() -> Path:
    """Where voice prompts are kept, one file each; any of them may be deleted."""
    return places.cache_dir() / "voices"


def prune(directory: Path) -> None:
    """Let the newest `MOST_KEPT` stay."""
    files = sorted(directory.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[MOST_KEPT:]:
        file.unlink(missing_ok=True)
