"""A whole speech at once: in memory, or in a file."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from voicebox_client import outputs
from voicebox_client.events import BYTES_PER_FRAME, Chunk, Result

if TYPE_CHECKING:
    import numpy as np

    from voicebox_client.speech import Speech


class Audio(NamedTuple):
    """Sound in memory: `data` holds float32 little-endian mono samples, -1..1, at `sample_rate` Hz."""

    data: bytearray
    sample_rate: int
    result: Result

    @property
    def frames(self) -> int:
        """How many samples there are."""
        return len(self.data) // BYTES_PER_FRAME

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.frames / self.sample_rate

    def as_array(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The samples as a numpy array of shape (frames,), sharing this memory."""
        import numpy as np

        return np.frombuffer(self.data, dtype="<f4")

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> None:  # noqa: A002
        """Write a file, as `Speech.save` does."""
        with outputs.create(path, format) as output:
            output.write(self.data, sample_rate=self.sample_rate, start=0)
            output.finish(self.sample_rate, self.frames)


class Gathering:
    """Owns the sound of one speech while it is collected."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, chunk: Chunk) -> None:
        """Put a chunk where it belongs."""
        del self._data[BYTES_PER_FRAME * chunk.start :]
        self._data += chunk.data

    def audio(self, speech: Speech) -> Audio:
        """What there is, now that the speech has ended."""
        result = speech.ending()
        del self._data[BYTES_PER_FRAME * result.frames :]
        return Audio(self._data, speech.accepted.sample_rate, result)


def collect(speech: Speech) -> Audio:
    """Read a speech to its end."""
    gathering = Gathering()
    for chunk in speech:
        gathering.add(chunk)
    return gathering.audio(speech)


def save(speech: Speech, path: str | os.PathLike[str], format: str | None) -> Result:  # noqa: A002
    """Write a speech to a file as it comes."""
    with outputs.create(path, format, hold=speech.on_failure == "segment") as output:
        output.load()
        for chunk in speech:
            _write(output, chunk)
        result = speech.ending()
        output.finish(speech.accepted.sample_rate, result.frames)
    return result


class Writing:
    """Owns a file that worker threads write one after the other, though whoever waited for them may have left."""

    def __init__(self, path: str | os.PathLike[str], format: str | None, *, hold: bool) -> None:  # noqa: A002
        self._create = partial(outputs.create, path, format, hold=hold)
        self._using = threading.Lock()
        self._over = False
        self._output: outputs.Output | None = None

    def open(self) -> None:
        """Open the file, and load what its format needs."""
        with self._using:
            if not self._over:
                self._output = self._create()
                self._output.load()

    def write(self, chunk: Chunk) -> None:
        """Write a chunk where it belongs."""
        with self._using:
            if self._output is not None and not self._over:
                _write(self._output, chunk)

    def finish(self, sample_rate: int, frames: int) -> None:
        """Complete the file."""
        with self._using:
            if self._output is not None and not self._over:
                self._output.finish(sample_rate, frames)

    def abandon(self) -> None:
        """Leave nothing behind; harmless once finished."""
        self._over = True
        with self._using:
            if self._output is not None:
                self._output.abandon()


def _write(output: outputs.Output, chunk: Chunk) -> None:
    output.write(chunk.data, sample_rate=chunk.sample_rate, start=chunk.start, segment=chunk.segment)
