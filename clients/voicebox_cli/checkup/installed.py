"""The providers that are installed: as their files say, and as a daemon tells, where one answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voicebox_cli.checkup.facts import Provider
from voicebox_protocol import configuration, places
from voicebox_protocol.configuration import ProviderConfig
from voicebox_protocol.errors import InvalidConfig

_GROUP = "voicebox.engines"
_FILE = "provider.toml"


def on_disk() -> tuple[dict[str, ProviderConfig], str | None]:
    """What packages, `provider add`, `provider install` and the configuration brought; and what is wrong with the latter."""
    problem = None
    try:
        own = configuration.load(places.config_file()).provider
    except InvalidConfig as error:
        own, problem = {}, f"{error}; voicebox config edit"
    found = {name: ProviderConfig() for name in _announced()} | dict(_bundles())
    for name, changed in own.items():
        if name in found or changed.engine or changed.command:
            settings = {**found.get(name, changed).settings, **changed.settings}
            found[name] = _with_settings(found.get(name, changed), settings, enabled=changed.enabled)
    return {name: each for name, each in found.items() if each.enabled}, problem


def merged(files: Mapping[str, ProviderConfig], told: Sequence[Mapping[str, Any]]) -> Iterator[Provider]:
    """One entry for each. A daemon knows best; of what it does not tell (where one would run that is not loaded), the files do."""
    if not told:
        for name, own in sorted(files.items()):
            yield Provider(
                name, engine=own.engine or name, device=_device(own), model=_model(own), missing=_missing(own)
            )
    for each in told:
        own = files.get(each["id"], ProviderConfig())
        yield Provider(
            each["id"],
            state=each["state"],
            reason=each.get("reason"),
            engine=each.get("engine"),
            version=each.get("version"),
            device=each.get("device") or _device(own),
            model=_model(own),
            vram=each.get("vram_bytes"),
            missing=_missing(own),
        )


def _announced() -> Iterator[str]:
    """The engines of packages, without those that need an extra, which may not be there."""
    from importlib.metadata import entry_points

    return (point.name for point in entry_points(group=_GROUP) if not point.extras)


def _bundles() -> Iterator[tuple[str, ProviderConfig]]:
    for file in sorted(places.providers_dir().glob(f"*/{_FILE}")):
        if configuration.is_id(file.parent.name):
            try:
                yield file.parent.name, configuration.load_provider(file)
            except InvalidConfig:
                continue


def _with_settings(base: ProviderConfig, settings: dict[str, Any], *, enabled: bool) -> ProviderConfig:
    import msgspec

    return msgspec.structs.replace(base, settings=settings, enabled=enabled)


def _device(own: ProviderConfig) -> str | None:
    """Where it would run, by its settings."""
    named = own.settings.get("device")
    return str(named) if named else None


def _model(own: ProviderConfig) -> str | None:
    named = own.settings.get("model")
    return Path(str(named)).name if named else None


def _missing(own: ProviderConfig) -> str | None:
    """A file that it cannot do without."""
    model = own.settings.get("model")
    needed = [own.python, *(own.command or ())[:1]]
    if isinstance(model, str) and ("/" in model or "\\" in model):
        needed.append(str(Path(model).expanduser()))
    return next((path for path in needed if path and Path(path).is_absolute() and not Path(path).exists()), None)
