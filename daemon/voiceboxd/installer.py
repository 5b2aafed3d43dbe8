"""Providers that come and go while the daemon runs: added, proved by being asked once, and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voicebox_protocol import configuration, errors, schema
from voicebox_protocol.configuration import Config, ProviderConfig
from voicebox_protocol.fit import nearest
from voiceboxd import bundles, registry
from voiceboxd import provider_state as fsm
from voiceboxd.dispatcher import Dispatcher
from voiceboxd.logs import log
from voiceboxd.provider_actor import ProviderActor
from voiceboxd.provider_gateway import ProviderGateway
from voiceboxd.registry import BUNDLE, Installed

_MOST_SOURCE = 1024 * 1024
_FAILED = frozenset({fsm.Phase.STOPPED, fsm.Phase.BACKOFF, fsm.Phase.FAILED, fsm.Phase.QUARANTINED})


class Installer:
    """Owns the directory of bundles, and makes the actors of all that is installed."""

    def __init__(
        self,
        config: Config,
        directory: Path,
        gateway: ProviderGateway,
        dispatcher: Dispatcher,
        make: Callable[[Installed], ProviderActor],
    ) -> None:
        self._config = config
        self._directory = directory
        self._gateway = gateway
        self._dispatcher = dispatcher
        self._make = make

    def load(self) -> None:
        """Make an actor for each provider that is installed."""
        bundles.sweep(self._directory)
        for entry in self._installed().values():
            self._gateway.actors[entry.id] = self._make(entry)

    def _installed(self) -> dict[str, Installed]:
        return registry.installed(self._config, self._directory)

    # --- adding

    async def add(self, asked: schema.AddProvider, source: bytes) -> ProviderActor:
        """Install a provider and ask it what it can do; if it cannot say, nothing of it is left.

        Raises `BadRequest`, `Refused`, `BadPlace`, or `ProviderFailed` with its own words.
        """
        provider = asked.provider
        self._check(asked, source)
        announced = self._installed().get(provider)
        if announced is not None and announced.source != BUNDLE:
            # A package that was installed after the daemon had started: known from now on, with nothing to write.
            return await self._prove(announced)
        staged = bundles.stage(self._directory, provider, _own(asked), source)
        try:
            present = self._gateway.actors.get(provider)
            staged_entry = self._entry(provider, staged)
            actor = await (self._prove(staged_entry) if present is None else self._supersede(present, staged_entry))
            settled = bundles.settle(staged, provider)
        finally:
            bundles.discard(staged)
        actor.entry = self._entry(provider, settled)
        log.info("provider added", provider=provider)
        return actor

    def _entry(self, provider: str, bundle: Path) -> Installed:
        own = self._config.provider.get(provider)
        return Installed(provider, registry.changed(bundles.read(bundle), own), BUNDLE)

    def _check(self, asked: schema.AddProvider, source: bytes) -> None:
        provider = asked.provider
        if not configuration.is_id(provider):
            raise errors.BadRequest(f"{provider!r} is no id; it takes {configuration.ID_RULE}")
        if bool(asked.engine) == bool(asked.program):
            raise errors.BadRequest("give engine or program")
        if asked.program and not Path(asked.program).is_absolute():
            raise errors.BadRequest(f"program is {asked.program!r}; it takes an absolute path")
        if len(source) > _MOST_SOURCE:
            raise errors.BadRequest(f"the file has {len(source)} bytes; it takes {_MOST_SOURCE}")
        if asked.replace and source:
            raise errors.BadRequest("an engine in a file of its own is not replaced; remove it first")
        self._check_place(provider, replace=bool(asked.replace))

    def _check_place(self, provider: str, *, replace: bool) -> None:
        """Raise `Refused` if there is one of that id that does not make room."""
        present = self._gateway.actors.get(provider)
        if present is not None and replace and present.entry.source == BUNDLE:
            return
        if present is not None:
            where = present.entry.source
            raise errors.Refused(f"there is a provider {provider!r} already (from {where}); choose another with --id")
        own = self._config.provider.get(provider)
        if replace and (own is None or (own.enabled and not own.engine and not own.command)):
            return
        if own is not None or (self._directory / provider).exists():
            raise errors.Refused(f"there is a provider {provider!r} already, which is not in use; choose another id")

    async def _prove(self, entry: Installed) -> ProviderActor:
        """Start it once, only to be asked what it can do."""
        actor = self._gateway.actors[entry.id] = self._make(entry)
        actor.describe()
        while actor.capabilities is None:
            if actor.phase in _FAILED or actor.history.epochs > 1:
                reason = actor.reason
                await self._dismiss(actor, f"it cannot be used: {reason}")
                raise errors.ProviderFailed(f"{entry.id} cannot be used: {reason}")
            await actor.changed()
        return actor

    async def _supersede(self, actor: ProviderActor, entry: Installed) -> ProviderActor:
        """Let an entry take another's place: the segments in work are finished by the old one's processes. If the new one
        cannot say what it can do, the old one is left as it was."""
        before, known = actor.entry, actor.capabilities
        actor.entry = entry
        actor.stop("another takes its place")
        await actor.gone()
        actor.describe()
        while actor.capabilities is known:
            if actor.retired or actor.phase in _FAILED:
                reason, actor.entry = actor.reason, before
                actor.stop("it stays as it was")
                raise errors.ProviderFailed(f"{entry.id} cannot be used: {reason}; what was there stays")
            await actor.changed()
        return actor

    # --- removing

    async def remove(self, provider: str) -> None:
        """End a provider and delete its bundle; what it was to speak fails. Raises `NoSuchProvider` or `Refused`."""
        actor = self._gateway.actors.get(provider)
        if actor is not None and actor.entry.source != BUNDLE:
            raise errors.Refused(
                f"{provider} was not added but comes from {actor.entry.source}; {_remedy(actor.entry)}"
            )
        bundle = self._directory / provider
        if (actor is None and not self._is_bundle(provider)) or (actor is not None and actor.retired):
            raise errors.NoSuchProvider(f"no provider is called {provider!r}{nearest(provider, self._gateway.actors)}")
        if actor is not None:
            await self._dismiss(actor, "it was removed")
        bundles.discard(bundle)
        log.info("provider removed", provider=provider)

    def _is_bundle(self, provider: str) -> bool:
        return configuration.is_id(provider) and (self._directory / provider / bundles.FILE).exists()

    async def _dismiss(self, actor: ProviderActor, reason: str) -> None:
        """End its requests, then its process, and forget it."""
        actor.retired = True
        self._dispatcher.abandon(actor.id, reason)
        actor.stop(reason)
        await actor.gone()
        self._gateway.dismiss(actor)


def _own(asked: schema.AddProvider) -> ProviderConfig:
    """What its bundle says. Raises `BadRequest`."""
    command = [asked.program] if asked.program else None
    try:
        return ProviderConfig(engine=asked.engine, python=asked.python, command=command, settings=asked.settings or {})
    except ValueError as error:
        raise errors.BadRequest(str(error)) from None


def _remedy(entry: Installed) -> str:
    if entry.source == registry.CONFIG:
        return f"take [provider.{entry.id}] out of config.toml"
    return f"uninstall the package, or set enabled = false under [provider.{entry.id}] in config.toml"
