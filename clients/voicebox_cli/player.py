"""The loudspeaker, in this process: plays chunks as they come, and holds the reader back to the pace of hearing."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

from voicebox_client import Accepted, Chunk, Result
from voicebox_protocol.errors import NoAudioDevice, OutputFailed

BACKEND = "VOICEBOX_AUDIO_BACKEND"

_WIDTH = 4
_PERIOD_MS = 20
# Heard too late is worse than heard in two parts, and the first chunk holds this much.
_PREBUFFER_S = 0.1
_AHEAD_S = 1.0
# How long the device may go without asking for sound before it is given up.
_DEVICE_S = 5.0


class Player:
    """Owns the device and the samples that it has not played yet. A device is looked for by `prepare`."""

    def __init__(self, on_failure: str | None) -> None:
        self.place: str | None = None
        self.on_failure = on_failure or "next"
        self.sink: str | None = "speaker"
        self._device: Any = None
        self._waiting = bytearray()
        self._changed = threading.Condition()
        self._rate = 0
        self._started = False

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        if self._device is not None:
            close_device(self._device)
            self._device = None

    def load(self) -> None:
        """What reaches the device: the daemon works meanwhile."""
        import miniaudio  # noqa: F401

    def prepare(self, accepted: Accepted) -> None:
        """Open the device, at the speech's own rate; `NoAudioDevice` if there is none."""
        self._rate = accepted.sample_rate
        self._device = open_device(self._rate)

    def write(self, chunk: Chunk) -> None:
        """Play a chunk after those before it; waits while more than a second is waiting to be heard."""
        with self._changed:
            self._waiting += chunk.data
        if not self._started and len(self._waiting) >= self._bytes(_PREBUFFER_S):
            self._start()
        self._wait_until(self._bytes(_AHEAD_S))

    def finish(self, accepted: Accepted, result: Result) -> None:  # noqa: ARG002
        """Wait until all has been heard."""
        if not self._started and self._waiting:
            self._start()
        self._wait_until(0)
        if self._started:
            time.sleep(3 * _PERIOD_MS / 1000)  # the periods that the device itself holds

    def _bytes(self, seconds: float) -> int:
        return math.ceil(seconds * self._rate) * _WIDTH

    def _start(self) -> None:
        feed = self._feed()
        next(feed)
        self._device.start(feed)
        self._started = True

    def _feed(self) -> Generator[bytes, int, None]:
        """What the device's thread runs: the frames that it asks for, silence where there are none."""
        frames = yield b""
        while True:
            size = frames * _WIDTH
            with self._changed:
                samples = bytes(self._waiting[:size])
                del self._waiting[:size]
                self._changed.notify()
            frames = yield samples.ljust(size, b"\0")

    def _wait_until(self, most: int) -> None:
        """Until no more than `most` bytes wait; a device that asks for none within seconds is gone."""
        with self._changed:
            while self._started and len(self._waiting) > most:
                before = len(self._waiting)
                self._changed.wait(_DEVICE_S)
                if len(self._waiting) == before:
                    raise OutputFailed(f"the sound device has taken nothing for {_DEVICE_S:g} s")


def open_device(rate: int) -> Any:
    """A device that plays mono float32 at `rate` Hz, not started yet; `NoAudioDevice` if there is none."""
    import miniaudio

    try:
        with _hushed():
            return miniaudio.PlaybackDevice(
                output_format=miniaudio.SampleFormat.FLOAT32,
                nchannels=1,
                sample_rate=rate,
                buffersize_msec=_PERIOD_MS,
                backends=_backends(miniaudio.Backend),
                app_name="voicebox",
            )
    except miniaudio.MiniaudioError as error:
        raise NoAudioDevice(f"{NoAudioDevice.when()} ({error.args[0]})") from None


def close_device(device: Any) -> None:
    """The device, and the connection to the sound server behind it, which the package would leave open: a server has room for 64."""
    import miniaudio

    context = device._context
    device.close()
    miniaudio.lib.ma_context_uninit(context)


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
