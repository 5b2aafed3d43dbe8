"""A whole speech at once: in memory, or in a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from voicebox_client import outputs
from voicebox_client.events import BYTES_PER_FRAME, Result

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


def collect(speech: Speech) -> Audio:
    """Read a speech to its end."""
    data = bytearray()
    for chunk in speech:
        del data[BYTES_PER_FRAME * chunk.start :]
        data += chunk.data
    result = _result(speech)
    del data[BYTES_PER_FRAME * result.frames :]
    return Audio(data, speech.accepted.sample_rate, result)


def save(speech: Speech, path: str | os.PathLike[str], format: str | None) -> Result:  # noqa: A002
    """Write a speech to a file as it comes."""
    with outputs.create(path, format, hold=speech.on_failure == "segment") as output:
        for chunk in speech:
            output.write(chunk.data, sample_rate=chunk.sample_rate, start=chunk.start, segment=chunk.segment)
        result = _result(speech)
        output.finish(speech.accepted.sample_rate, result.frames)
    return result


def _result(speech: Speech) -> Result:
    if speech.result is None:
        raise RuntimeError("the speech has not ended")
    return speech.result
