"""A stream of sound at PulseAudio. PipeWire speaks its protocol, so most Linux desktops have it.

No package that plays sound can take back what the sound server holds. Without that either little is buffered, and every delay is a hole
in the sound, or much, and a stop is heard late. The server itself gives back at once: a corked stream is silent and goes on where it was,
a flushed one forgets the rest, and what is written at an earlier place is played instead of what stood there.

One thread makes every call, and runs the library's loop in between; only `PulseStream.wake` may be called from any.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from ctypes import c_int, c_uint64
from typing import Any

from voicebox_player import libpulse
from voicebox_player.device import gone
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice

# Held by the server: more than a busy machine keeps a process waiting. A stop takes it back, so nobody hears how much it is.
BUFFER_MS = 1000
# Asked for at once, and held by the hardware, which need not give it back.
REQUEST_MS = 20

_WIDTH = 4
# A server answers in 2 ms; one that hangs must not hold a caller up who looks whether there is a device.
_ANSWER_S = 3.0


class PulseStream:
    """Owns a connection to the sound server and a mono float32 stream on it, corked at first. All of it raises `NoAudioDevice` when
    either is lost."""

    def __init__(self, lib: Any, rate: int, sink: str | None) -> None:
        """Play at the sink of that name, or wherever the user's sound goes, also when that changes. Raises `ConnectionRefusedError` where
        there is no PulseAudio."""
        self._lib = lib
        self._rate = rate
        self.corked = True
        self._roused = False
        self._draining: int | None = None
        self._ran_dry = -1
        self._context: int | None = None
        self._stream: int | None = None
        # Kept for as long as the library may call it.
        self._on_sink = libpulse.SINK_INFO_CALLBACK(self._describe)
        self._description: str | None = None
        self._loop = lib.pa_mainloop_new()
        if not self._loop:
            raise NoAudioDevice(f"{NoAudioDevice.when()} (out of descriptors)")
        try:
            self._connect()
            self._open(sink)
        except (NoAudioDevice, ConnectionRefusedError):
            self.close()
            raise

    # --- the sound

    @property
    def room(self) -> int:
        """How many frames the server would take."""
        size = int(self._lib.pa_stream_writable_size(self._stream))
        return size // _WIDTH if size < libpulse.ANY else 0

    @property
    def unheard(self) -> int | None:
        """How many frames of those that the server has are still to be heard, about; None as long as it is not known."""
        known = self._timing()
        # The library counts on from what the server said last, also where that has not begun to play.
        if known is None or not (known.playing or self.corked):
            return None
        microseconds, is_negative = c_uint64(), c_int()
        failed = self._lib.pa_stream_get_latency(self._stream, ctypes.byref(microseconds), ctypes.byref(is_negative))
        if failed:
            return None
        return 0 if is_negative.value else microseconds.value * self._rate // 1_000_000

    def written_since_dry(self) -> int | None:
        """If the server has run dry since this was asked last, how many frames were written after those that it had by then."""
        at = int(self._lib.pa_stream_get_underflow_index(self._stream))
        if at == self._ran_dry or (known := self._timing()) is None or known.write_index_corrupt:
            return None
        self._ran_dry = at
        return max(0, int(known.write_index) - at) // _WIDTH

    def write(self, samples: Samples, back: int = 0) -> None:
        """Have these follow the last that were written; with `back`, begin so many frames before their end."""
        if not back:
            self._stop_draining()
        data = samples.tobytes()
        if self._lib.pa_stream_write(self._stream, data, len(data), None, -back * _WIDTH, libpulse.SEEK_RELATIVE):
            raise gone(f" (PulseAudio: {self._why()})")

    def cork(self, corked: bool) -> None:
        """Be silent at once and keep what there is, or go on with the very next sample."""
        if corked != self.corked:
            self._let_go(self._lib.pa_stream_cork(self._stream, int(corked), None, None))
            self.corked = corked

    def flush(self) -> None:
        """Forget what was not heard."""
        self._let_go(self._lib.pa_stream_flush(self._stream, None, None))
        self._stop_draining()

    def is_drained(self) -> bool:
        """Whether all that was written has been heard; asks to be woken when it has."""
        if self._draining is None:
            self._draining = self._lib.pa_stream_drain(self._stream, None, None)
        if self._draining and self._lib.pa_operation_get_state(self._draining) == libpulse.OPERATION_RUNNING:
            return False
        self._stop_draining()
        return True

    def held(self) -> int:
        """How many frames the server has that were not heard: to the sample, for it is silent from now on."""
        self.cork(True)
        self._wait_for(self._lib.pa_stream_update_timing_info(self._stream, None, None))
        known = self._timing()
        return 0 if known is None else max(0, known.write_index - known.read_index) // _WIDTH

    @property
    def sink(self) -> bytes:
        """The name of the sink where it is played now."""
        return self._lib.pa_stream_get_device_name(self._stream) or b""

    def description(self, sink: bytes) -> str | None:
        """What the server calls that sink towards its user."""
        self._description = None
        self._wait_for(self._lib.pa_context_get_sink_info_by_name(self._context, sink, self._on_sink, None))
        return self._description

    # --- the loop

    def wait(self, seconds: float) -> None:
        """Until there is room, or news of the stream, or somebody has called `wake` since the last wait; no longer than that."""
        lib = self._lib
        lib.pa_mainloop_prepare(self._loop, max(0, round(seconds * 1_000_000)))
        # To prepare is to forget who woke before.
        if self._roused:
            lib.pa_mainloop_wakeup(self._loop)
        lib.pa_mainloop_poll(self._loop)
        lib.pa_mainloop_dispatch(self._loop)
        self._roused = False
        if lib.pa_stream_get_state(self._stream) != libpulse.STREAM_READY:
            raise gone(f" (PulseAudio: {self._why()})")

    def wake(self) -> None:
        """End the wait, or the next one, from any thread. What there is to see can be seen before this is called."""
        self._roused = True
        self._lib.pa_mainloop_wakeup(self._loop)

    def close(self) -> None:
        """Let go of it all."""
        lib = self._lib
        self._stop_draining()
        if self._stream:
            lib.pa_stream_disconnect(self._stream)
            lib.pa_stream_unref(self._stream)
        if self._context:
            lib.pa_context_disconnect(self._context)
            lib.pa_context_unref(self._context)
        lib.pa_mainloop_free(self._loop)

    # --- its own

    def _connect(self) -> None:
        lib = self._lib
        self._context = lib.pa_context_new(lib.pa_mainloop_get_api(self._loop), b"voicebox")
        failed = lib.pa_context_connect(self._context, None, libpulse.CONTEXT_NOAUTOSPAWN, None) < 0
        if not failed:
            self._until(lambda: lib.pa_context_get_state(self._context) >= libpulse.CONTEXT_READY)
        if lib.pa_context_get_state(self._context) != libpulse.CONTEXT_READY:
            raise ConnectionRefusedError(f"PulseAudio: {self._why()}")

    def _open(self, sink: str | None) -> None:
        lib = self._lib
        form = libpulse.SampleSpec(libpulse.SAMPLE_FLOAT32LE, self._rate, 1)
        self._stream = lib.pa_stream_new(self._context, b"speech", ctypes.byref(form), None)
        # It plays from the first frame on, and where it runs dry it waits for the next.
        buffer = libpulse.BufferAttr(
            libpulse.ANY, self._bytes(BUFFER_MS), _WIDTH, self._bytes(REQUEST_MS), libpulse.ANY
        )
        flags = libpulse.STREAM_START_CORKED | libpulse.STREAM_INTERPOLATE_TIMING
        flags |= libpulse.STREAM_AUTO_TIMING_UPDATE | libpulse.STREAM_EARLY_REQUESTS
        name = None if sink is None else sink.encode()
        if lib.pa_stream_connect_playback(self._stream, name, ctypes.byref(buffer), flags, None, None) < 0:
            raise NoAudioDevice(self._none())
        self._until(lambda: lib.pa_stream_get_state(self._stream) >= libpulse.STREAM_READY)
        if lib.pa_stream_get_state(self._stream) != libpulse.STREAM_READY:
            raise NoAudioDevice(self._none())

    def _bytes(self, milliseconds: int) -> int:
        return self._rate * milliseconds // 1000 * _WIDTH

    def _timing(self) -> libpulse.TimingInfo | None:
        known = self._lib.pa_stream_get_timing_info(self._stream)
        return known.contents if known else None

    def _until(self, met: Callable[[], bool]) -> None:
        lib, end = self._lib, time.monotonic() + _ANSWER_S
        while not met():
            if (left := end - time.monotonic()) <= 0:
                raise NoAudioDevice(f"{NoAudioDevice.when()} (PulseAudio gave no answer within {_ANSWER_S:g} s)")
            lib.pa_mainloop_prepare(self._loop, round(left * 1_000_000))
            lib.pa_mainloop_poll(self._loop)
            lib.pa_mainloop_dispatch(self._loop)

    def _wait_for(self, operation: int | None) -> None:
        if operation:
            try:
                self._until(lambda: self._lib.pa_operation_get_state(operation) != libpulse.OPERATION_RUNNING)
            finally:
                self._let_go(operation)

    def _none(self) -> str:
        return f"{NoAudioDevice.when()} (PulseAudio: {self._why()})"

    def _why(self) -> str:
        return str(self._lib.pa_strerror(self._lib.pa_context_errno(self._context)).decode(errors="replace"))

    def _let_go(self, operation: int | None) -> None:
        if operation:
            self._lib.pa_operation_unref(operation)

    def _stop_draining(self) -> None:
        self._let_go(self._draining)
        self._draining = None

    def _describe(self, _context: int, sink: Any, end: int, _data: int) -> None:
        if not end and sink:
            self._description = (sink.contents.description or b"").decode(errors="replace")
