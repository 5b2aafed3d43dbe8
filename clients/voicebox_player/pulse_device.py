"""PulseAudio as a device: the server holds a second of sound, and gives back what is not to be heard after all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Protocol

from voicebox_player import device as limits
from voicebox_player.device_list import NAME_CHARS
from voicebox_player.libpulse import library
from voicebox_player.pulse import PulseStream
from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice

# What is heard so soon is left as it is when the volume changes: on its way to the server the new sound would come too late.
_TOO_LATE = RATE * 15 // 1000
_BARELY = RATE // 10


class Stream(Protocol):
    """A stream of sound at a server; `pulse.PulseStream` is one."""

    @property
    def corked(self) -> bool: ...
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
    def written_since_dry(self) -> int | None: ...
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
        # All that was written since it was empty by our own will.
        self._begun = 0
        # Whether the server waits for more, whatever is left of what it has.
        self._dry = False
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
            self._settle(speaker)
        finally:
            with speaker.changed:
                speaker.rouse_by(None)
                self._take_back(speaker)

    def close(self) -> None:
        self._stream.close()

    def _settle(self, speaker: Speaker) -> None:
        """To the sample what was heard, before it is closed."""
        # One that is closed because another is wished for may have died long since.
        with contextlib.suppress(NoAudioDevice):
            held = self._stream.held() if self._written else 0
            with speaker.changed:
                self._heard(speaker, self._written - held)

    def _tell_where(self, speaker: Speaker) -> None:
        """The server may move a stream at any time, as when the default has changed."""
        if self._written and self._sink != (sink := self._stream.sink):
            self._sink = sink
            name = self._stream.description(sink) or sink.decode(errors="replace")
            speaker.tell(Opened(name[:NAME_CHARS]))

    # --- with the speaker's lock held

    def _step(self, speaker: Speaker) -> bool:
        """Do what there is to do; false if the stream is not to be open any longer."""
        playback = speaker.playback
        self._count(speaker)
        if playback.stale:
            self._flush()
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
        # An empty stream is dry as well. PipeWire keeps a remainder that is too short for it, and waits for more.
        if (since := self._stream.written_since_dry()) is not None and since < self._begun:
            self._heard(speaker, self._written - max(1, since))
            self._dry = since < _BARELY
            if not (self._dry and playback.is_taken):
                playback.run_dry()
        if self._written and playback.is_taken and not playback.paused and self._stream.is_drained():
            self._heard(speaker, self._written)
            # PipeWire has read on past the end by now, and would pass over the beginning of what comes next.
            self._flush()
        elif (unheard := self._stream.unheard) is not None:
            # Only the server's own word tells that the last sample was heard.
            self._heard(speaker, self._written - max(1, unheard))
        # What the hardware has of a stream that ran dry cannot be told from what it is to have.
        if playback.paused or not (playback.is_taken or (self._written > _BARELY and not self._dry)):
            self._moved = self._clock()
        elif self._clock() - self._moved > limits.LOST_S:
            raise limits.gone()

    def _heard(self, speaker: Speaker, frames: int) -> None:
        if frames > 0:
            self._moved = self._clock()
            self._written -= frames
            speaker.hear(frames)

    def _take_back(self, speaker: Speaker) -> None:
        """Nothing of what was written and not heard will be."""
        speaker.playback.take_all_back()
        self._written, self._dry = 0, False

    def _flush(self) -> None:
        self._stream.flush()
        self._begun = 0

    def _write_again(self, speaker: Speaker) -> None:
        """As loud as it is to be now, from as soon on as it can be."""
        playback = speaker.playback
        loudness = playback.volume, playback.muted
        if self._loudness == loudness:
            return
        if self._written:
            if (unheard := self._stream.unheard) is None:
                return
            if len(again := playback.read_again(max(0, min(unheard, self._written) - _TOO_LATE))):
                self._stream.write(again, len(again))
        self._loudness = loudness

    def _write(self, speaker: Speaker) -> None:
        """As much as the server has room for."""
        playback = speaker.playback
        if (room := self._stream.room) and len(sound := playback.read(room)):
            self._stream.write(sound)
            self._written += len(sound)
            self._begun += len(sound)
            self._dry = False
            # A sink that has seconds of its own takes as much before anything is heard.
            self._moved = self._clock()
        if self._written and (playback.is_taken or not self._dry):
            self._stream.cork(False)
            speaker.sound()
        elif speaker.quiet_s > limits.STOP_S:
            self._stream.cork(True)
        if self._written and playback.is_taken:
            # Asked for at once, for the answer wakes.
            self._stream.is_drained()

    def _patience(self, speaker: Speaker) -> float:
        """How many seconds there is nothing to do, unless somebody wakes."""
        return max(0.0, limits.CLOSE_S - speaker.quiet_s) if self._stream.corked else limits.STOP_S
