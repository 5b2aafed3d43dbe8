"""From the start line's `engine` to an engine: the name of an installed one, or `module:Class`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from voicebox_provider.engine import Engine, PermanentFault

GROUP = "voicebox.engines"


def make_engine(reference: str, settings: Mapping[str, Any]) -> Engine:
    """The engine, made with the settings that are its own.

    For `module:Class` the setting `path` (a list of directories) says where else to import from. Raises `PermanentFault`
    if there is no such engine or it cannot be imported; whatever its constructor raises goes through.
    """
    own = dict(settings)
    paths = own.pop("path", [])
    if ":" in reference:
        _extend_path(paths)
        return _engine_class(EntryPoint(name=reference, value=reference, group=GROUP))(own)
    found = tuple(entry_points(group=GROUP, name=reference))
    if not found:
        names = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
        raise PermanentFault(f"no engine {reference!r} is installed; there are: {names}")
    return _engine_class(found[0])(own)


def _extend_path(paths: Any) -> None:
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise PermanentFault(f"the setting `path` is {paths!r}; it takes a list of directories")
    sys.path[:0] = paths
    importlib.invalidate_caches()


def _engine_class(entry: EntryPoint) -> type[Engine]:
    try:
        found = entry.load()
    except Exception as error:
        raise PermanentFault(f"the engine {entry.value} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise PermanentFault(f"{entry.value} is no subclass of voicebox_provider.Engine")
    return found
