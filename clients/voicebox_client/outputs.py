"""One sound file while it is written: which samples belong in it, and when they can no longer be taken back."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType

from voicebox_client import targets
from voicebox_client.encoders import encoder_for
from voicebox_client.formats import format_for
from voicebox_protocol.errors import VoiceboxError

STANDARD_OUTPUT = 1


class Output:
    """One sound file while it is written, opened before the first sample; whole after `finish`, else gone.

    With `hold`, a target or format that cannot take back what was written gets each segment only once it is complete;
    an encoded file that nobody sees before it is whole always does. Every method raises `OutputFailed`; its cause is
    the `OSError`.
    """

    def __init__(self, target: targets.Target, format: str, *, hold: bool = False) -> None:  # noqa: A002
        self._target = target
        self._encoder = encoder_for(format)
        self._cuts = target.origin is not None and self._encoder.size(0) is not None
        self._hold = not self._cuts and (hold or target.origin is not None)
        self._rate: int | None = None
        self._segment = 0
        self._frames = 0
        self._held = bytearray()
        self._open = True

    def load(self) -> None:
        """Import what the format needs: best called while the first samples are still being made."""
        self._encoder.load()

    def write(self, data: bytes | bytearray | memoryview, *, sample_rate: int, start: int, segment: int = 0) -> None:
        """Float32 samples, which belong at frame `start` of the timeline and replace what was there."""
        self._begin(sample_rate)
        self._take_back(start)
        if segment != self._segment or not self._hold:
            self._let_go()
            self._segment = segment
        samples = self._encoder.prepare(data)
        self._frames += len(samples) // self._encoder.width
        if self._hold:
            self._held += samples
        else:
            self._target.write(self._encoder.encode(samples))

    def finish(self, sample_rate: int, frames: int) -> None:
        """The timeline ends at `frames`: complete the file and put it in its place."""
        self._begin(sample_rate)
        self._take_back(frames)
        self._let_go()
        self._target.write(self._encoder.end())
        self._correct()
        self._open = False
        try:
            self._target.commit()
        except BaseException:
            self._target.discard()
            raise

    def abandon(self) -> None:
        """Leave nothing of it behind; where that is not possible, what can be decoded. Harmless once finished."""
        if not self._open:
            return
        self._open = False
        rest = self._encoder.end()
        if self._rate is not None and self._target.stays:
            self._target.offer(rest)
            with contextlib.suppress(VoiceboxError):
                self._correct()
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
            self._target.write(self._encoder.begin(sample_rate))

    def _take_back(self, start: int) -> None:
        """Frames from `start` on are void. A pipe whose caller chose not to hold keeps them: they have been heard."""
        surplus = self._encoder.width * (self._frames - start)
        if surplus <= 0:
            return
        if self._held:
            del self._held[-min(surplus, len(self._held)) :]
        elif self._cuts and (size := self._encoder.size(start)) is not None:
            self._target.cut(size)
        self._frames = start

    def _let_go(self) -> None:
        if self._held:
            self._target.write(self._encoder.encode(self._held))
            self._held.clear()

    def _correct(self) -> None:
        if self._target.origin is not None:
            for at, data in self._encoder.corrections(self._frames):
                self._target.rewrite(data, at)


def create(path: str | os.PathLike[str], format: str | None = None, *, hold: bool = False) -> Output:  # noqa: A002
    """Open a sound file for writing. Raises `BadFormat`, or `OutputFailed` with the place and the reason."""
    chosen = format_for(path, format)
    return Output(targets.open_target(path), chosen, hold=hold)


def standard_output(format: str | None = None, *, hold: bool = False) -> Output:  # noqa: A002
    """A sound file that goes to standard output."""
    chosen = format_for("", format)
    return Output(targets.StandardTarget(STANDARD_OUTPUT, "standard output"), chosen, hold=hold)
