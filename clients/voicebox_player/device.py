"""Sound devices, by miniaudio: which there are, opening one, closing it. A sound server that hangs holds its caller up.

Measured with PulseAudio 16 and a null sink on two cores: miniaudio lets the server hold one period, whatever `PERIODS` says (other systems
hold so many). A device opens in 6 to 12 ms. With periods of 20 ms the first sound is heard 10 ms after
the start at most, the last one 29 to 34 ms after the daemon asked for silence, and there are half the dropouts that 10 ms have.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from voicebox_protocol.errors import NoAudioDevice

BACKEND = "VOICEBOX_AUDIO_BACKEND"

PERIOD_MS = 20
PERIODS = 2
_NAME_CHARS = 128


class Found(NamedTuple):
    """A device that there is. `identity` is what miniaudio knows it by, and `backend` the audio system that it is of."""

    name: str
    default: bool
    backend: Any
    identity: Any


def open_device(rate: int, name: str | None = None) -> Any:
    """A device that plays mono float32 at `rate` Hz, not started yet: the one of that name, or the system's default.

    Raises `NoAudioDevice` if there is none.
    """
    import miniaudio

    chosen = None if name is None else _named(name)
    backends = _backends(miniaudio.Backend) if chosen is None else [chosen.backend]
    # Made in two steps, for one that cannot be opened has a context all the same.
    device = miniaudio.PlaybackDevice.__new__(miniaudio.PlaybackDevice)
    try:
        with _hushed():
            device.__init__(
                output_format=miniaudio.SampleFormat.FLOAT32,
                nchannels=1,
                sample_rate=rate,
                buffersize_msec=PERIOD_MS,
                callback_periods=PERIODS,
                device_id=None if chosen is None else chosen.identity,
                backends=backends,
                app_name="voicebox",
            )
    except miniaudio.MiniaudioError as error:
        if hasattr(device, "_context"):
            close_device(device)
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None
    return device


def close_device(device: Any) -> None:
    """The device, and the connection to the sound server behind it, which the package would leave open: a server has room for 64."""
    import miniaudio

    context = device._context
    device.close()
    miniaudio.lib.ma_context_uninit(context)


def find_devices() -> list[Found]:
    """The devices of the audio system that would be played on. Raises `NoAudioDevice` if there is no such system."""
    import miniaudio

    ffi = miniaudio.ffi
    found, count = ffi.new("ma_device_info **"), ffi.new("ma_uint32 *")
    try:
        with _hushed():
            system = miniaudio.Devices(_backends(miniaudio.Backend))
            failed = miniaudio.lib.ma_context_get_devices(system._context, found, count, ffi.NULL, ffi.NULL)
    except miniaudio.MiniaudioError as error:
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None
    backend = miniaudio.Backend(system._context[0].backend)
    return [
        Found(
            ffi.string(one.name).decode(errors="replace")[:_NAME_CHARS],
            bool(one.isDefault),
            backend,
            ffi.new("ma_device_id *", one.id),
        )
        for one in (found[0][index] for index in range(0 if failed else count[0]))
    ]


def _named(name: str) -> Found:
    found = find_devices()
    for one in found:
        if one.name == name:
            return one
    there = ", ".join(repr(one.name) for one in found) or "none"
    raise NoAudioDevice(f"there is no sound device {name!r}; there is {there}. Choose with: voicebox audio use DEVICE")


def _backends(all_of_them: Any) -> list[Any]:
    """The one that the environment names, else all but the one that only pretends."""
    wanted = os.environ.get(BACKEND, "").upper()
    if wanted and wanted not in all_of_them.__members__:
        raise NoAudioDevice(f"{BACKEND} is {wanted.lower()!r}; it takes {', '.join(all_of_them.__members__).lower()}")
    return [all_of_them[wanted]] if wanted else [one for one in all_of_them if one is not all_of_them.NULL]


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
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
