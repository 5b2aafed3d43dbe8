"""Which models there are on this machine: directories of ours, and notes of where others lie."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from voicebox_cli.install import environments
from voicebox_protocol import places
from voicebox_protocol.errors import BadPlace, BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NOTE = ".toml"
_STAGED = ".new-"


class Model(NamedTuple):
    """One that is known: its files are `own` if they were fetched, and go with it."""

    name: str
    directory: Path
    own: bool


def known() -> dict[str, Model]:
    """Every model by name."""
    found: dict[str, Model] = {}
    if not places.models_dir().is_dir():
        return found
    for entry in sorted(places.models_dir().iterdir()):
        if entry.is_dir() and _NAME.fullmatch(entry.name):
            found[entry.name] = Model(entry.name, entry, own=True)
        elif entry.suffix == _NOTE and _NAME.fullmatch(entry.stem) and (place := _noted(entry)):
            found.setdefault(entry.stem, Model(entry.stem, place, own=False))
    return found


def name_of(target: str, chosen: str | None) -> str:
    """How a repository or directory is known: by its last part, unless a name was chosen. Raises `BadRequest`."""
    name = (
        chosen
        if chosen is not None
        else Path(target).absolute().resolve().name
        if is_place(target)
        else target.split("/")[-1]
    )
    if not _NAME.fullmatch(name) or name.endswith(_NOTE):
        raise BadRequest(f"{name!r} is no name of a model; give one of letters, digits, . _ and - with --name")
    return name


def is_place(target: str) -> bool:
    """Whether a directory is meant, there or not, rather than a repository."""
    return Path(target).expanduser().is_dir() or not _REPO.fullmatch(target)


def note(name: str, directory: Path) -> None:
    """Know a directory where it lies. Raises `BadPlace`."""
    file = places.models_dir() / f"{name}{_NOTE}"
    half = file.with_name(f"{_STAGED}{name}{_NOTE}")
    line = json.dumps(str(directory), ensure_ascii=False).replace("\x7f", "\\u007f")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(f"directory = {line}\n", encoding="utf-8")
        half.replace(file)
    except (OSError, UnicodeEncodeError) as error:
        raise BadPlace(f"cannot write {file}: {error}") from None


def place_for(name: str) -> Path:
    """Where the files of a model lie that was fetched, or copied there by hand."""
    return places.models_dir() / name


def staged_for(name: str) -> Path:
    """Where they are fetched to; what an interrupted one left is gone on with."""
    return places.models_dir() / f"{_STAGED}{name}"


def lock() -> Path:
    """The file whose lock is held while a model is added or removed."""
    return places.models_dir() / ".lock"


def forget(model: Model) -> None:
    """Know it no more; files of ours are deleted."""
    environments.discard(staged_for(model.name))
    if model.own:
        environments.discard(model.directory)
    (places.models_dir() / f"{model.name}{_NOTE}").unlink(missing_ok=True)


def _noted(file: Path) -> Path | None:
    try:
        return Path(str(tomllib.loads(file.read_text(encoding="utf-8"))["directory"]))
    except (OSError, ValueError, KeyError):
        return None
