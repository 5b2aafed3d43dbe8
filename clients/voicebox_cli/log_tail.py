"""The end of a log that is still being written, and may be rotated away while it is read."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click

from voicebox_cli.main import complain
from voicebox_protocol import places

_LOOK_EVERY_S = 0.2


def of_daemon() -> Path:
    """Where the daemon logs."""
    return places.log_dir() / "voiceboxd.log"


def of_provider(provider: str) -> Path:
    """Where what a provider's process writes is kept."""
    return places.log_dir() / f"provider-{provider}.log"


def show(path: Path, lines: int, *, follow: bool) -> int:
    """Print the end of a log; the exit code."""
    if not path.is_file():
        complain(f"there is no log yet at {path}")
        return 1
    for line in read(path, lines, follow=follow):
        click.echo(line, nl=False)
        sys.stdout.flush()
    return 0


def read(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """The last lines of a file; with `follow`, what comes after them, in it and in its successors, for ever."""
    wanted: int | None = lines
    while True:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from deque(file, maxlen=wanted)
            if not follow:
                return
            while not _rotated(path, file.fileno()):
                yield from file
                time.sleep(_LOOK_EVERY_S)
            yield from file
        wanted = None


def _rotated(path: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:  # between the old file's rename and the new one's first line
        return False
