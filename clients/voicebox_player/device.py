"""A sound device that is open: PulseAudio's, which gives back what it has not played, or any other that miniaudio knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from voicebox_player.device_list import backends, find_device, wanted_backend
from voicebox_player.speaker import Speaker
from voicebox_protocol.errors import NoAudioDevice

# An open stream keeps the hardware awake.
CLOSE_S = 3.0
# A device that plays nothing for so long has gone: few systems say so.
LOST_S = 2.5
# A stream that is started with its first sound is heard sooner than one whose buffer is full of silence.
STOP_S = 0.1

_PULSE = "PULSEAUDIO"


class Device(Protocol):
    """Owns what was opened."""

    @property
    def system(self) -> str:
        """The audio system that it is of."""

    def play(self, speaker: Speaker, is_over: Callable[[], bool]) -> None:
        """Play what there is to be heard until that is over, or nothing was to be heard for `CLOSE_S`. Tells where it is heard.
        `is_over` is asked with the speaker's lock held. Raises `NoAudioDevice` when it is lost."""

    def close(self) -> None:
        """Let go of it."""


def gone(why: str = "") -> NoAudioDevice:
    """The error for one that was there."""
    return NoAudioDevice(f"the sound device has gone{why}; plug it in again, or choose with: voicebox audio use DEVICE")


def warm_up() -> None:
    """Load what opening a device takes, which takes longer than to open it."""
    from voicebox_player.libpulse import library

    if library() is None:
        import miniaudio  # noqa: F401


def open_device(rate: int, name: str | None = None) -> Device:
    """A device that plays mono float32 at `rate` Hz, silent yet: the one of that name, or the system's default. May take long.

    Raises `NoAudioDevice` if there is none.
    """
    from voicebox_player.callback_device import CallbackDevice
    from voicebox_player.pulse_device import open_pulse

    chosen = None if name is None else find_device(name)
    system = wanted_backend() if chosen is None else chosen.backend.name
    if system in (None, _PULSE):
        try:
            if (device := open_pulse(rate, None if chosen is None else chosen.sink)) is not None:
                return device
        except ConnectionRefusedError as refusal:
            if system is not None:
                raise NoAudioDevice(f"{NoAudioDevice.when()} ({refusal})") from None
            # Asked once more, by miniaudio, it would say the same, or hang.
            return CallbackDevice(rate, backends(_PULSE))
    return CallbackDevice(rate, backends() if chosen is None else [chosen.backend], chosen)
