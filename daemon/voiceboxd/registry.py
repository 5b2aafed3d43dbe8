"""What is installed: engines that announce themselves by entry point, and those that the user's configuration adds."""

from __future__ import annotations

import importlib.metadata
from typing import NamedTuple

from voiceboxd.config import Config, ProviderConfig

GROUP = "voicebox.engines"


class Installed(NamedTuple):
    """One provider that can be started. `source` says where it was found: package name and version, or config."""

    id: str
    config: ProviderConfig
    source: str


def installed(config: Config) -> dict[str, Installed]:
    """Every enabled provider by id. The configuration may change one that a package brought, or disable it."""
    found: dict[str, Installed] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        changed = config.provider.get(point.name, ProviderConfig())
        if not changed.command and not changed.engine:
            changed.engine = point.name
        source = f"{point.dist.name} {point.dist.version}" if point.dist else "package"
        found[point.name] = Installed(point.name, changed, source)
    for name, own in config.provider.items():
        if name not in found and (own.engine or own.command):
            found[name] = Installed(name, own, "config")
    return {name: entry for name, entry in sorted(found.items()) if entry.config.enabled}
