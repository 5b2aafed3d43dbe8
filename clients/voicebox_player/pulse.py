"""PulseAudio's client library, as much of it as one stream of sound takes. PipeWire speaks its protocol, so most Linux desktops have it.

No package that plays sound can take back what the sound server holds. Without that either little is buffered, and every delay is a hole
in the sound, or much, and a stop is heard late. The server itself gives back at once: a corked stream is silent and goes on where it was,
a flushed one forgets the rest, and what is written at an earlier place is played instead of what stood there.

One thread makes every call, and runs the library's loop in between; only `PulseStream.wake` may be called from any.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int64, c_long, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from voicebox_player.device import gone
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice

# Held by the server: more than a busy machine keeps a process waiting. A stop takes it back, so nobody hears how much it is.
BUFFER_MS = 250
# Asked for at once, and held by the hardware, which need not give it back.
REQUEST_MS = 20

_LIBRARY = "libpulse.so.0"
_WIDTH = 4
_FLOAT32LE = 5
_ANY = 0xFFFFFFFF
_NO_AUTOSPAWN = 1
_START_CORKED, _INTERPOLATE_TIMING, _AUTO_TIMING_UPDATE, _EARLY_REQUESTS = 0x1, 0x2, 0x8, 0x4000
_CONTEXT_READY, _STREAM_READY = 4, 2
_RUNNING = 0
_FROM_THE_END = 0
# A server answers in 2 ms; one that hangs must not hold a caller up who looks whether there is a device.
_ANSWER_S = 3.0

_UNDERFLOW = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)


class _SampleSpec(ctypes.Structure):
    _fields_ = (("format", c_int), ("rate", c_uint32), ("channels", c_uint8))


class _BufferAttr(ctypes.Structure):
    _fields_ = tuple((name, c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


class _TimingInfo(ctypes.Structure):
    """The beginning of it."""

    _fields_ = (
        *(("seconds", c_long), ("microseconds", c_long), ("synchronized_clocks", c_int)),
        *(("sink_usec", c_uint64), ("source_usec", c_uint64), ("transport_usec", c_uint64), ("playing", c_int)),
        *(("write_index_corrupt", c_int), ("write_index", c_int64)),
        *(("read_index_corrupt", c_int), ("read_index", c_int64)),
    )


class _SinkInfo(ctypes.Structure):
    """The beginning of it."""

    _fields_ = (("name", c_char_p), ("index", c_uint32), ("description", c_char_p))


_SINK_INFO = ctypes.CFUNCTYPE(None, c_void_p, POINTER(_SinkInfo), c_int, c_void_p)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "pa_strerror": (c_char_p, c_int),
    "pa_mainloop_new": (c_void_p,),
    "pa_mainloop_free": (None, c_void_p),
    "pa_mainloop_get_api": (c_void_p, c_void_p),
    "pa_mainloop_prepare": (c_int, c_void_p, c_int),
    "pa_mainloop_poll": (c_int, c_void_p),
    "pa_mainloop_dispatch": (c_int, c_void_p),
    "pa_mainloop_wakeup": (None, c_void_p),
    "pa_context_new": (c_void_p, c_void_p, c_char_p),
    "pa_context_connect": (c_int, c_void_p, c_char_p, c_int, c_void_p),
    "pa_context_get_state": (c_int, c_void_p),
    "pa_context_errno": (c_int, c_void_p),
    "pa_context_get_sink_info_by_name": (c_void_p, c_void_p, c_char_p, _SINK_INFO, c_void_p),
    "pa_context_disconnect": (None, c_void_p),
    "pa_context_unref": (None, c_void_p),
    "pa_stream_new": (c_void_p, c_void_p, c_char_p, POINTER(_SampleSpec), c_void_p),
    "pa_stream_connect_playback": (c_int, c_void_p, c_char_p, POINTER(_BufferAttr), c_int, c_void_p, c_void_p),
    "pa_stream_set_underflow_callback": (None, c_void_p, _UNDERFLOW, c_void_p),
    "pa_stream_get_state": (c_int, c_void_p),
    "pa_stream_get_device_name": (c_char_p, c_void_p),
    "pa_stream_writable_size": (c_size_t, c_void_p),
    "pa_stream_write": (c_int, c_void_p, c_char_p, c_size_t, c_void_p, c_int64, c_int),
    "pa_stream_cork": (c_void_p, c_void_p, c_int, c_void_p, c_void_p),
    "pa_stream_flush": (c_void_p, c_void_p, c_void_p, c_void_p),
    "pa_stream_drain": (c_void_p, c_void_p, c_void_p, c_void_p),
    "pa_stream_update_timing_info": (c_void_p, c_void_p, c_void_p, c_void_p),
    "pa_stream_get_timing_info": (POINTER(_TimingInfo), c_void_p),
    "pa_stream_get_latency": (c_int, c_void_p, POINTER(c_uint64), POINTER(c_int)),
    "pa_stream_disconnect": (c_int, c_void_p),
    "pa_stream_unref": (None, c_void_p),
    "pa_operation_get_state": (c_int, c_void_p),
    "pa_operation_unref": (None, c_void_p),
}


@cache
def library() -> ctypes.CDLL | None:
    """The library with its functions declared; None where it is not installed."""
    try:
        loaded = ctypes.CDLL(_LIBRARY)
        for name, (gives, *takes) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = gives, takes
    except (OSError, AttributeError):
        return None
    return loaded


class PulseStream:
    """Owns a connection to the sound server and a mono float32 stream on it, corked at first. All of it raises `NoAudioDevice` when
    either is lost."""

    def __init__(self, lib: ctypes.CDLL, rate: int, sink: str | None) -> None:
        """Play at the sink of that name, or wherever the user's sound goes, also when that changes."""
        self._lib = lib
        self._rate = rate
        self._corked = True
        self._draining: int | None = None
        self._underflows = 0
        self._context: int | None = None
        self._stream: int | None = None
        self._loop = lib.pa_mainloop_new()
        # Kept for as long as the library may call them.
        self._on_underflow = _UNDERFLOW(self._underflow)
        self._on_sink = _SINK_INFO(self._describe)
        self._description: str | None = None
        try:
            self._connect()
            self._open(sink)
        except NoAudioDevice:
            self.close()
            raise

    # --- the sound

    @property
    def room(self) -> int:
        """How many frames the server would take."""
        size = int(self._lib.pa_stream_writable_size(self._stream))
        return size // _WIDTH if size < _ANY else 0

    @property
    def unheard(self) -> int | None:
        """How many frames of those that the server has are still to be heard, about; None as long as it is not known."""
        known = self._lib.pa_stream_get_timing_info(self._stream)
        # The library counts on from what the server said last, also where that has not begun to play.
        if not known or not (known.contents.playing or self._corked):
            return None
        microseconds, is_negative = c_uint64(), c_int()
        failed = self._lib.pa_stream_get_latency(self._stream, ctypes.byref(microseconds), ctypes.byref(is_negative))
        if failed:
            return None
        return 0 if is_negative.value else microseconds.value * self._rate // 1_000_000

    def write(self, samples: Samples, back: int = 0) -> None:
        """Have these follow the last that were written; with `back`, begin so many frames before their end."""
        if not back:
            self._stop_draining()
        data = samples.tobytes()
        if self._lib.pa_stream_write(self._stream, data, len(data), None, -back * _WIDTH, _FROM_THE_END):
            raise gone(f" (PulseAudio: {self._why()})")

    def cork(self, corked: bool) -> None:
        """Be silent at once and keep what there is, or go on with the very next sample."""
        if corked != self._corked:
            self._let_go(self._lib.pa_stream_cork(self._stream, int(corked), None, None))
            self._corked = corked

    def flush(self) -> None:
        """Forget what was not heard."""
        self._let_go(self._lib.pa_stream_flush(self._stream, None, None))
        self._stop_draining()

    def is_drained(self) -> bool:
        """Whether all that was written has been heard; asks to be woken when it has."""
        if self._draining is None:
            self._draining = self._lib.pa_stream_drain(self._stream, None, None)
        if self._draining and self._lib.pa_operation_get_state(self._draining) == _RUNNING:
            return False
        self._stop_draining()
        return True

    def held(self) -> int:
        """How many frames the server has that were not heard: to the sample, for it is silent from now on."""
        self.cork(True)
        self._wait_for(self._lib.pa_stream_update_timing_info(self._stream, None, None))
        known = self._lib.pa_stream_get_timing_info(self._stream)
        return max(0, known.contents.write_index - known.contents.read_index) // _WIDTH if known else 0

    def underflows(self) -> int:
        """How often the server had nothing to play since this was asked last."""
        count, self._underflows = self._underflows, 0
        return count

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
        """Until there is room, or news of the stream, or somebody wakes; no longer than that."""
        lib = self._lib
        lib.pa_mainloop_prepare(self._loop, max(0, round(seconds * 1_000_000)))
        lib.pa_mainloop_poll(self._loop)
        lib.pa_mainloop_dispatch(self._loop)
        if lib.pa_stream_get_state(self._stream) != _STREAM_READY:
            raise gone(f" (PulseAudio: {self._why()})")

    def wake(self) -> None:
        """End the wait, from any thread."""
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
        if lib.pa_context_connect(self._context, None, _NO_AUTOSPAWN, None) < 0:
            raise self._lost()
        self._until(lambda: lib.pa_context_get_state(self._context) >= _CONTEXT_READY)
        if lib.pa_context_get_state(self._context) != _CONTEXT_READY:
            raise self._lost()

    def _open(self, sink: str | None) -> None:
        lib = self._lib
        form = _SampleSpec(_FLOAT32LE, self._rate, 1)
        self._stream = lib.pa_stream_new(self._context, b"speech", ctypes.byref(form), None)
        lib.pa_stream_set_underflow_callback(self._stream, self._on_underflow, None)
        # It plays from the first frame on, and where it runs dry it waits for the next.
        buffer = _BufferAttr(_ANY, self._bytes(BUFFER_MS), _WIDTH, self._bytes(REQUEST_MS), _ANY)
        flags = _START_CORKED | _INTERPOLATE_TIMING | _AUTO_TIMING_UPDATE | _EARLY_REQUESTS
        name = None if sink is None else sink.encode()
        if lib.pa_stream_connect_playback(self._stream, name, ctypes.byref(buffer), flags, None, None) < 0:
            raise self._lost()
        self._until(lambda: lib.pa_stream_get_state(self._stream) >= _STREAM_READY)
        if lib.pa_stream_get_state(self._stream) != _STREAM_READY:
            raise self._lost()

    def _bytes(self, milliseconds: int) -> int:
        return self._rate * milliseconds // 1000 * _WIDTH

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
                self._until(lambda: self._lib.pa_operation_get_state(operation) != _RUNNING)
            finally:
                self._let_go(operation)

    def _lost(self) -> NoAudioDevice:
        return NoAudioDevice(f"{NoAudioDevice.when()} (PulseAudio: {self._why()})")

    def _why(self) -> str:
        return str(self._lib.pa_strerror(self._lib.pa_context_errno(self._context)).decode(errors="replace"))

    def _let_go(self, operation: int | None) -> None:
        if operation:
            self._lib.pa_operation_unref(operation)

    def _stop_draining(self) -> None:
        self._let_go(self._draining)
        self._draining = None

    def _underflow(self, _stream: int, _data: int) -> None:
        self._underflows += 1

    def _describe(self, _context: int, sink: Any, end: int, _data: int) -> None:
        if not end and sink:
            self._description = (sink.contents.description or b"").decode(errors="replace")
