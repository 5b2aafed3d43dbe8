"""Samples to the bytes of a file. `PlainEncoder`, for wav and pcm, lies here; the others load libsndfile on first use."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod

from voicebox_client.pcm import Int16Converter

_WIDTH = 2
# What sox writes into a pipe and reads as "until the end", and what Python's `wave` and libsndfile read likewise.
_UNKNOWN = 0x7FFFF000


class Encoder(ABC):
    """Owns what one file needs while it is written. Called in the order of the methods here; never waits for anybody.

    `width` is the size in bytes of one frame as `prepare` returns it.
    """

    width: int

    def load(self) -> None:  # noqa: B027 (most have nothing to load)
        """Import what takes long to import. Never has to be called; done early, it is no part of the first chunk's way."""

    @abstractmethod
    def begin(self, sample_rate: int) -> bytes:
        """The bytes before the first sample; `sample_rate` is in Hz."""

    @abstractmethod
    def prepare(self, data: bytes | bytearray | memoryview) -> bytes:
        """Float32 little-endian mono samples in the form that `encode` takes, of which a tail may still be cut."""

    @abstractmethod
    def encode(self, samples: bytes | bytearray) -> bytes | bytearray:
        """What can be written now that these samples have come."""

    @abstractmethod
    def size(self, frames: int) -> int | None:
        """Where to cut the file so that it holds so many frames; None if samples that were encoded stay."""

    @abstractmethod
    def end(self) -> bytes:
        """The bytes after the last sample. To be called even if nobody wants them: frees what the encoder holds."""

    @abstractmethod
    def corrections(self, frames: int) -> list[tuple[int, bytes]]:
        """What to write over, and at which byte, now that the file ends after so many frames."""


class PlainEncoder(Encoder):
    """16-bit little-endian PCM, mono, with the header of a wav file or without."""

    width = _WIDTH

    def __init__(self, *, header: bool) -> None:
        self._header = header
        self._rate = 0
        self._convert = Int16Converter()

    def begin(self, sample_rate: int) -> bytes:
        self._rate = sample_rate
        return wav_header(sample_rate, None) if self._header else b""

    def prepare(self, data: bytes | bytearray | memoryview) -> bytes:
        return self._convert(data)

    def encode(self, samples: bytes | bytearray) -> bytes | bytearray:
        return samples

    def size(self, frames: int) -> int:
        return (len(wav_header(1, 0)) if self._header else 0) + _WIDTH * frames

    def end(self) -> bytes:
        return b""

    def corrections(self, frames: int) -> list[tuple[int, bytes]]:
        return [(0, wav_header(self._rate, frames * _WIDTH))] if self._header else []


def encoder_for(format: str) -> Encoder:  # noqa: A002
    """A new encoder for one of `formats.FORMATS`."""
    if format in ("wav", "pcm"):
        return PlainEncoder(header=format == "wav")
    from voicebox_client.codec_encoder import CODECS, CodecEncoder

    return CodecEncoder(CODECS[format])


def wav_header(sample_rate: int, size: int | None) -> bytes:
    """The 44 bytes before `size` bytes of 16-bit mono samples, format tag 1; None where the size is not known yet.

    Layout: "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft, 1991), RIFF WAVE.
    """
    data = _UNKNOWN if size is None or size > _UNKNOWN else size
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + data,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        sample_rate,
        sample_rate * _WIDTH,
        _WIDTH,
        8 * _WIDTH,
        b"data",
        data,
    )
