"""`provider install`, step by step: the model, the environment beside the old one, its first sentence, and then the switch."""

from __future__ import annotations

from typing import Any

from voicebox_cli.connect import connect
from voicebox_cli.install import adding, build, environments, store
from voicebox_cli.install.locking import exclusive
from voicebox_cli.install.recipes import Recipe
from voicebox_protocol.errors import Refused


def install(recipe: Recipe, model: str | None) -> dict[str, Any]:
    """Build it, try it, take it into use; what came of it. `model` is a known name, a directory or a repository.

    Until the switch nothing changes for anybody, and what was built so far goes if it fails or is interrupted.
    """
    _check_daemon(recipe.id)
    with exclusive(environments.lock(recipe.id), f"{recipe.id} is being installed") as holding:
        environments.sweep(recipe.id)
        default = None if model is None else _model(model)
        before = environments.installed(recipe.id)
        settings = adding.settings_with(store.known(), before.settings if before else {}, default) | recipe.settings
        staged = environments.stage(recipe.id)
        try:
            builder, plan = build.build(recipe, holding, staged)
            build.say("trying it: its first sentence" if "model" in settings else "trying it")
            report = builder.try_out(recipe, settings)
            build.say("taking it into use")
            # A model may have come meanwhile.
            settings = adding.settings_with(store.known(), settings, default)
            with connect(autostart=True, timeout=adding.TELL_S) as box:
                box.add_provider(
                    recipe.id, engine=recipe.engine, python=str(builder.python), settings=settings, replace=True
                )
            environments.discard(environments.cache(recipe.id))
        finally:
            # The one that is in use stays: this one from now on, or the old one.
            environments.sweep(recipe.id)
    torch = next((each.version for each in plan.packages if each.name == "torch"), None)
    return {"provider": recipe.id, "environment": str(staged), "model": settings.get("model"), "torch": torch, **report}


def _check_daemon(provider: str) -> None:
    """What would keep it from being taken into use is told now rather than after a gigabyte."""
    with connect(autostart=True, timeout=60.0) as box:
        present = next((each for each in box.providers() if each["id"] == provider), None)
    if present is not None and environments.installed(provider) is None:
        raise Refused(
            f"there is a provider {provider!r} already, from {present['source']};"
            f" take [provider.{provider}] out of config.toml, and run: voicebox daemon restart"
        )


def _model(target: str) -> str:
    """The name of a model that is known from now on."""
    return target if target in store.known() else adding.add(target, None).name


def remove(provider: str) -> None:
    """Have the daemon remove a provider, then delete its environments, if it had some."""
    with exclusive(environments.lock(provider), f"{provider} is being installed"):
        with connect(autostart=True, timeout=adding.TELL_S) as box:
            box.remove_provider(provider)
        environments.remove(provider)
