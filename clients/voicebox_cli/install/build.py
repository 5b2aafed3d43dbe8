"""Building an environment beside the one in use: resolved, fetched, our runtime put in, tried."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from voicebox_cli.install import disk, environments, resolution, uv
from voicebox_cli.install.programs import Ended, isolated, run
from voicebox_cli.install.recipes import Recipe
from voicebox_cli.install.resolution import Plan
from voicebox_protocol.errors import ProviderFailed

_RESOLVE_S = 600.0
_FETCH_S = 6 * 3600.0
_TRY_S = 900.0
# That of what comes alone is first, so that what it shares with the others is theirs in the end.
_ALONE, _ALL = "pylock.alone.toml", "pylock.all.toml"


def say(words: str) -> None:
    """Progress, for people."""
    click.echo(words, err=True)


class Builder:
    """Owns an environment of a provider that nobody uses yet; the lock of `holding` has to be held, and is passed on to what runs."""

    def __init__(self, name: str, holding: int, build: Path) -> None:
        self._name = name
        self._holding = holding
        self._build = build
        found = uv.find()
        self._uv = str(found)
        self._environment = uv.environment()
        self._offline = uv.offline(self._environment)
        if uv.is_own(found):
            self._environment.setdefault("UV_CACHE_DIR", str(environments.cache(name)))

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return environments.python_of(self._build)

    def make(self) -> None:
        """An empty one, of the Python that runs this."""
        self._run(["venv", "--no-project", "--quiet", "--allow-existing", "--python", sys.executable, str(self._build)])

    def resolve(self, requirements: tuple[Path, ...], alone: Path | None, torch: str | None) -> Plan:
        """What has to be fetched. For `torch`, the build of it that was asked for, as far as an index has that.

        Raises `Ended`, or `ProviderFailed` where only a build without CUDA is to be had.
        """
        if alone is not None:
            self._compile((alone,), _ALONE, "--no-deps")
        self._compile(requirements, _ALL)
        plan = self._plan()
        if torch is None or plan.for_card == (torch == "cuda"):
            return plan
        try:
            # Where PyTorch keeps its builds; of the CUDA ones, that which fits the driver.
            self._compile(requirements, _ALL, "--torch-backend", "cpu" if torch == "cpu" else "auto")
        except Ended:
            what = "CUDA" if plan.for_card else "the processor"
            say(f"the index has PyTorch for {what} only, and PyTorch's own cannot be asked")
        other = self._plan()
        if torch == "cuda" and not other.for_card:
            raise ProviderFailed(
                "no PyTorch for CUDA is to be had for this machine from the package index; try pytorch-cpu"
            )
        return other

    def fetch(self) -> None:
        """Install what was resolved: exact versions, each with the hash that the index told."""
        for lock in self._locks():
            more = ["--no-deps"] if lock.name == _ALONE else []
            asked = ["pip", "install", *self._offline, *more, "--python", str(self.python), "-r", str(lock)]
            self._run(asked, shown=True, within=_FETCH_S)

    def put_runtime(self) -> None:
        """Our own packages, from where they are installed."""
        environments.put_runtime(self._build)

    def try_out(self, recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
        """Have it speak a sentence, without a daemon; what came of it. Raises `ProviderFailed` with its own words."""
        asked = json.dumps({"engine": recipe.engine, "settings": settings})
        command = [str(self.python), "-I", "-m", "voicebox_provider.self_test"]
        try:
            told = run(
                command, "the first sentence", within=_TRY_S, holding=self._holding, environment=isolated(), told=asked
            )
            report: dict[str, Any] = json.loads(told.splitlines()[-1])
        except (Ended, ValueError, IndexError) as error:
            words = error.format_message() if isinstance(error, Ended) else "it does not say what came of it"
            raise ProviderFailed(f"{recipe.id} was built and does not speak, so nothing was changed: {words}") from None
        return report

    def _compile(self, requirements: tuple[Path, ...], lock: str, *more: str) -> None:
        half = self._build / "pylock.half.toml"
        asked = ["pip", "compile", *self._offline, *more, "--quiet", "--python", str(self.python)]
        written = ["--format", "pylock.toml", "-o", str(half)]
        self._run([*asked, *written, *map(str, requirements)], within=_RESOLVE_S, doing="finding the packages")
        half.replace(self._build / lock)

    def _locks(self) -> list[Path]:
        return [path for name in (_ALONE, _ALL) if (path := self._build / name).exists()]

    def _plan(self) -> Plan:
        return resolution.read(*self._locks())

    def _run(
        self, arguments: list[str], *, shown: bool = False, within: float = _RESOLVE_S, doing: str | None = None
    ) -> None:
        run(
            [self._uv, *arguments],
            doing or f"building the environment of {self._name}",
            within=within,
            holding=self._holding,
            environment=self._environment,
            # Projects of the user's have settings for uv that are not meant for us.
            place=self._build,
            shown=shown,
        )


def build(recipe: Recipe, holding: int, staged: Path) -> tuple[Builder, Plan]:
    """An environment with all packages of a recipe and our runtime, in an empty directory `staged`. Raises `Ended`, `NoRoom`."""
    builder = Builder(recipe.id, holding, staged)
    builder.make()
    say("finding out what has to be fetched")
    plan = resolution.with_sizes(builder.resolve(recipe.requirements, recipe.alone, recipe.torch))
    for line in described(plan):
        say(line)
    free = disk.check(staged, plan.needed, recipe.id)
    say(f"takes about {disk.size(plan.needed)} of disk while it is built; {disk.size(free)} are free")
    builder.fetch()
    builder.put_runtime()
    return builder, plan


_NAMED = 5


def described(plan: Plan) -> list[str]:
    """What will be fetched, in words: the largest first."""
    known = sorted((each for each in plan.packages if each.size), key=lambda each: -(each.size or 0))
    unknown = f", and {plan.unknown} whose size the index does not tell" if plan.unknown else ""
    lines = [f"{len(plan.packages)} packages, {disk.size(plan.download)} to fetch{unknown}"]
    return lines + [f"  {each.name} {each.version}: {disk.size(each.size or 0)}" for each in known[:_NAMED]]
