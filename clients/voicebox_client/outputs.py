"""Sound files: the formats, and one file while it is written. `wav` and `pcm` are 16-bit little-endian PCM, mono."""

from __future__ import annotations

import os
import struct
from types import TracebackType

from voicebox_client import targets
from voicebox_client.pcm import Int16Converter
from voicebox_protocol.errors import BadFormat

FORMATS = ("wav", "pcm")
STANDARD_OUTPUT = 1

_WIDTH = 2
# What sox writes into a pipe and reads as "until the end", and what Python's `wave` and libsndfile read likewise.
_UNKNOWN = 0x7FFFF000


def format_for(path: str | os.PathLike[str], wanted: str | None) -> str:
    """The format of a file: the one asked for, else its suffix's, else wav. `BadFormat` if that is not known."""
    if wanted is not None:
        return _known(wanted, f"the format {wanted!r}")
    suffix = os.path.splitext(os.fspath(path))[1][1:].lower()  # noqa: PTH122
    if not suffix or not targets.is_ordinary(path):
        return "wav" if suffix not in FORMATS else suffix
    return _known(suffix, f"the suffix .{suffix}")


def _known(name: str, what: str) -> str:
    if name not in FORMATS:
        raise BadFormat(f"{what} is not known; the formats are {', '.join(FORMATS)}")
    return name


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


class Output:
    """One sound file while it is written, opened before the first sample; whole after `finish`, else gone.

    With `hold`, a target that cannot take back what was written gets each segment only once it is complete. Every
    method raises `OutputFailed`; its cause is the `OSError`.
    """

    def __init__(self, target: targets.Target, format: str, *, hold: bool = False) -> None:  # noqa: A002
        self._target = target
        self._wav = format == "wav"
        self._hold = hold and target.origin is None
        self._convert = Int16Converter()
        self._rate: int | None = None
        self._segment = 0
        self._frames = 0
        self._held = bytearray()
        self._open = True

    def write(self, data: bytes | bytearray | memoryview, *, sample_rate: int, start: int, segment: int = 0) -> None:
        """Float32 samples, which belong at frame `start` of the timeline and replace what was there."""
        self._begin(sample_rate)
        self._take_back(start)
        if segment != self._segment or not self._hold:
            self._let_go()
            self._segment = segment
        samples = self._convert(data)
        self._frames += len(samples) // _WIDTH
        if self._hold:
            self._held += samples
        else:
            self._target.write(samples)

    def finish(self, sample_rate: int, frames: int) -> None:
        """The timeline ends at `frames`: complete the file and put it in its place."""
        self._begin(sample_rate)
        self._take_back(frames)
        self._let_go()
        if self._wav:
            self._target.rewrite(wav_header(sample_rate, self._frames * _WIDTH))
        self._open = False
        try:
            self._target.commit()
        except BaseException:
            self._target.discard()
            raise

    def abandon(self) -> None:
        """Leave nothing of it behind, where that is possible. Harmless once finished."""
        if self._open:
            self._open = False
            self._target.discard()

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _begin(self, sample_rate: int) -> None:
        if self._rate is None:
            self._rate = sample_rate
            if self._wav:
                self._target.write(wav_header(sample_rate, None))

    def _take_back(self, start: int) -> None:
        """Frames from `start` on are void. A pipe whose caller chose not to hold keeps them: they have been heard."""
        surplus = _WIDTH * (self._frames - start)
        if surplus <= 0:
            return
        if self._held:
            del self._held[-min(surplus, len(self._held)) :]
        elif self._target.origin is not None:
            self._target.cut((len(wav_header(1, 0)) if self._wav else 0) + _WIDTH * start)
        self._frames = start

    def _let_go(self) -> None:
        if self._held:
            self._target.write(self._held)
            self._held.clear()


def create(path: str | os.PathLike[str], format: str | None = None, *, hold: bool = False) -> Output:  # noqa: A002
    """Open a sound file for writing. Raises `BadFormat`, or `OutputFailed` with the place and the reason."""
    chosen = format_for(path, format)
    return Output(targets.open_target(path), chosen, hold=hold)


def standard_output(format: str | None = None, *, hold: bool = False) -> Output:  # noqa: A002
    """A sound file that goes to standard output."""
    chosen = format_for("", format)
    return Output(targets.StandardTarget(STANDARD_OUTPUT, "standard output"), chosen, hold=hold)
