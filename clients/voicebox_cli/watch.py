"""`voicebox status --watch`: looks at the daemon again and again, whether one is there or not."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, Protocol, Self

import click

from voicebox_cli.status_text import status_lines
from voicebox_cli.tables import printable, show_json
from voicebox_client import Voicebox
from voicebox_protocol.errors import DaemonError, VoiceboxError

# A daemon that does not answer for this long is shown as none.
_ANSWER_S = 3.0


class View(Protocol):
    """Where what was seen goes: entered before the first look, left at the end, however that comes."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: Any) -> None: ...

    def show(self, found: dict[str, Any] | VoiceboxError) -> None:
        """The daemon's status, or why there is none."""


def watch(interval: float, *, as_json: bool) -> int:
    """Look every `interval` seconds until somebody ends it; the exit code."""
    # To be killed in order as well: a terminal must not be left as the table needs it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Voicebox(autostart=False, timeout=_ANSWER_S) as box, _view(interval, as_json) as view:
            while True:
                began = time.monotonic()
                view.show(_look(box))
                time.sleep(max(0.0, began + interval - time.monotonic()))
    except KeyboardInterrupt:
        return 0


def absence(error: VoiceboxError) -> str:
    """Why there is nothing to show, in a line."""
    return f"{'no daemon' if isinstance(error, DaemonError) else 'no answer'} ({printable(error)})"


def _look(box: Voicebox) -> dict[str, Any] | VoiceboxError:
    try:
        return box.status()
    except VoiceboxError as error:
        return error


def _view(interval: float, as_json: bool) -> View:
    if as_json:
        return _JsonLines()
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return _Snapshots()
    from voicebox_cli.watch_table import Table

    return Table(interval)


class _JsonLines:
    """One object a line; while there is no daemon, `daemon` is null and `error` says why."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

    def show(self, found: dict[str, Any] | VoiceboxError) -> None:
        if isinstance(found, VoiceboxError):
            found = {"daemon": None, "error": {"code": found.code, "message": str(found)}}
        show_json(found)


class _Snapshots:
    """What `voicebox status` prints, and an empty line after it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

    def show(self, found: dict[str, Any] | VoiceboxError) -> None:
        lines = [absence(found)] if isinstance(found, VoiceboxError) else status_lines(found)
        click.echo("\n".join([*lines, ""]))
