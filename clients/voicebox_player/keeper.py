"""Keeps the sound device open while there is something to play, and opens it again when it is lost or another is wished for.

All of it on a thread of its own, for a sound server that hangs holds its caller up.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import Any

from voicebox_player.device import CLOSE_S, open_device, warm_up
from voicebox_player.device_list import find_devices
from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_protocol.errors import NoAudioDevice

RETRY_S = 2.0


class Keeper:
    """Owns the thread that opens the device, plays on it, or watches who does, and closes it."""

    def __init__(self, speaker: Speaker, device: str | None) -> None:
        self._speaker = speaker
        self._wished = device
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
            self._speaker.rouse()
        self._thread.join()

    # --- everything below runs on the thread

    def _run(self) -> None:
        try:
            warm_up()
            while self._wait():
                wished = self._wished
                try:
                    self._play(wished)
                except NoAudioDevice as error:
                    self._speaker.tell(Opened(None, str(error)))
                    self._rest(wished)
        except BaseException:
            # A player without this thread would be silent for good; the daemon starts another, which goes on where this one was.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _wait(self) -> bool:
        """Until a device is wanted; false at the end."""
        with self._speaker.changed:
            self._speaker.changed.wait_for(lambda: self._closing or self._is_wanted())
            return not self._closing

    def _is_wanted(self) -> bool:
        # From the turn's beginning on: it opens while the first sound is on its way.
        playback = self._speaker.playback
        return playback.is_wanted or (playback.has_turn and self._speaker.quiet_s < CLOSE_S)

    def _play(self, wished: str | None) -> None:
        """One device from its opening to its end. Raises `NoAudioDevice` if there is none, or none any more."""
        device = open_device(RATE, wished)
        try:
            device.play(self._speaker, lambda: self._closing or self._wished != wished)
        finally:
            device.close()

    def _rest(self, wished: str | None) -> None:
        """Until it is worth another try: whoever comes new is told at once."""
        with self._speaker.changed:
            playback, turns = self._speaker.playback, self._speaker.playback.turns
            self._speaker.changed.wait_for(
                lambda: self._closing or self._wished != wished or playback.turns != turns, RETRY_S
            )
