"""espeak-ng's C library, by ctypes: one fresh copy of it for each segment.

espeak-ng keeps state from one utterance to the next (the place in its pitch flutter, the phase of its generators), in static
variables that neither `espeak_Terminate` nor `espeak_Initialize` resets: the same text comes out some samples longer the
second time. A library that was unloaded and is loaded anew has forgotten all of it; that costs a few milliseconds.

Names and numbers are those of espeak-ng 1.52, `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from types import TracebackType
from typing import Any, NamedTuple

from voicebox_provider.engine import PermanentFault

SAMPLE_RATE = 22050
BYTES_PER_FRAME = 2

_SYNCHRONOUS = 2
_BUFFER_MS = 50
_DONT_EXIT = 0x8000
_UTF8 = 1
_END_PAUSE = 0x1000
_WORD = 1


class Parameter(IntEnum):
    """What `set` sets; each has a normal value."""

    RATE = 1
    VOLUME = 2
    PITCH = 3
    RANGE = 4


class Word(NamedTuple):
    """An event: the word at `position` (of `length` characters, counted from 0) begins at `frame` of its call."""

    frame: int
    position: int
    length: int


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class Library:
    """Owns a loaded copy of the library. There can be one at a time: a second would be the same copy."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        """`cancelled` is asked after every 50 ms of sound; once it says yes, `speak` returns with what it has."""
        from espeakng_loader import get_data_path, get_library_path

        self._cancelled = cancelled
        self._sound = bytearray()
        self._words: list[Word] = []
        self._callback = _Callback(self._take)
        self._library = ctypes.CDLL(get_library_path())
        data = get_data_path()
        if self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, os.fsencode(data), _DONT_EXIT) != SAMPLE_RATE:
            self.close()
            raise PermanentFault(f"espeak-ng cannot read its data in {data}; install it where the path is shorter")
        self._library.espeak_SetSynthCallback(self._callback)

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def voice(self, file: str) -> None:
        """Speak with the voice of this file, a path below `espeak-ng-data/lang`."""
        self._check(self._library.espeak_SetVoiceByName(file.encode()), "voice")

    def set(self, parameter: Parameter, value: int) -> None:
        """Set one parameter; call it after `voice`."""
        self._check(self._library.espeak_SetParameter(parameter, value, 0), "parameter")

    def speak(self, text: str, *, pause: bool) -> tuple[bytes, list[Word]]:
        """The text as 16 bit samples, and its words. With `pause` as long a one follows as after a sentence."""
        self._sound, self._words = bytearray(), []
        encoded = text.encode() + b"\0"
        flags = _UTF8 | (_END_PAUSE if pause else 0)
        self._check(self._library.espeak_Synth(encoded, len(encoded), 0, 1, 0, flags, None, None), "text")
        return bytes(self._sound), self._words

    def close(self) -> None:
        """Unload the library, and with it all that it remembers."""
        self._library.espeak_Terminate()
        _unload(self._library)

    def _take(self, samples: int | None, count: int, events: Any) -> int:
        """Called by espeak with each buffer that it has filled; 1 makes it stop."""
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == _WORD:
                self._words.append(Word(event.sample, event.text_position - 1, event.length))
            index += 1
        if samples and count:
            self._sound += ctypes.string_at(samples, count * BYTES_PER_FRAME)
        return int(self._cancelled())

    def _check(self, status: int, what: str) -> None:
        if status:
            raise RuntimeError(f"espeak-ng refused a {what} with status {status}")


def _unload(library: ctypes.CDLL) -> None:
    if sys.platform == "win32":
        ctypes.windll.kernel32.FreeLibrary(ctypes.c_void_p(library._handle))
    else:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
