"""A recording as the wire takes it: from a file of any kind that libsndfile reads, or from samples. numpy comes in with the first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from voicebox_protocol import wire
from voicebox_protocol.errors import BadReference, BadRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# What engines listen at; more would only be more to carry.
_MOST_RATE = 24_000
_LEAST_RATE = 8_000
_HIGHEST_RATE = 192_000


class Recording(NamedTuple):
    """Samples, float32 little-endian mono, and their rate in Hz."""

    audio: bytes
    sample_rate: int


def read(audio: Any, sample_rate: int | None = None) -> Recording:
    """A recording from a path, or from samples with their rate: a sequence or array of shape (frames,) or (frames, channels).

    Channels are mixed down, and rates above 24 kHz are brought to that. Raises `BadReference` for what is no audio, shorter than 1 s or
    longer than 60 s, and `BadRequest` for arguments that make no sense.
    """
    if isinstance(audio, str | os.PathLike):
        if sample_rate is not None:
            raise BadRequest("sample_rate goes with samples: a file has its own")
        samples, rate = _from_file(os.fspath(audio))
        what = str(os.fspath(audio))
    else:
        samples, rate = _from_samples(audio, sample_rate)
        what = "the recording"
    _check_length(what, len(samples) if samples.size else 0, rate)
    mono = _mono(samples)
    _check_numbers(what, mono)
    return Recording(_at_most(mono, rate).astype("<f4").tobytes(), min(rate, _MOST_RATE))


def _from_file(path: str) -> tuple[npt.NDArray[np.float32], int]:
    import soundfile

    if not os.path.isfile(path):  # noqa: PTH113 (no pathlib)
        raise BadReference(f"there is no file {path}")
    try:
        with soundfile.SoundFile(path) as file:
            _check_length(path, file.frames, file.samplerate)
            return file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise BadReference(f"{path} is no audio file that can be read (wav, flac, mp3, ogg): {_why(error)}") from None


def _from_samples(audio: Any, sample_rate: int | None) -> tuple[npt.NDArray[np.float32], int]:
    import numpy as np

    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int):
        raise BadRequest("samples need their sample_rate, a whole number of Hz")
    try:
        samples = np.asarray(audio)
        if samples.dtype.kind not in "fiu" or samples.ndim not in (1, 2):
            raise BadReference(f"an array of {samples.dtype} with {samples.ndim} dimensions holds no samples")
    except ValueError as error:
        raise BadReference(f"these are no samples: {error}") from None
    if samples.dtype.kind != "f":
        raise BadReference("samples are floats from -1 to 1; divide whole numbers by their largest value")
    return (samples[:, None] if samples.ndim == 1 else samples).astype(np.float32), sample_rate


def _check_length(what: str, frames: int, rate: int) -> None:
    if not _LEAST_RATE <= rate <= _HIGHEST_RATE:
        raise BadReference(f"{what} has a sample rate of {rate} Hz; it takes {_LEAST_RATE} to {_HIGHEST_RATE}")
    shortest, longest = wire.REFERENCE_S
    if not frames:
        raise BadReference(f"{what} is empty")
    if frames < shortest * rate:
        raise BadReference(
            f"{what} lasts {frames / rate:.2f} s; at least {shortest} s are needed, and 5 to 15 s are best"
        )
    if frames > longest * rate:
        raise BadReference(f"{what} lasts {frames / rate:.1f} s; at most {longest} s are taken, and 5 to 15 s are best")


def _check_numbers(what: str, samples: npt.NDArray[np.float32]) -> None:
    import numpy as np

    if not np.isfinite(samples).all():
        raise BadReference(f"{what} holds samples that are no numbers (NaN or infinite)")
    if not samples.any():
        raise BadReference(f"{what} is silent")


def _mono(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    mono: npt.NDArray[np.float32] = samples.mean(axis=1, dtype="float32") if samples.shape[1] > 1 else samples[:, 0]
    return mono


def _at_most(samples: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    if rate <= _MOST_RATE:
        return samples.clip(-1.0, 1.0)
    import soxr

    resampled: npt.NDArray[np.float32] = soxr.resample(samples, rate, _MOST_RATE, quality="VHQ")
    # A filter may overshoot, and 60 s must not become a frame more.
    return resampled[: wire.REFERENCE_S[1] * _MOST_RATE].clip(-1.0, 1.0)


def _why(error: Exception) -> str:
    """libsndfile's words, less the path, which it repeats."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
