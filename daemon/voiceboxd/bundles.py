"""Bundles: directories of providers that were added, each with a `provider.toml` and, for an engine in a file, that file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from voicebox_protocol import configuration
from voicebox_protocol.configuration import ProviderConfig
from voicebox_protocol.errors import BadPlace, BadRequest, InvalidConfig

FILE = "provider.toml"

_STAGED = ".new-"
_ENGINE_FILE = re.compile(r"([^/\\:\0]{1,120}\.py)(:\w+)?")


def read(bundle: Path) -> ProviderConfig:
    """What a bundle says. An engine in a file of its own is named by its full path. Raises `InvalidConfig`."""
    found = configuration.load_provider(bundle / FILE)
    if found.engine and _ENGINE_FILE.fullmatch(found.engine):
        return msgspec.structs.replace(found, engine=str(bundle / found.engine))
    return found


def stage(directory: Path, provider: str, own: ProviderConfig, source: bytes) -> Path:
    """Write a bundle that is not in use yet, as `provider.toml` and `source`. Raises `BadRequest` or `BadPlace`."""
    staged = directory / f"{_STAGED}{provider}"
    file = _ENGINE_FILE.fullmatch(own.engine or "")
    if bool(file) != bool(source):
        raise BadRequest("engine is FILE.py, a bare name, exactly if the file itself comes with it")
    text = _as_toml(own)
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        (staged / FILE).write_text(text, encoding="utf-8")
        if file:
            (staged / file.group(1)).write_bytes(source)
    except UnicodeEncodeError:
        raise BadRequest("a path that is not UTF-8 cannot be kept") from None
    except OSError as error:
        discard(staged)
        raise BadPlace(f"cannot write {staged}: {error.strerror}") from None
    return staged


def settle(staged: Path, provider: str) -> Path:
    """Take a staged bundle into use; gives where it lies from now on. One that lies there is replaced by one rename, and has
    no file of its own. Raises `BadPlace`."""
    settled = staged.with_name(provider)
    try:
        if settled.exists():
            (staged / FILE).replace(settled / FILE)
            return settled
        return staged.rename(settled)
    except OSError as error:
        raise BadPlace(f"cannot make {settled}: {error.strerror}") from None


def sweep(directory: Path) -> None:
    """Delete what a daemon that died while it added something left behind."""
    for staged in directory.glob(f"{_STAGED}*"):
        discard(staged)


def discard(bundle: Path) -> None:
    """Delete a bundle, as far as it is there."""
    shutil.rmtree(bundle, ignore_errors=True)


def found(directory: Path) -> dict[str, ProviderConfig | InvalidConfig]:
    """Every bundle by id: what it says, or why it cannot be read."""
    bundles: dict[str, ProviderConfig | InvalidConfig] = {}
    for file in sorted(directory.glob(f"*/{FILE}")):
        name = file.parent.name
        if configuration.is_id(name):
            try:
                bundles[name] = read(file.parent)
            except InvalidConfig as error:
                bundles[name] = error
    return bundles


def _as_toml(own: ProviderConfig) -> str:
    wanted = {"engine": own.engine, "python": own.python, "command": own.command, "settings": own.settings}
    return "".join(f"{key} = {_value(value)}\n" for key, value in wanted.items() if value)


def _value(value: Any) -> str:
    """JSON's strings, numbers and truths are TOML's too, if all but control characters stand for themselves."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(str(key))} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str | int | float):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise BadRequest(f"settings hold {value!r}, which no configuration can")
