"""What is installed: engines that announce themselves by entry point, bundles, and what the configuration adds."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import NamedTuple

import msgspec

from voicebox_protocol.configuration import Config, ProviderConfig
from voicebox_protocol.errors import InvalidConfig
from voiceboxd import bundles
from voiceboxd.logs import log

GROUP = "voicebox.engines"
BUNDLE = "provider add"
CONFIG = "config"


class Installed(NamedTuple):
    """One provider that can be started. `source` says where it was found: package name and version, `BUNDLE`, `CONFIG`."""

    id: str
    config: ProviderConfig
    source: str


def installed(config: Config, providers_dir: Path) -> dict[str, Installed]:
    """Every enabled provider by id. The configuration may change one that a package or bundle brought, or disable it."""
    found: dict[str, Installed] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        if not _satisfied(point):
            continue
        changed = config.provider.get(point.name, ProviderConfig())
        if not changed.command and not changed.engine:
            changed.engine = point.name
        source = f"{point.dist.name} {point.dist.version}" if point.dist else "package"
        found[point.name] = Installed(point.name, changed, source)
    for name, own in config.provider.items():
        if name not in found and (own.engine or own.command):
            found[name] = Installed(name, own, CONFIG)
    for name, bundle in bundles.found(providers_dir).items():
        if isinstance(bundle, InvalidConfig):
            log.warning("bundle", provider=name, reason=str(bundle))
        elif name not in found:
            found[name] = Installed(name, _changed(bundle, config.provider.get(name)), BUNDLE)
    return {name: entry for name, entry in sorted(found.items()) if entry.config.enabled}


def _changed(bundle: ProviderConfig, own: ProviderConfig | None) -> ProviderConfig:
    """What a bundle says, with the deadlines and settings that the user's configuration gives it."""
    if own is None:
        return bundle
    settings = {**bundle.settings, **own.settings}
    return msgspec.structs.replace(own, engine=bundle.engine, command=bundle.command, settings=settings)


def _satisfied(point: importlib.metadata.EntryPoint) -> bool:
    """Whether the packages are here that an engine's extra asks for: `name = "module:Class [extra]"`."""
    if not point.extras or point.dist is None:
        return True
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in point.dist.requires or ()]
    return all(
        _is_installed(requirement.name)
        for requirement in wanted
        for extra in point.extras
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    )


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
