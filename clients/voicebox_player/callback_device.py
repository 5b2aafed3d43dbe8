"""A device that asks for sound by a callback, when it needs some, and gives none back: all that miniaudio knows.

So little is buffered: what was taken is heard whatever comes. With periods of 20 ms the last sound is heard 29 to 34 ms after the daemon
asked for silence, and there are half the dropouts that 10 ms have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from voicebox_player import device as limits
from voicebox_player.device_list import Found, find_devices, hushed
from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice

PERIOD_MS = 20
PERIODS = 2
# Whoever comes later than this to fill the buffers finds them empty.
_BUFFERED_S = PERIOD_MS / 1000


class CallbackDevice:
    """Owns the device, and the connection to the sound server behind it. The device has a thread of its own that takes the sound."""

    def __init__(self, rate: int, systems: list[Any], chosen: Found | None = None) -> None:
        """The default one of the first of these systems that is there. Raises `NoAudioDevice` if it cannot be opened."""
        import miniaudio

        self._name = None if chosen is None else chosen.name
        self._pulled = 0.0
        self._block = b""
        # Made in two steps, for one that cannot be opened has a context all the same.
        self._device: Any = miniaudio.PlaybackDevice.__new__(miniaudio.PlaybackDevice)
        try:
            with hushed():
                self._device.__init__(
                    output_format=miniaudio.SampleFormat.FLOAT32,
                    nchannels=1,
                    sample_rate=rate,
                    buffersize_msec=PERIOD_MS,
                    callback_periods=PERIODS,
                    device_id=None if chosen is None else chosen.identity,
                    backends=systems,
                    app_name="voicebox",
                )
        except miniaudio.MiniaudioError as error:
            if hasattr(self._device, "_context"):
                self.close()
            raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None

    @property
    def system(self) -> str:
        return str(self._device.backend).lower()

    def play(self, speaker: Speaker, is_over: Callable[[], bool]) -> None:
        told = False
        while self._await_sound(speaker, is_over):
            feed = self._feed(speaker)
            next(feed)
            self._pulled = time.monotonic()
            _try(self._device.start, feed)
            if not told:
                speaker.tell(Opened(self._name or _default_name() or self.system))
                told = True
            self._watch(speaker, is_over)
            _try(self._device.stop)

    def close(self) -> None:
        """The package would leave the connection open: a server has room for 64."""
        import miniaudio

        context = self._device._context
        self._device.close()
        miniaudio.lib.ma_context_uninit(context)

    def _await_sound(self, speaker: Speaker, is_over: Callable[[], bool]) -> bool:
        """Until there is something to be heard; false if the device is not to be open any longer."""
        with speaker.changed:
            while not is_over():
                if speaker.playback.is_wanted:
                    return True
                if (left := limits.CLOSE_S - speaker.quiet_s) <= 0:
                    return False
                speaker.changed.wait(left)
            return False

    def _watch(self, speaker: Speaker, is_over: Callable[[], bool]) -> None:
        """As long as there is sound."""
        with speaker.changed:
            while not is_over():
                if time.monotonic() - self._pulled > limits.LOST_S:
                    raise limits.gone()
                if not speaker.playback.is_wanted and speaker.quiet_s > limits.STOP_S:
                    return
                speaker.changed.wait(limits.STOP_S)

    # --- the device's own thread

    def _feed(self, speaker: Speaker) -> Generator[bytes, int, None]:
        """Gives the frames that it asks for."""
        frames = yield b""
        while True:
            now = time.monotonic()
            if now - self._pulled > _BUFFERED_S + frames / RATE:
                speaker.miss()
            self._pulled = now
            speaker.play(frames, self._take)
            frames = yield self._block

    def _take(self, samples: Samples) -> None:
        self._block = samples.tobytes()


def _try(do: Callable[..., object], *arguments: object) -> None:
    import miniaudio

    try:
        do(*arguments)
    except miniaudio.MiniaudioError as error:
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None


def _default_name() -> str | None:
    try:
        return next((one.name for one in find_devices() if one.default), None)
    except NoAudioDevice:
        return None
