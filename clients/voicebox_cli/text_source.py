"""The words of `say`: an argument, or a file or standard input, which are spoken while they are still being written."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterator

import click

from voicebox_protocol import wire
from voicebox_protocol.errors import InvalidText, TextTooLong

_READ = 16 * 1024
_STDIN = 0


def choose(text: str | None, file: str | None) -> str | Iterator[str]:
    """The text, or its pieces as they come; a usage error where neither or both are given."""
    if text is not None and file is not None:
        raise click.UsageError("give TEXT or -f FILE, not both")
    if file is not None:
        return _read_file(file)
    if text is not None and text != "-":
        return text
    if text is None and sys.stdin.isatty():
        raise click.UsageError("nothing to say: give TEXT, -f FILE, or - for standard input")
    return pieces(_STDIN)


def whole(source: str | Iterator[str]) -> str:
    """All of it, for a request that is spoken without us; `TextTooLong` for more than one holds."""
    if isinstance(source, str):
        return source
    text = ""
    for piece in source:
        text += piece
        if len(text) > wire.MAX_TEXT:
            raise TextTooLong(f"with --no-wait a text has at most {wire.MAX_TEXT} bytes: leave that out")
    return text


def _read_file(file: str) -> Iterator[str]:
    if file == "-":
        return pieces(_STDIN)
    try:
        if os.path.isdir(file):  # noqa: PTH112
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    return _closing(descriptor)


def _closing(descriptor: int) -> Iterator[str]:
    try:
        yield from pieces(descriptor)
    finally:
        os.close(descriptor)


def pieces(descriptor: int) -> Iterator[str]:
    """UTF-8 from a descriptor, as it comes, less a byte order mark; `InvalidText` names the byte that is none.

    Read without Python's buffers: a thread that waits in one of these would hold up the end of the program.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, first = 0, True
    while True:
        data = os.read(descriptor, _READ)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InvalidText(f"the text is not UTF-8 at byte {offset - pending + error.start}") from None
        offset += len(data)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text
        if not data:
            return
