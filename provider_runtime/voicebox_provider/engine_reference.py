"""From the start line's `engine` to an engine: an installed one's name, a module, `module:Class` or `FILE.py[:Class]`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from voicebox_provider.engine import Engine, PermanentFault

GROUP = "voicebox.engines"

_SUFFIX = ".py"


def make_engine(reference: str, settings: Mapping[str, Any]) -> Engine:
    """The engine, made with the settings that are its own.

    Without a class a module or file is searched for the one subclass of `Engine` that it defines. The setting `path` (a
    list of directories) says where else to import from. Raises `PermanentFault` if there is no such engine or it cannot
    be imported; whatever its constructor raises goes through.
    """
    own = dict(settings)
    _extend_path(own.pop("path", []))
    return _found(reference)(own)


def _found(reference: str) -> type[Engine]:
    points = tuple(entry_points(group=GROUP, name=reference))
    source, name = (points[0].module, points[0].attr) if points else _split(reference)
    if not (points or name or is_file(source) or _is_module(source)):
        names = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
        raise PermanentFault(f"no engine {reference!r} is installed; there are: {names}")
    try:
        module = _load_file(Path(source)) if is_file(source) else importlib.import_module(source)
        found = attrgetter(name)(module) if name else _only_engine(module)
    except PermanentFault:
        raise
    except Exception as error:
        raise PermanentFault(f"the engine {reference} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise PermanentFault(f"{reference} is no subclass of voicebox_provider.Engine")
    return found


def is_file(source: str) -> bool:
    """Whether a reference without its class names a file."""
    return source.endswith(_SUFFIX)


def _split(reference: str) -> tuple[str, str]:
    """The module or file, and the class or nothing."""
    source, colon, name = reference.rpartition(":")
    return (source, name) if colon and not is_file(reference) else (reference, "")


def _extend_path(paths: Any) -> None:
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise PermanentFault(f"the setting `path` is {paths!r}; it takes a list of directories")
    sys.path[:0] = paths
    importlib.invalidate_caches()


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _load_file(path: Path) -> ModuleType:
    # Under a name that no other module has: a file called numpy.py must not stand in for numpy.
    spec = importlib.util.spec_from_file_location(f"voicebox_engine_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PermanentFault(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _only_engine(module: ModuleType) -> type[Engine]:
    public = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    values = [getattr(module, name) for name in public]
    engines = {
        value for value in values if isinstance(value, type) and issubclass(value, Engine) and value is not Engine
    }
    own = [engine for engine in engines if engine.__module__ == module.__name__] or list(engines)
    if len(own) != 1:
        names = ", ".join(sorted(engine.__name__ for engine in own)) or "none"
        raise PermanentFault(f"{module.__name__} has to hold one subclass of Engine, or say which; it holds: {names}")
    return own[0]
