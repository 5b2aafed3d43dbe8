"""From what the user named to what the daemon is asked to install."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click

GROUP = "voicebox.engines"

_SUFFIX = ".py"
_LONGEST_ID = 32


class Wanted(NamedTuple):
    """One provider to install: an engine, with the file that holds it if it names one, or a program."""

    id: str
    engine: str | None = None
    program: str | None = None
    source: bytes | None = None


def wanted(target: str, provider_id: str | None) -> list[Wanted]:
    """`FILE.py[:Class]`, a program, an installed package with engines, `module[:Class]`. Raises a usage error."""
    source, colon, name = target.rpartition(":")
    if target.endswith(_SUFFIX):
        return [_file(Path(target), "", provider_id)]
    if colon and source.endswith(_SUFFIX):
        return [_file(Path(source), colon + name, provider_id)]
    path = Path(target)
    if path.is_file() or os.sep in target:
        return [_program(path, provider_id)]
    announced = _announced(target)
    if announced and provider_id is not None:
        raise click.UsageError(f"{target} brings its own names: {', '.join(announced)}; leave out --id")
    if announced:
        return [Wanted(each, engine=each) for each in announced]
    return [Wanted(provider_id or _id(target.partition(":")[0].partition(".")[0]), engine=target)]


def _file(path: Path, suffix: str, provider_id: str | None) -> Wanted:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    if not source:
        raise click.UsageError(f"{path} is empty")
    return Wanted(provider_id or _id(path.stem), engine=path.name + suffix, source=source)


def _program(path: Path, provider_id: str | None) -> Wanted:
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    if not os.access(path, os.X_OK):
        raise click.UsageError(f"{path} is neither a Python file nor an executable program")
    return Wanted(provider_id or _id(path.stem), program=str(path.absolute()))


def _announced(package: str) -> list[str]:
    """The engines that an installed distribution announces."""
    try:
        found = metadata.distribution(package).entry_points
    except (metadata.PackageNotFoundError, ValueError):
        return []
    return sorted(point.name for point in found if point.group == GROUP)


def _id(name: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:_LONGEST_ID]
    if not plain:
        raise click.UsageError(f"{name!r} makes no id; give one with --id")
    return plain
