"""Environments of engines: built beside the one in use, taken into use by name, swept away when nobody names them any more."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

from voicebox_cli.install.recipes import package
from voicebox_protocol import configuration, places
from voicebox_protocol.configuration import ProviderConfig
from voicebox_protocol.errors import BadPlace, InvalidConfig

_OURS = ("voicebox_protocol", "voicebox_provider")
_LOCK = "lock"
_CACHE = "cache"


def directory(provider: str) -> Path:
    """Where the environments of one provider lie."""
    return places.environments_dir() / provider


def lock(provider: str) -> Path:
    """The file whose lock an install of it holds."""
    return directory(provider) / _LOCK


def cache(provider: str) -> Path:
    """What a uv of ours fetched for an install that is not done yet."""
    return directory(provider) / _CACHE


def installed(provider: str) -> ProviderConfig | None:
    """What the daemon keeps of a provider, or None if it keeps nothing that can be read."""
    try:
        return configuration.load_provider(places.providers_dir() / provider / "provider.toml")
    except InvalidConfig:
        return None


def stage(provider: str) -> Path:
    """A new directory for an environment, which nobody uses yet. Raises `BadPlace`."""
    staged = directory(provider) / secrets.token_hex(4)
    try:
        staged.mkdir(parents=True)
    except OSError as error:
        raise BadPlace(f"cannot make {staged}: {error.strerror}") from None
    return staged


def sweep(provider: str) -> None:
    """Delete what an install left that was interrupted, and what another took the place of. The lock has to be held."""
    used = installed(provider)
    for build in directory(provider).glob("*/"):
        if build.name == _CACHE:
            continue
        if used is None or used.python is None or build not in Path(used.python).parents:
            discard(build)


def remove(provider: str) -> None:
    """Delete all environments of a provider that is not there any more. The lock has to be held."""
    discard(directory(provider))


def discard(build: Path) -> None:
    """Delete a directory, as far as it is there."""
    shutil.rmtree(build, ignore_errors=True)


def python_of(build: Path) -> Path:
    """The interpreter of an environment."""
    return build / "Scripts" / "python.exe" if sys.platform == "win32" else build / "bin" / "python"


def put_runtime(build: Path) -> None:
    """Copy our runtime into an environment, from where it is installed here. Raises `BadPlace`."""
    (site,) = [build / "Lib" / "site-packages"] if os.name == "nt" else build.glob("lib/python*/site-packages")
    try:
        for name in _OURS:
            shutil.copytree(package(name), site / name, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise BadPlace(f"cannot copy our runtime to {site}: {error}") from None
