"""What people read: tables, sizes and times, with nothing in them that a terminal would obey."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def printable(value: object) -> str:
    """Text for one line of a terminal; control characters become question marks, None a dash."""
    return "-" if value is None else "".join(sign if sign.isprintable() else "?" for sign in str(value))


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    for line in table_lines(headings, rows):
        click.echo(line)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The headings and each row as a line: columns as wide as their widest cell, two spaces apart."""
    cells = [[heading.upper() for heading in headings], *([printable(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def show_json(value: Any, *, err: bool = False) -> None:
    """One JSON value on one line."""
    click.echo(json.dumps(value), err=err)


def megabytes(size: int | None) -> str | None:
    """Bytes, in MB."""
    return None if size is None else f"{size / 1e6:.0f} MB"


def duration(seconds: float | None) -> str | None:
    """Seconds, in the two largest units that fit."""
    if seconds is None:
        return None
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d" * bool(days), f"{hours} h" * bool(hours), f"{minutes} min" * bool(minutes), f"{rest} s"]
    return " ".join([part for part in parts if part][:2])
