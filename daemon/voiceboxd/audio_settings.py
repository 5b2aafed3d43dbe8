"""How loud the loudspeaker is and where it plays: what the daemon remembers from one life to the next."""

from __future__ import annotations

from pathlib import Path

import msgspec

from voiceboxd.logs import log


class _Kept(msgspec.Struct):
    volume: float = 1.0
    muted: bool = False
    device: str | None = None


class AudioSettings:
    """Owns `audio.json` in the state directory. One that cannot be read counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            self._kept = _Kept()
        if not 0 <= self._kept.volume <= 1:
            self._kept.volume = 1.0

    @property
    def volume(self) -> float:
        """From 0 to 1."""
        return self._kept.volume

    @property
    def muted(self) -> bool:
        return self._kept.muted

    @property
    def device(self) -> str | None:
        """The device's name, None for the system's default."""
        return self._kept.device

    def change(self, volume: float | None, muted: bool | None, device: str | None) -> None:
        """Change what is not None; an empty device is the system's default."""
        if volume is not None:
            self._kept.volume = volume
        if muted is not None:
            self._kept.muted = muted
        if device is not None:
            self._kept.device = device or None
        half = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(msgspec.json.encode(self._kept))
            half.replace(self._path)
        except OSError as error:
            log.warning("cannot keep how the loudspeaker is", error=str(error))
