"""The engines that installed packages announce, read off the files that installers write beside each package.

`importlib.metadata` would say the same, for 2 MB of the daemon's memory and a tenth of its start: it loads a mail reader for
the sake of three lines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GROUP = "voicebox.engines"

# What installers write, and what some systems' packages still have instead.
_SUFFIXES = (".dist-info", ".egg-info")
_ENTRY = re.compile(r"([\w-]+)\s*=\s*[^\[#]+(?:\[([^\]]*)\])?\s*")
_OF_EXTRA = re.compile(r"""([\w.-]+)[^;]*;\s*extra\s*==\s*['"]([\w.-]+)['"]\s*""")


class Announced(NamedTuple):
    """An engine's entry point: its name, and the package, with its version, that brings it."""

    name: str
    package: str


class _Package(NamedTuple):
    name: str
    version: str
    requires: list[str]


def engines() -> Iterator[Announced]:
    """Every engine whose package is complete: an entry point may name an extra, whose packages have to be here."""
    places = _places()
    for place in places.values():
        lines = _section(place / "entry_points.txt")
        if not lines:
            continue
        package = _package(place)
        for line in lines:
            found = _ENTRY.fullmatch(line)
            if found is None:
                continue
            extras = [extra.strip() for extra in (found[2] or "").split(",") if extra.strip()]
            if all(name in places for extra in extras for name in _wanted(package.requires, extra)):
                yield Announced(found[1], f"{package.name} {package.version}")


def _places() -> dict[str, Path]:
    """Where each installed package says what it is, by its normal name; the first on the path counts."""
    found: dict[str, Path] = {}
    for directory in dict.fromkeys(sys.path):
        try:
            places = sorted(place for place in Path(directory or ".").iterdir() if place.suffix in _SUFFIXES)
        except OSError:
            continue
        for place in places:
            found.setdefault(_normal(place.stem.partition("-")[0]), place)
    return found


def _section(path: Path) -> list[str]:
    """The lines of our group in a file of entry points."""
    lines: list[str] = []
    ours = False
    for line in _read(path).splitlines():
        text = line.strip()
        if text.startswith("["):
            ours = text == f"[{GROUP}]"
        elif ours and text and not text.startswith("#"):
            lines.append(text)
    return lines


def _package(place: Path) -> _Package:
    """From the head of its METADATA, or PKG-INFO, which is written like a mail's."""
    head = (_read(place / "METADATA") or _read(place / "PKG-INFO")).partition("\n\n")[0].splitlines()
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head)]
    known = dict(fields)
    named, _, numbered = place.stem.partition("-")
    requires = [value for name, value in fields if name == "requires-dist"]
    return _Package(known.get("name", named), known.get("version", numbered), requires)


def _wanted(requires: list[str], extra: str) -> Iterator[str]:
    """The normal names of the packages that an extra asks for."""
    for line in requires:
        plain = _OF_EXTRA.fullmatch(line)
        if plain is not None:
            if _normal(plain[2]) == _normal(extra):
                yield _normal(plain[1])
        elif "extra" in line:
            # Rare, and not worth its loading elsewhere: an extra together with another condition.
            from packaging.requirements import Requirement

            wanted = Requirement(line)
            if wanted.marker and wanted.marker.evaluate({"extra": extra}) and not wanted.marker.evaluate({"extra": ""}):
                yield _normal(wanted.name)


def _normal(name: str) -> str:
    """Names that installers take for the same are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
