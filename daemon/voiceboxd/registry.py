"""What is installed: engines that announce themselves by entry point, bundles, and what the configuration adds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from voicebox_protocol.configuration import Config, ProviderConfig
from voicebox_protocol.errors import InvalidConfig
from voiceboxd import announced, bundles
from voiceboxd.logs import log

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
    for engine in announced.engines():
        own = config.provider.get(engine.name, ProviderConfig())
        if not own.command and not own.engine:
            own.engine = engine.name
        found[engine.name] = Installed(engine.name, own, engine.package)
    for name, own in config.provider.items():
        if name not in found and (own.engine or own.command):
            found[name] = Installed(name, own, CONFIG)
    for name, bundle in bundles.found(providers_dir).items():
        if isinstance(bundle, InvalidConfig):
            log.warning("bundle", provider=name, reason=str(bundle))
        elif name not in found:
            found[name] = Installed(name, changed(bundle, config.provider.get(name)), BUNDLE)
    return {name: entry for name, entry in sorted(found.items()) if entry.config.enabled}


def changed(bundle: ProviderConfig, own: ProviderConfig | None) -> ProviderConfig:
    """What a bundle says, with the deadlines and settings that the user's configuration gives it."""
    if own is None:
        return bundle
    return msgspec.structs.replace(
        own,
        engine=bundle.engine,
        python=bundle.python,
        command=bundle.command,
        settings={**bundle.settings, **own.settings},
    )
