"""What a terminal shows while something takes long: what is waited for, and for how long already."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

import click

from voicebox_cli.tables import duration, printable

_EVERY_S = 1.0
_CLEAR = "\r\x1b[K"


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """While the block lasts, one line on standard error that is gone afterwards; nothing where that is no terminal."""
    if os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(printable(what), over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(what: str, over: threading.Event) -> None:
    began = time.monotonic()
    while not over.is_set():
        click.echo(f"{_CLEAR}{what}, {duration(time.monotonic() - began)}", nl=False, err=True)
        over.wait(_EVERY_S)
    click.echo(_CLEAR, nl=False, err=True)
