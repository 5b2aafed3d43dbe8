"""Text that is still being written: pulled from the caller's iterable in a thread of its own, while sound is read."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from voicebox_client import request

if TYPE_CHECKING:
    from voicebox_client.connection import Connection

PIECE = 16 * 1024
AHEAD = 4 * PIECE


class TextSource(Protocol):
    """Text that is still being written. `error` is what its source raised."""

    @property
    def error(self) -> BaseException | None: ...

    def take(self, room: int) -> tuple[bytes, bool]:
        """At most `room` bytes, in whole characters, and whether the text ends with them; see `error` before."""
        ...

    def stop(self) -> None:
        """Take no more from the source."""
        ...

    def rejoin(self, link: Connection) -> None:
        """Another connection's Speech takes it from now on."""
        ...


class Feeder:
    """Owns the bytes pulled but not yet sent, at most 64 KiB beyond the caller's last string, and the pulling thread.

    Whenever there is something new to take, one byte goes into `wake`, which the connection's poller watches. `error`
    is what the iterable raised.
    """

    def __init__(self, text: Iterable[str], wake: socket.socket) -> None:
        self._wake = wake
        self._changed = threading.Condition()
        self._waiting = bytearray()
        self._finished = False
        self._stopped = False
        self.error: BaseException | None = None
        # A daemon thread: it may sit in the caller's iterator, which nobody can interrupt.
        threading.Thread(target=self._pull, args=(text,), name="voicebox-text", daemon=True).start()

    def take(self, room: int) -> tuple[bytes, bool]:
        with self._changed:
            piece = cut(self._waiting, room)
            self._changed.notify()
            return piece, self._finished and not self._waiting

    def stop(self) -> None:
        """The thread leaves as soon as the iterable lets it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def rejoin(self, link: Connection) -> None:
        self._wake = link.waker()

    def _pull(self, text: Iterable[str]) -> None:
        error: BaseException | None = None
        try:
            for part in text:
                if not self._put(encoded(part)):
                    break
        except BaseException as raised:  # whatever it is, it belongs to the reader of the Speech
            error = raised
        with self._changed:
            self.error, self._finished = error, error is None
        self._signal()

    def _put(self, encoded: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._waiting) < AHEAD)
            self._waiting += encoded
            stopped = self._stopped
        self._signal()
        return not stopped

    def _signal(self) -> None:
        # A full pipe wakes the reader just as well, and a closed one has no reader any more.
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")


def encoded(part: str) -> bytes:
    """One string of a caller's iterable, as UTF-8. Raises `TypeError`, `InvalidText`."""
    if not isinstance(part, str):
        raise TypeError(f"text must be strings, not {type(part).__name__}")
    return request.encode(part)


def cut(waiting: bytearray, room: int) -> bytes:
    """Take from the beginning of `waiting` one piece of at most `room` bytes that does not end inside a character."""
    size = min(room, PIECE, len(waiting))
    while 0 < size < len(waiting) and waiting[size] & 0xC0 == 0x80:
        size -= 1
    piece = bytes(waiting[:size])
    del waiting[:size]
    return piece
