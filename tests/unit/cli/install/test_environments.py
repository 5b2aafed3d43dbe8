"""Environments: the one that a provider names stays, whatever else happens; and one install at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from voicebox_cli.install import environments, recipes
from voicebox_cli.install.locking import exclusive
from voicebox_protocol import configuration, places
from voicebox_protocol.errors import BadPlace, Refused


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(places.DATA_DIR, str(tmp_path))
    return tmp_path


def used(provider: str, build: Path) -> None:
    """As the daemon keeps it."""
    bundle = places.providers_dir() / provider
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "provider.toml").write_text(f'engine = "m:C"\npython = "{environments.python_of(build)}"\n')


def test_what_nobody_names_is_swept_away() -> None:
    old, new = environments.stage("p"), environments.stage("p")
    environments.cache("p").mkdir()
    used("p", old)
    environments.sweep("p")
    assert (old.is_dir(), new.is_dir()) == (True, False)
    # What was fetched is there for the next try.
    assert environments.cache("p").is_dir()


def test_the_switch_is_what_the_provider_names() -> None:
    old, new = environments.stage("p"), environments.stage("p")
    used("p", old)
    used("p", new)
    environments.sweep("p")
    assert (old.is_dir(), new.is_dir()) == (False, True)


def test_without_a_provider_all_goes() -> None:
    staged = environments.stage("p")
    environments.sweep("p")
    assert not staged.exists()
    environments.stage("p")
    environments.remove("p")
    assert not environments.directory("p").exists()


def test_a_provider_that_cannot_be_read_names_nothing() -> None:
    assert environments.installed("p") is None
    (places.providers_dir() / "p").mkdir(parents=True)
    (places.providers_dir() / "p" / "provider.toml").write_text("[")
    assert environments.installed("p") is None


def test_a_place_that_cannot_be_written_is_named(data: Path) -> None:
    (data / "environments").write_text("")
    with pytest.raises(BadPlace, match="environments"):
        environments.stage("p")
    with pytest.raises(BadPlace, match="environments"), exclusive(environments.lock("p"), "it is being installed"):
        pass


def test_our_runtime_goes_in_from_where_it_is_installed(tmp_path: Path) -> None:
    build = tmp_path / "build"
    site = build / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    environments.put_runtime(build)
    assert (site / "voicebox_provider" / "__main__.py").is_file()
    assert (site / "voicebox_protocol" / "wire.py").is_file()
    assert not list(site.rglob("__pycache__"))


@pytest.mark.parametrize("provider", ["pytorch-cpu", "pytorch-cuda", "mlx"])
def test_every_recipe_names_lists_that_are_there_with_exact_versions_and_no_addresses(provider: str) -> None:
    recipe = recipes.recipe(provider)
    lists = [*recipe.requirements, *([recipe.alone] if recipe.alone else [])]
    lines = [line.partition("#")[0].strip() for path in lists for line in path.read_text().splitlines()]
    wanted = [line for line in lines if line]
    assert wanted
    assert all("==" in line.partition(";")[0] and "://" not in line and not line.startswith("-") for line in wanted)


# --- the lock


def test_two_at_once_exclude_each_other() -> None:
    with exclusive(environments.lock("p"), "p is being installed"):
        with (
            pytest.raises(Refused, match="p is being installed already"),
            exclusive(environments.lock("p"), "p is being installed"),
        ):
            pass
        with exclusive(environments.lock("q"), "q is being installed"):
            pass
    with exclusive(environments.lock("p"), "p is being installed"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no descriptors to inherit there")
def test_what_a_killed_install_left_running_keeps_others_out() -> None:
    """Otherwise the next one would sweep away what its uv is writing."""
    with exclusive(environments.lock("p"), "it") as holding:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[holding])
    with child:
        with pytest.raises(Refused), exclusive(environments.lock("p"), "it"):
            pass
        child.communicate(b"\n", timeout=60)
    with exclusive(environments.lock("p"), "it"):
        pass


# --- the interpreter of a provider


@pytest.mark.parametrize("python", ["relative/python", "/nul\\u0000/python"])
def test_a_provider_names_its_interpreter_by_its_whole_path(tmp_path: Path, python: str) -> None:
    bundle = tmp_path / "provider.toml"
    bundle.write_text(f'engine = "m:C"\npython = "{python}"\n')
    with pytest.raises(configuration.InvalidConfig, match="absolute path"):
        configuration.load_provider(bundle)
