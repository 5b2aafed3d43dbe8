"""A wav file of 48 kHz mono float32 that grows while it can be read: its header is valid after every block."""

from __future__ import annotations

import os
import struct

_FLOAT = 3
_WIDTH = 4
# RIFF, fmt with the length of its extension, fact, data: the sizes and the count of frames change as it grows.
_HEADER = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")
_MOST = 2**32 - 1


class WaveFile:
    """Owns the open file. What lies beyond `frames` of an existing one is cut off; silence takes no room on most disks."""

    def __init__(self, path: str, rate: int, frames: int = 0) -> None:
        """Go on with the file after so many frames, from its beginning on if 0. Raises `OSError`."""
        self._rate = rate
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.frames = min(frames, max(0, os.fstat(self._file).st_size - _HEADER.size) // _WIDTH)
            os.truncate(self._file, _HEADER.size + self.frames * _WIDTH)
            self._write_header()
        except OSError:
            self.close()
            raise

    def append(self, samples: bytes | memoryview) -> None:
        """Append samples, float32 little-endian."""
        data = memoryview(samples).cast("B")
        at = self._end
        while data:
            written = os.pwrite(self._file, data, at)
            at, data = at + written, data[written:]
        self.frames = (at - _HEADER.size) // _WIDTH
        self._write_header()

    def silence(self, frames: int) -> None:
        """Append so many frames of it."""
        os.truncate(self._file, self._end + frames * _WIDTH)
        self.frames += frames
        self._write_header()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    @property
    def _end(self) -> int:
        return _HEADER.size + self.frames * _WIDTH

    def _write_header(self) -> None:
        # One that outgrows its own sizes is read to its end.
        size = min(self.frames * _WIDTH, _MOST - _HEADER.size)
        os.pwrite(
            self._file,
            _HEADER.pack(
                *(b"RIFF", _HEADER.size - 8 + size, b"WAVE"),
                *(b"fmt ", 18, _FLOAT, 1, self._rate, self._rate * _WIDTH, _WIDTH, 8 * _WIDTH, 0),
                *(b"fact", 4, min(self.frames, _MOST)),
                *(b"data", size),
            ),
            0,
        )
