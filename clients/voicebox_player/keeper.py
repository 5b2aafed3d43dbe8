"""Keeps the sound device open while there is something to play, and opens it again when it is lost or another is wished for.

All of it on a thread of its own, for a sound server that hangs holds its caller up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from voicebox_player.device import PERIOD_MS, close_device, find_devices, open_device
from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice

# An open stream keeps the hardware awake.
CLOSE_S = 3.0
# A device that asks for no sound for so long has gone: few systems say so.
LOST_S = 2.5
RETRY_S = 2.0
# Whoever comes later than this to fill the buffers finds them empty.
_BUFFERED_S = PERIOD_MS / 1000
# A stream that is started with its first sound is heard sooner than one whose buffer is full of silence.
_STOP_S = 0.1


class Keeper:
    """Owns the device and the thread that opens and closes it. The device has a thread of its own that takes sound from the speaker."""

    def __init__(self, speaker: Speaker, device: str | None) -> None:
        self._speaker = speaker
        self._wished = device
        self._pulled = 0.0
        self._block = b""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="voicebox-device", daemon=True)
        self._thread.start()

    def use(self, device: str | None) -> None:
        """Play at this device from now on. The caller holds the speaker's lock."""
        self._wished = device

    def list_devices(self) -> list[dict[str, Any]]:
        """Where can be played; empty if nowhere."""
        try:
            found = find_devices()
        except NoAudioDevice:
            return []
        return [{"name": one.name, "default": one.default, "backend": one.backend.name.lower()} for one in found]

    def close(self) -> None:
        """Close the device and end the thread."""
        with self._speaker.changed:
            self._closing = True
            self._speaker.changed.notify_all()
        self._thread.join()

    # --- everything below runs on the thread

    def _run(self) -> None:
        # Its import takes longer than opening a device does.
        import miniaudio  # noqa: F401

        while self._wait():
            wished = self._wished
            try:
                self._play(wished)
            except NoAudioDevice as error:
                self._speaker.tell(Opened(None, str(error)))
                self._rest(wished)

    def _wait(self) -> bool:
        """Until a device is wanted; false at the end."""
        with self._speaker.changed:
            self._speaker.changed.wait_for(lambda: self._closing or self._is_wanted())
            return not self._closing

    def _is_wanted(self) -> bool:
        # From the turn's beginning on: it opens while the first sound is on its way.
        playback = self._speaker.playback
        return playback.is_wanted or (playback.has_turn and self._quiet_s() < CLOSE_S)

    def _quiet_s(self) -> float:
        return time.monotonic() - self._speaker.sounded

    def _play(self, wished: str | None) -> None:
        """One device from its opening to its end. Raises `NoAudioDevice` if there is none, or none any more."""
        device, told = open_device(RATE, wished), False
        try:
            while self._await_sound(wished):
                feed = self._feed()
                next(feed)
                self._pulled = time.monotonic()
                _start(device, feed)
                if not told:
                    self._speaker.tell(Opened(wished or _default_name() or device.backend.lower()))
                    told = True
                self._watch(wished)
                _stop(device)
        finally:
            close_device(device)

    def _await_sound(self, wished: str | None) -> bool:
        """Until there is something to be heard; false if the device is not to be open any longer."""
        speaker = self._speaker
        with speaker.changed:
            while not self._closing and self._wished == wished:
                if speaker.playback.is_wanted:
                    return True
                if (left := CLOSE_S - self._quiet_s()) <= 0:
                    return False
                speaker.changed.wait(left)
            return False

    def _watch(self, wished: str | None) -> None:
        """As long as there is sound."""
        speaker = self._speaker
        with speaker.changed:
            while not self._closing and self._wished == wished:
                if time.monotonic() - self._pulled > LOST_S:
                    raise NoAudioDevice(
                        "the sound device has gone; plug it in again, or choose with: voicebox audio use DEVICE"
                    )
                if not speaker.playback.is_wanted and self._quiet_s() > _STOP_S:
                    return
                speaker.changed.wait(_STOP_S)

    def _rest(self, wished: str | None) -> None:
        """Until it is worth another try: whoever comes new is told at once."""
        with self._speaker.changed:
            playback, turns = self._speaker.playback, self._speaker.playback.turns
            self._speaker.changed.wait_for(
                lambda: self._closing or self._wished != wished or playback.turns != turns, RETRY_S
            )

    # --- the device's own thread

    def _feed(self) -> Generator[bytes, int, None]:
        """Gives the frames that it asks for."""
        frames = yield b""
        while True:
            now = time.monotonic()
            if now - self._pulled > _BUFFERED_S + frames / RATE:
                self._speaker.miss()
            self._pulled = now
            self._speaker.play(frames, self._take)
            frames = yield self._block

    def _take(self, samples: Samples) -> None:
        self._block = samples.tobytes()


def _start(device: Any, feed: Generator[bytes, int, None]) -> None:
    import miniaudio

    try:
        device.start(feed)
    except miniaudio.MiniaudioError as error:
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None


def _stop(device: Any) -> None:
    import miniaudio

    try:
        device.stop()
    except miniaudio.MiniaudioError as error:
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None


def _default_name() -> str | None:
    try:
        return next((one.name for one in find_devices() if one.default), None)
    except NoAudioDevice:
        return None
