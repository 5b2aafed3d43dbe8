"""PulseAudio as a device: the server holds a quarter of a second, and gives back what is not to be heard after all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from voicebox_player import device as limits
from voicebox_player.pulse import PulseStream, library
from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_player.turn import Samples

# What is heard so soon is left as it is when the volume changes: on its way to the server the new sound would come too late.
_TOO_LATE = RATE * 15 // 1000
_BARELY = RATE // 10


class Stream(Protocol):
    """A stream of sound at a server; `pulse.PulseStream` is one."""

    @property
    def room(self) -> int: ...
    @property
    def unheard(self) -> int | None: ...
    @property
    def sink(self) -> bytes: ...
    def description(self, sink: bytes) -> str | None: ...
    def write(self, samples: Samples, back: int = 0) -> None: ...
    def cork(self, corked: bool) -> None: ...
    def flush(self) -> None: ...
    def is_drained(self) -> bool: ...
    def underflows(self) -> int: ...
    def held(self) -> int: ...
    def wait(self, seconds: float) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


def open_pulse(rate: int, sink: str | None) -> PulseDevice | None:
    """At the sink of that name, or at the default one; None where the library is not installed. Raises `NoAudioDevice` if there is none."""
    lib = library()
    return None if lib is None else PulseDevice(PulseStream(lib, rate, sink))


class PulseDevice:
    """Owns the stream, and how much of what was written to it was not heard yet."""

    system = "pulseaudio"

    def __init__(self, stream: Stream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._written = 0
        # Whether any of it was heard: a server that ran dry before that was only empty.
        self._sounding = False
        self._moved = 0.0
        self._loudness: tuple[float, bool] | None = None
        self._sink = b""

    def play(self, speaker: Speaker, is_over: Callable[[], bool]) -> None:
        with speaker.changed:
            speaker.rouse_by(self._stream.wake)
        try:
            while True:
                with speaker.changed:
                    if is_over() or not self._step(speaker):
                        break
                    patience = self._patience(speaker)
                self._tell_where(speaker)
                self._stream.wait(patience)
            if self._written:
                held = self._stream.held()
                with speaker.changed:
                    self._heard(speaker, self._written - held)
        finally:
            with speaker.changed:
                speaker.rouse_by(None)
                self._take_back(speaker)

    def close(self) -> None:
        self._stream.close()

    def _tell_where(self, speaker: Speaker) -> None:
        """The server may move a stream at any time, as when the default has changed."""
        if self._written and self._sink != (sink := self._stream.sink):
            self._sink = sink
            speaker.tell(Opened(self._stream.description(sink) or sink.decode(errors="replace")))

    # --- with the speaker's lock held

    def _step(self, speaker: Speaker) -> bool:
        """Do what there is to do; false if the stream is not to be open any longer."""
        playback = speaker.playback
        self._count(speaker)
        if playback.stale:
            self._stream.flush()
            self._take_back(speaker)
        if playback.paused:
            self._stream.cork(True)
        else:
            self._write_again(speaker)
            self._write(speaker)
        return speaker.quiet_s < limits.CLOSE_S

    def _count(self, speaker: Speaker) -> None:
        """What was heard of what was written."""
        playback = speaker.playback
        if self._stream.underflows() and self._sounding and not playback.is_taken:
            self._heard(speaker, self._written)
            self._sounding = False
            playback.run_dry()
        if self._written and playback.is_taken and self._stream.is_drained():
            self._heard(speaker, self._written)
        elif (unheard := self._stream.unheard) is not None:
            # Only the server's own word tells that the last sample was heard.
            self._heard(speaker, self._written - max(1, unheard))
        # What the hardware has of a stream that ran dry cannot be told from what it is to have.
        if playback.paused or not (playback.is_taken or self._written > _BARELY):
            self._moved = self._clock()
        elif self._clock() - self._moved > limits.LOST_S:
            raise limits.gone()

    def _heard(self, speaker: Speaker, frames: int) -> None:
        if frames > 0:
            self._moved = self._clock()
            self._sounding = True
            self._written -= frames
            speaker.hear(frames)

    def _take_back(self, speaker: Speaker) -> None:
        """Nothing of what was written and not heard will be."""
        speaker.playback.take_all_back()
        self._written, self._sounding = 0, False

    def _write_again(self, speaker: Speaker) -> None:
        """As loud as it is to be now, from as soon on as it can be."""
        playback = speaker.playback
        loudness = playback.volume, playback.muted
        if self._loudness == loudness:
            return
        if self._written:
            if (unheard := self._stream.unheard) is None:
                return
            if (back := min(unheard, self._written) - _TOO_LATE) > 0:
                playback.take_back(back)
                again = np.zeros(back, np.float32)
                sound = playback.read(back)
                again[: len(sound)] = sound
                self._stream.write(again, back)
        self._loudness = loudness

    def _write(self, speaker: Speaker) -> None:
        """As much as the server has room for."""
        playback = speaker.playback
        if (room := self._stream.room) and len(sound := playback.read(room)):
            self._stream.write(sound)
            self._written += len(sound)
        if self._written:
            self._stream.cork(False)
            speaker.sound()
        elif speaker.quiet_s > limits.STOP_S:
            self._stream.cork(True)
        if self._written and playback.is_taken:
            # Asked for at once, for the answer wakes.
            self._stream.is_drained()

    def _patience(self, speaker: Speaker) -> float:
        """How many seconds there is nothing to do, unless somebody wakes."""
        is_idle = (not self._written and speaker.quiet_s > limits.STOP_S) or speaker.playback.paused
        return max(0.0, limits.CLOSE_S - speaker.quiet_s) if is_idle else limits.STOP_S
