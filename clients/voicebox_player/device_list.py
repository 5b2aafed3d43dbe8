"""Which sound devices there are, by miniaudio. A sound server that hangs holds its caller up."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from voicebox_protocol.errors import NoAudioDevice

BACKEND = "VOICEBOX_AUDIO_BACKEND"

NAME_CHARS = 128


class Found(NamedTuple):
    """A device that there is. `identity` is what miniaudio knows it by, and `backend` the audio system that it is of."""

    name: str
    default: bool
    backend: Any
    identity: Any

    @property
    def sink(self) -> str:
        """What PulseAudio knows it by, if it is one of its."""
        import miniaudio

        return bytes(miniaudio.ffi.buffer(self.identity)).partition(b"\0")[0].decode(errors="replace")


def find_devices() -> list[Found]:
    """The devices of the audio system that would be played on. Raises `NoAudioDevice` if there is no such system."""
    import miniaudio

    ffi = miniaudio.ffi
    found, count = ffi.new("ma_device_info **"), ffi.new("ma_uint32 *")
    try:
        with hushed():
            system = miniaudio.Devices(backends())
            failed = miniaudio.lib.ma_context_get_devices(system._context, found, count, ffi.NULL, ffi.NULL)
    except miniaudio.MiniaudioError as error:
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None
    backend = miniaudio.Backend(system._context[0].backend)
    return [
        Found(
            ffi.string(one.name).decode(errors="replace")[:NAME_CHARS],
            bool(one.isDefault),
            backend,
            ffi.new("ma_device_id *", one.id),
        )
        for one in (found[0][index] for index in range(0 if failed else count[0]))
    ]


def find_device(name: str) -> Found:
    """The one of that name. Raises `NoAudioDevice` if there is none, with the names of those that there are."""
    found = find_devices()
    for one in found:
        if one.name == name:
            return one
    there = ", ".join(repr(one.name) for one in found) or "none"
    raise NoAudioDevice(f"there is no sound device {name!r}; there is {there}. Choose with: voicebox audio use DEVICE")


def wanted_backend() -> str | None:
    """The audio system that the environment names, in capitals."""
    return os.environ.get(BACKEND, "").upper() or None


def backends(*but: str) -> list[Any]:
    """miniaudio's: the one that the environment names, else all but these, and but the one that only pretends. Raises `NoAudioDevice`
    for one that nobody knows."""
    import miniaudio

    known = miniaudio.Backend
    if (wanted := wanted_backend()) is None:
        return [one for one in known if one.name not in ("NULL", *but)]
    if wanted not in known.__members__:
        raise NoAudioDevice(f"{BACKEND} is {wanted.lower()!r}; it takes {', '.join(known.__members__).lower()}")
    return [known[wanted]]


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Without the dozens of lines that ALSA writes to standard error, past Python, where there is no sound card."""
    sys.stderr.flush()
    nowhere, kept = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
