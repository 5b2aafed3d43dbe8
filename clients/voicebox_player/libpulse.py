"""PulseAudio's client library, declared: as much of it as one stream of sound takes. Names and numbers are its own."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int64, c_long, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

SAMPLE_FLOAT32LE = 5
CONTEXT_NOAUTOSPAWN = 1
CONTEXT_READY, STREAM_READY = 4, 2
STREAM_START_CORKED, STREAM_INTERPOLATE_TIMING, STREAM_AUTO_TIMING_UPDATE, STREAM_EARLY_REQUESTS = 0x1, 0x2, 0x8, 0x4000
SEEK_RELATIVE = 0
OPERATION_RUNNING = 0
# Where a size is meant: whatever the server thinks best; and what it says instead of one when something is wrong.
ANY = 0xFFFFFFFF

_NAME = "libpulse.so.0"


class SampleSpec(ctypes.Structure):
    _fields_ = (("format", c_int), ("rate", c_uint32), ("channels", c_uint8))


class BufferAttr(ctypes.Structure):
    _fields_ = tuple((name, c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


class TimingInfo(ctypes.Structure):
    """The beginning of it."""

    _fields_ = (
        *(("seconds", c_long), ("microseconds", c_long), ("synchronized_clocks", c_int)),
        *(("sink_usec", c_uint64), ("source_usec", c_uint64), ("transport_usec", c_uint64), ("playing", c_int)),
        *(("write_index_corrupt", c_int), ("write_index", c_int64)),
        *(("read_index_corrupt", c_int), ("read_index", c_int64)),
    )


class SinkInfo(ctypes.Structure):
    """The beginning of it."""

    _fields_ = (("name", c_char_p), ("index", c_uint32), ("description", c_char_p))


SINK_INFO_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, POINTER(SinkInfo), c_int, c_void_p)

# What they give, and what they take.
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "pa_strerror": (c_char_p, c_int),
    "pa_mainloop_new": (c_void_p,),
    "pa_mainloop_free": (None, c_void_p),
    "pa_mainloop_get_api": (c_void_p, c_void_p),
    "pa_mainloop_prepare": (c_int, c_void_p, c_int),
    "pa_mainloop_dispatch": (c_int, c_void_p),
    "pa_mainloop_wakeup": (None, c_void_p),
    "pa_context_new": (c_void_p, c_void_p, c_char_p),
    "pa_context_get_state": (c_int, c_void_p),
    "pa_context_errno": (c_int, c_void_p),
    "pa_context_get_sink_info_by_name": (c_void_p, c_void_p, c_char_p, SINK_INFO_CALLBACK, c_void_p),
    "pa_context_disconnect": (None, c_void_p),
    "pa_context_unref": (None, c_void_p),
    "pa_stream_new": (c_void_p, c_void_p, c_char_p, POINTER(SampleSpec), c_void_p),
    "pa_stream_connect_playback": (c_int, c_void_p, c_char_p, POINTER(BufferAttr), c_int, c_void_p, c_void_p),
    "pa_stream_get_state": (c_int, c_void_p),
    "pa_stream_get_device_name": (c_char_p, c_void_p),
    "pa_stream_get_underflow_index": (c_int64, c_void_p),
    "pa_stream_writable_size": (c_size_t, c_void_p),
    "pa_stream_write": (c_int, c_void_p, c_char_p, c_size_t, c_void_p, c_int64, c_int),
    "pa_stream_cork": (c_void_p, c_void_p, c_int, c_void_p, c_void_p),
    "pa_stream_flush": (c_void_p, c_void_p, c_void_p, c_void_p),
    "pa_stream_drain": (c_void_p, c_void_p, c_void_p, c_void_p),
    "pa_stream_update_timing_info": (c_void_p, c_void_p, c_void_p, c_void_p),
    "pa_stream_get_timing_info": (POINTER(TimingInfo), c_void_p),
    "pa_stream_get_latency": (c_int, c_void_p, POINTER(c_uint64), POINTER(c_int)),
    "pa_stream_disconnect": (c_int, c_void_p),
    "pa_stream_unref": (None, c_void_p),
    "pa_operation_get_state": (c_int, c_void_p),
    "pa_operation_unref": (None, c_void_p),
}
# Those that may take long let other threads run meanwhile; to let go of the others' microseconds costs more than they take.
_SLOW: dict[str, tuple[Any, ...]] = {
    "pa_context_connect": (c_int, c_void_p, c_char_p, c_int, c_void_p),
    "pa_mainloop_poll": (c_int, c_void_p),
}


@cache
def library() -> Any:
    """The functions by their names; None where the library is not installed, or lays its structures out otherwise."""
    if ctypes.sizeof(c_void_p) < ctypes.sizeof(c_int64):
        return None
    try:
        quick, slow = ctypes.PyDLL(_NAME), ctypes.CDLL(_NAME)
        for functions, loaded in ((_FUNCTIONS, quick), (_SLOW, slow)):
            for name, (gives, *takes) in functions.items():
                function = getattr(loaded, name)
                function.restype, function.argtypes = gives, takes
                setattr(quick, name, function)
    except (OSError, AttributeError):
        return None
    return quick
