"""flac, mp3 and opus, by libsndfile. Nothing heavy is imported before `load`, `begin` or the first samples."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from voicebox_client.encoders import Encoder
from voicebox_client.pcm import Int16Converter

# sndfile.h. libsndfile gathers a second of Opus in each Ogg page unless it is told to hurry.
_SFC_SET_OGG_PAGE_LATENCY_MS = 0x1302
_PAGE_MS = 50.0


class Codec(NamedTuple):
    """One format: libsndfile's names for it, the rates in Hz that it is confined to, and its settings."""

    container: str
    subtype: str
    lossless: bool
    rates: tuple[int, ...]
    settings: dict[str, Any]


_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)

# mp3 has a constant rate (80 kbit/s at 24 kHz): whoever reads a stream guesses its length from it. At 40 kbit/s and less
# there would be no room for the header that tells how much of the sound is padding. opus varies around 85 kbit/s.
CODECS = {
    "flac": Codec("FLAC", "PCM_16", True, (), {}),
    "mp3": Codec("MP3", "MPEG_LAYER_III", False, _MP3_RATES, {"compression_level": 0.5, "bitrate_mode": "CONSTANT"}),
    "opus": Codec("OGG", "OPUS", False, _OPUS_RATES, {"compression_level": 0.7}),
}


class CodecEncoder(Encoder):
    """Owns one libsndfile encoder. A rate that its format has not is resampled to the next higher one that it has."""

    def __init__(self, codec: Codec) -> None:
        self.width = 2 if codec.lossless else 4
        self._codec = codec
        self._convert = Int16Converter()
        self._drain = _Drain()
        self._file: Any = None
        self._resampler: Any = None
        self._encoded = False

    def load(self) -> None:
        import soundfile  # noqa: F401

    def begin(self, sample_rate: int) -> bytes:
        import soundfile

        codec, rate = self._codec, _fitting(sample_rate, self._codec.rates)
        if rate != sample_rate:
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, rate, 1, dtype="float32")
        self._file = soundfile.SoundFile(
            self._drain, "w", rate, 1, codec.subtype, format=codec.container, **codec.settings
        )
        if codec.container == "OGG":
            _hurry(self._file)
        return self._drain.take()

    def prepare(self, data: bytes | bytearray | memoryview) -> bytes:
        return self._convert(data) if self._codec.lossless else bytes(data)

    def encode(self, samples: bytes | bytearray) -> bytes | bytearray:
        self._put(samples, last=False)
        return self._drain.take()

    def size(self, frames: int) -> int | None:  # noqa: ARG002
        return None

    def end(self) -> bytes:
        if self._file is None:
            return b""
        if self._resampler is not None:
            self._put(b"", last=True)
        if not self._encoded:  # none of the three can be read without a single sample
            self._file.buffer_write(bytes(self.width), self._sample_type)
        file, self._file = self._file, None
        file.close()
        return self._drain.take()

    def corrections(self, frames: int) -> list[tuple[int, bytes]]:  # noqa: ARG002
        return self._drain.corrections

    @property
    def _sample_type(self) -> str:
        return "int16" if self._codec.lossless else "float32"

    def _put(self, samples: bytes | bytearray, *, last: bool) -> None:
        data: Any = samples
        if not self._codec.lossless:
            data = self._floats(samples, last=last).tobytes()
        if data:
            self._encoded = True
            self._file.buffer_write(bytes(data), self._sample_type)

    def _floats(self, samples: bytes | bytearray, *, last: bool) -> Any:
        """The samples as numbers that an encoder can take, at its rate."""
        import numpy as np

        data = np.clip(np.nan_to_num(np.frombuffer(samples, "<f4"), nan=0.0), -1.0, 1.0)
        return data if self._resampler is None else self._resampler.resample_chunk(data, last=last)


def _fitting(rate: int, rates: tuple[int, ...]) -> int:
    """The rate to encode at: itself if there is no choice to make, else the next of `rates`, else the highest."""
    if not rates:
        return rate
    return next((one for one in rates if one >= rate), rates[-1])


def _hurry(file: Any) -> None:
    """Have Ogg pages closed early. soundfile passes few of libsndfile's commands on: this one only through its insides."""
    import soundfile

    soundfile._snd.sf_command(file._file, _SFC_SET_OGG_PAGE_LATENCY_MS, soundfile._ffi.new("double *", _PAGE_MS), 8)


class _Drain(io.RawIOBase):
    """What libsndfile takes for a file: owns the bytes that were written since `take`, and what was written over before.

    Never raises: an exception in here would be printed by cffi and then forgotten.
    """

    def __init__(self) -> None:
        self.corrections: list[tuple[int, bytes]] = []
        self._taken = 0
        self._fresh = bytearray()
        self._at = 0

    def take(self) -> bytes:
        """The bytes that have come since."""
        fresh = bytes(self._fresh)
        self._taken += len(fresh)
        self._fresh.clear()
        return fresh

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._taken + len(self._fresh))[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        """Append, or note what was written over, or write over what has not been taken yet."""
        old, at = max(0, min(len(data), self._taken - self._at)), max(0, self._at - self._taken)
        if old:
            self.corrections.append((self._at, bytes(data[:old])))
        self._fresh[at : at + len(data) - old] = data[old:]
        self._at += len(data)
        return len(data)
