"""The user's `config.toml`: every value with its origin, and changes that leave the rest as it was written."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from voicebox_client import targets
from voicebox_protocol import configuration, places
from voicebox_protocol.errors import InvalidConfig


class Entry(NamedTuple):
    """One key. `value` is None where nothing is set; `origin` is file, or default if the file leaves the key out."""

    key: str
    value: Any
    origin: str


def entries() -> Iterator[Entry]:
    """Every key, with those of the providers that the file names. Raises `InvalidConfig`."""
    written, whole = _read()
    for table in [("daemon",), ("speech",), ("order",), *(("provider", name) for name in whole["provider"])]:
        for field in _inside(whole, table):
            yield _entry((*table, field), written, whole)


def entry(key: str) -> Entry:
    """One key. Raises `InvalidConfig` if there is none of this name, or the file has a mistake."""
    parts = configuration.split_key(key)
    written, whole = _read()
    if parts[0] == "provider":
        whole["provider"].setdefault(parts[1], msgspec.to_builtins(configuration.ProviderConfig()))
    return _entry(parts, written, whole)


def as_text(value: Any) -> str:
    """A value as it may be given to `change`; empty for none."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        value = table
    return str(tomlkit.item(value).as_string())


def from_text(text: str) -> Any:
    """A TOML value, or the text itself if it is none."""
    try:
        return tomlkit.value(text)
    except TOMLKitError:
        return text


def change(key: str, value: Any) -> None:
    """Set one key in the file, which is made if it is missing. Raises `InvalidConfig` and changes nothing if the outcome
    has a mistake, and `OutputFailed` if it cannot be written."""
    parts = configuration.split_key(key)
    path = places.config_file()
    write(path, _with(configuration.read(path), path, parts, value))


def remove(key: str) -> bool:
    """Take one key out of the file; False if it is not there. Raises as `change` does."""
    parts = configuration.split_key(key)
    path = places.config_file()
    text = configuration.read(path)
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise InvalidConfig(f"{path}: {error}; `voicebox config edit` opens it") from None
    table = _inside(document, parts[:-1])
    if table is None or parts[-1] not in table:
        return False
    del table[parts[-1]]
    write(path, tomlkit.dumps(document))
    return True


def write(path: Path, text: str) -> None:
    """Replace the file by one rename, its mode kept, if `text` has no mistake. Raises `InvalidConfig` or `OutputFailed`."""
    configuration.parse(text, path)
    with targets.naming(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
    target = targets.open_target(path)
    try:
        target.write(text.encode())
        target.commit()
    except BaseException:
        target.discard()
        raise


def _read() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the file says, and that with all defaults."""
    path = places.config_file()
    text = configuration.read(path)
    config = configuration.parse(text, path)
    return tomllib.loads(text), msgspec.to_builtins(config)


def _entry(parts: tuple[str, ...], written: dict[str, Any], whole: dict[str, Any]) -> Entry:
    origin = "default" if _inside(written, parts) is None else "file"
    return Entry(".".join(parts), _inside(whole, parts), origin)


def _inside(data: Any, parts: tuple[str, ...]) -> Any:
    """What lies below `parts`; None if there is nothing."""
    for part in parts:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _with(text: str, path: Path, parts: tuple[str, ...], value: Any) -> str:
    """The text with one value set, all else as it stands there."""
    try:
        document = tomlkit.parse(text)
        if _inside(document, parts[:-1]) is None:
            # At the end, where no comment that belongs to another table can come between.
            gap = "\n" * (bool(text) and not text.endswith("\n")) + "\n" * bool(text)
            document = tomlkit.parse(f"{text}{gap}[{'.'.join(parts[:-1])}]\n")
        table = functools.reduce(lambda inner, part: inner[part], parts[:-1], document)
        _put(table, parts[-1], value)
        return tomlkit.dumps(document)
    except (TOMLKitError, TypeError) as error:
        raise InvalidConfig(f"{path}: {error}; `voicebox config edit` opens it") from None


def _put(table: MutableMapping[str, Any], key: str, value: Any) -> None:
    """Set a key; a new one goes before the comments that end its table, for they speak of what follows."""
    if key in table or not isinstance(table, Table):
        table[key] = value
        return
    body, after = table.value.body, []
    while body and body[-1][0] is None:
        after.append(body.pop())
    table[key] = value
    body.extend(reversed(after))
