"""Whether there is room for what is about to be fetched, asked before any of it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import click


class NoRoom(click.ClickException):
    """The disk has too little room. The message has the numbers."""

    exit_code = 1


def check(place: Path, needed: int, what: str) -> int:
    """The free bytes where `place` will be. Raises `NoRoom` if they are fewer than `needed`."""
    there = next(each for each in (place, *place.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise NoRoom(f"{what} takes about {size(needed)}, and {there} has {size(free)} left")
    return free


def size(count: int) -> str:
    """Bytes in the unit that fits, as disks are sold."""
    if count < 1_000_000:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"
