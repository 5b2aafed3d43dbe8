"""`say -o`: the sound goes to a file, a pipe or standard output."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from voicebox_client import Accepted, Chunk, Result, outputs, targets

STANDARD_OUTPUT = "-"


class FileOutlet:
    """Owns the output, opened before anything is asked of the daemon; leaves no half file."""

    def __init__(self, path: str, format: str | None, on_failure: str | None) -> None:  # noqa: A002
        self.place: str | None = path
        self.detached = False
        whole = path != STANDARD_OUTPUT and targets.is_ordinary(path)
        on_failure = on_failure or ("segment" if whole else "next")
        self.fields: dict[str, Any] = {"on_failure": on_failure}
        hold = on_failure == "segment"
        if path == STANDARD_OUTPUT:
            self._output = outputs.standard_output(format, hold=hold)
        else:
            self._output = outputs.create(path, format, hold=hold)

    def __enter__(self) -> FileOutlet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.abandon()

    def load(self) -> None:
        """What the format needs: the daemon works meanwhile."""
        self._output.load()

    def write(self, chunk: Chunk) -> None:
        """Write a chunk where it belongs."""
        self._output.write(chunk.data, sample_rate=chunk.sample_rate, start=chunk.start, segment=chunk.segment)

    def finish(self, accepted: Accepted, result: Result) -> None:
        """The speech is whole, and so is the file."""
        self._output.finish(accepted.sample_rate, result.frames)
