"""Models that come and go: looked at, fetched where they are not here yet, and told to the providers that are installed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from voicebox_cli.install import INSTALLABLE, build, disk, environments, recipes, resolution, store
from voicebox_cli.install.locking import exclusive
from voicebox_cli.install.programs import Ended, isolated, run
from voicebox_cli.install.store import Model
from voicebox_client import Voicebox
from voicebox_protocol import places
from voicebox_protocol.configuration import ProviderConfig
from voicebox_protocol.errors import BadRequest, Refused

# The sentence in work is finished first, and may be a long one of a slow engine.
TELL_S = 600.0
_LOOK_S = 120.0
_FETCH_S = 24 * 3600.0
_HUB = ".hub"
_READY = "ready"
# As hub.py ends.
_UNREACHABLE = 3
_NOT_THERE = 4


class NoSuchModel(click.ClickException):
    """No model is known by that name, or the hub has no such repository."""

    exit_code = 4


class NoHub(click.ClickException):
    """No hub can be reached. The message says where the files may be copied to."""

    exit_code = 1


def look(directory: Path) -> dict[str, Any]:
    """What a checkpoint is: name, variant, voices, languages, bytes. Raises `BadRequest` with the reason if it is none."""
    command = [sys.executable, "-P", "-m", "voicebox_provider.engines.qwen.describe", str(directory)]
    try:
        found: dict[str, Any] = json.loads(run(command, "looking at the model", within=_LOOK_S))
    except Ended as error:
        raise BadRequest(error.words or error.format_message()) from None
    return found


def add(target: str, chosen: str | None) -> Model:
    """Know the model in a directory, where it lies, or fetch that of a repository.

    Raises `BadRequest` if it is no model, `Refused` if its name is taken, `NoHub`, `NoSuchModel`, `NoRoom`.
    """
    name = store.name_of(target, chosen)
    with exclusive(store.lock(), "a model is being added") as holding:
        present = store.known().get(name)
        if store.is_place(target):
            return _noted(name, Path(target).expanduser().absolute(), present)
        if present is None:
            _fetch(target, name, holding)
        # Whoever copied the files there by hand has them looked at now.
        look((present or Model(name, store.place_for(name), own=True)).directory)
        return store.known()[name]


def _noted(name: str, directory: Path, present: Model | None) -> Model:
    if present is not None and not _same(present.directory, directory):
        raise Refused(f"there is a model {name!r} already, in {present.directory}; give another name with --name")
    look(directory)
    if present is None:
        store.note(name, directory)
    return store.known()[name]


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def known(name: str) -> Model:
    """The one of that name. Raises `NoSuchModel`, with the nearest."""
    from voicebox_protocol.fit import nearest

    found = store.known()
    if name not in found:
        raise NoSuchModel(f"no model is called {name!r}{nearest(name, found)}")
    return found[name]


def remove(name: str) -> Model:
    """Know it no more; what was fetched is deleted. Raises `NoSuchModel`."""
    gone = known(name)
    with exclusive(store.lock(), "a model is being added"):
        store.forget(gone)
    return gone


# --- fetching


def _fetch(repo: str, name: str, holding: int) -> None:
    """Into a directory beside its own, which gets its name when all is there."""
    build.say(f"there is no directory {repo} here; looking for it on the hub")
    place, staged = store.place_for(name), store.staged_for(name)
    python = _hub_python(repo, place)
    told = json.loads(_hub(python, holding, repo, place, "size", repo))
    disk.check(place, int(told["bytes"]) - _size_of(staged), repo)
    build.say(f"{repo}: {told['files']} files, {disk.size(int(told['bytes']))}, into {place}")
    _hub(python, holding, repo, place, "fetch", repo, str(told["revision"]), str(staged))
    environments.discard(staged / ".cache")
    look(staged)
    staged.rename(place)


def _hub(python: Path, holding: int, repo: str, place: Path, *arguments: str) -> str:
    """Run our script for the hub. Raises `NoHub`, `NoSuchModel` or `Ended`."""
    script = recipes.package("voicebox_provider") / "hub.py"
    try:
        return run(
            [str(python), "-I", str(script), *arguments],
            f"fetching {repo}",
            within=_FETCH_S,
            holding=holding,
            environment=isolated(),
            shown=True,
        )
    except Ended as error:
        if error.code == _NOT_THERE:
            raise NoSuchModel(f"the hub has no {repo} that it shows to you: {error.words}") from None
        if error.code == _UNREACHABLE:
            raise NoHub(f"{repo} cannot be fetched: {error.words}\n{by_hand(repo, place)}") from None
        raise


def by_hand(repo: str, place: Path) -> str:
    """What to do where no hub can be reached."""
    return (
        f"What was fetched so far is kept, and gone on with. Or copy all files of {repo} to\n  {place}\n"
        f"and run: voicebox model add {repo}"
    )


def _hub_python(repo: str, place: Path) -> Path:
    """The interpreter of a small environment that has huggingface_hub; it is built when it is first needed."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise NoHub(f"no hub may be asked: HF_HUB_OFFLINE is set\n{by_hand(repo, place)}")
    wanted = recipes.package("voicebox_provider") / "requirements-hub.txt"
    home = environments.directory(_HUB)
    ready = home / hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]
    with exclusive(environments.lock(_HUB), "what fetches models is being installed") as holding:
        if not (ready / _READY).exists():
            for stale in home.glob("*/"):
                environments.discard(stale)
            builder = build.Builder(_HUB, holding, ready)
            ready.mkdir(parents=True)
            builder.make()
            plan = resolution.with_sizes(builder.resolve((wanted,), None, None))
            disk.check(ready, plan.needed, "what fetches models")
            build.say(f"huggingface_hub fetches models: {build.described(plan)[0]}")
            builder.fetch()
            environments.discard(environments.cache(_HUB))
            (ready / _READY).touch()
    return environments.python_of(ready)


def _size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else 0


# --- telling


def settings_with(models: dict[str, Model], before: dict[str, Any], default: str | None = None) -> dict[str, Any]:
    """A provider's settings with all models that are known; `default` speaks where none is named, else the one that did
    before, else the first."""
    settings = {key: value for key, value in before.items() if key not in ("model", "models")}
    settings["models"] = {name: str(each.directory) for name, each in models.items()}
    former = before.get("model")
    first = default or (former if former in models else next(iter(models), None))
    return settings | ({"model": first} if first is not None else {})


def ours() -> dict[str, ProviderConfig]:
    """The providers that were installed with an environment of their own, by id."""
    found = {name: environments.installed(name) for name in INSTALLABLE}
    within = places.environments_dir()
    return {name: own for name, own in found.items() if own and own.python and within in Path(own.python).parents}


def tell(box: Voicebox) -> list[str]:
    """Let every installed provider know all models; the ids of those that do."""
    models = store.known()
    told = []
    for provider, own in ours().items():
        settings = settings_with(models, own.settings)
        box.add_provider(provider, engine=own.engine, python=own.python, settings=settings, replace=True)
        told.append(provider)
    return told
