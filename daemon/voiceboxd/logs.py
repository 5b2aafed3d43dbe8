"""Structured logs: one JSON object a line, in a file that is rotated; in the foreground also readable lines on standard error.

Texts, prompts and file names of users are not logged: requests are named by id and length. A line costs a few microseconds;
the libraries for this that were tried cost every request ten times that, and every start 20 ms and a megabyte.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

FILE = "voiceboxd.log"
_SIZE = 2_000_000
_KEPT = 3

Entry: TypeAlias = dict[str, Any]

# Where entries go, from `set_up` on.
sinks: list[Callable[[Entry], None]] = []

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Log:
    """Says what happens: an event, and fields that tell it from others of its kind."""

    def info(self, event: str, **fields: Any) -> None:
        _tell("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        _tell("warning", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with the exception that is being handled."""
        _tell("error", event, {**fields, "exception": traceback.format_exc()})


log = Log()


def set_up(directory: Path, *, foreground: bool) -> Callable[[], None]:
    """Send everything that is logged from here on to `directory`/voiceboxd.log, what libraries log included. What is returned
    closes the file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = _File(directory / FILE)
    sinks[:] = [file.write, *([_show] if foreground else [])]
    root = logging.getLogger()
    root.handlers = [_Foreign()]
    root.setLevel(logging.INFO)
    return file.close


def _tell(level: str, event: str, fields: Entry) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entry = {"timestamp": now, "level": level, "event": event, **fields}
    for sink in sinks:
        sink(entry)


class _Foreign(logging.Handler):
    """Takes what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: Entry = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
        try:
            message = record.getMessage()
        except Exception:
            # A wrong format is its author's mistake, and no reason to fall over.
            message = str(record.msg)
        _tell(record.levelname.lower(), message, fields)


class _File:
    """Owns the file, and the last few that were full. One that cannot be written is done without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0

    def write(self, entry: Entry) -> None:
        """One line."""
        try:
            line = _encode(entry) + b"\n"
        except UnicodeEncodeError:
            line = _encode({name: _writable(value) for name, value in entry.items()}) + b"\n"
        with contextlib.suppress(OSError):
            if self._descriptor is not None and self._size + len(line) > _SIZE:
                self._rotate()
            descriptor = self._opened()
            self._size += os.write(descriptor, line)

    def close(self) -> None:
        """The daemon ends."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _rotate(self) -> None:
        self.close()
        for number in range(_KEPT, 0, -1):
            older = self._path.with_name(f"{FILE}.{number}")
            newer = self._path.with_name(f"{FILE}.{number - 1}") if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)


def _writable(value: Any) -> Any:
    """Half a character, as file names may hold, in a form that can be written."""
    return str(value).encode(errors="backslashreplace").decode()


def _show(entry: Entry) -> None:
    now, level, event = entry["timestamp"], entry["level"], entry["event"]
    fields = " ".join(
        f"{name}={value}" for name, value in entry.items() if name not in ("timestamp", "level", "event", "exception")
    )
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{now} [{level:<7}] {event:<24} {fields}\n{entry.get('exception', '')}")
        sys.stderr.flush()


def last_words(what: str) -> None:
    """Log the exception that is being handled, which nobody else will."""
    log.exception(what)
