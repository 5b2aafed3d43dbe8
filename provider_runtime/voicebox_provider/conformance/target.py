"""What is on trial: from what the user named to the command and start line with which the daemon would start it."""

from __future__ import annotations

import os
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from voicebox_protocol import places
from voicebox_provider.engine_reference import GROUP, is_file


class Target(NamedTuple):
    """`engine` and `settings` go into the start line; `command` is what is started."""

    name: str
    command: list[str]
    engine: str = ""
    settings: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple's default, never changed)


def resolve(named: str) -> Target:
    """An installed provider's id, `FILE.py[:Class]`, `module[:Class]`, or a program. Raises `ValueError`."""
    table = _installed(named)
    if table is not None:
        return _from_table(named, table)
    source, _, name = named.rpartition(":")
    if is_file(named) or is_file(source):
        file, suffix = (named, "") if is_file(named) else (source, f":{name}")
        if not Path(file).is_file():
            raise ValueError(f"there is no file {file}")
        return Target(Path(file).stem, _runner(), str(Path(file).absolute()) + suffix)
    if Path(named).is_file():
        if not os.access(named, os.X_OK):
            raise ValueError(f"{named} is neither a Python file nor an executable program")
        return Target(Path(named).stem, [str(Path(named).absolute())])
    if os.sep in named:
        raise ValueError(f"there is no file {named}")
    return Target(named.replace(":", "-")[:64], _runner(), named)


def _runner() -> list[str]:
    return [sys.executable, "-m", "voicebox_provider"]


def _installed(provider: str) -> dict[str, Any] | None:
    """The table of an installed provider: from the configuration, its bundle, or its entry point."""
    configured = _table(places.config_file()).get("provider", {}).get(provider, {})
    bundle = places.providers_dir() / provider / "provider.toml"
    if configured.get("engine") or configured.get("command"):
        return dict(configured)
    if os.sep not in provider and bundle.is_file():
        own = _table(bundle)
        engine = str(own.get("engine", ""))
        if is_file(engine.partition(":")[0]):
            own["engine"] = str(bundle.parent / engine)
        return {**own, "settings": {**own.get("settings", {}), **configured.get("settings", {})}}
    if tuple(entry_points(group=GROUP, name=provider)):
        return {"engine": provider, "settings": configured.get("settings", {})}
    return None


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _from_table(name: str, table: dict[str, Any]) -> Target:
    return Target(name, table.get("command") or _runner(), table.get("engine") or "", table.get("settings") or {})
