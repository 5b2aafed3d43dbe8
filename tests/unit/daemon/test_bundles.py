"""Bundles: what is written is read back, and a broken one harms nobody else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from voicebox_protocol.configuration import Config, ProviderConfig
from voicebox_protocol.errors import BadPlace, BadRequest, InvalidConfig
from voiceboxd import bundles, registry

WEIRD = 'quo"te\\back\nnew\x7fline é 秘'


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    staged = bundles.stage(tmp_path, "p", ProviderConfig(command=["/bin/" + WEIRD]), b"")
    assert bundles.found(tmp_path) == {}
    settled = bundles.settle(staged, "p")
    assert settled == tmp_path / "p"
    assert bundles.read(settled).command == ["/bin/" + WEIRD]


def test_settings_and_interpreter_are_read_back(tmp_path: Path) -> None:
    settings = {
        "model": WEIRD,
        "models": {WEIRD: "/x", "b c": "/y"},
        "n": 1,
        "x": 0.5,
        "on": True,
        "list": ["a", {"b": 2}],
    }
    own = ProviderConfig(engine="m:C", python="/some where/python", settings=settings)
    settled = bundles.settle(bundles.stage(tmp_path, "p", own, b""), "p")
    assert bundles.read(settled) == own


def test_what_no_file_of_settings_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="None"):
        bundles.stage(tmp_path, "p", ProviderConfig(engine="m:C", settings={"x": None}), b"")
    assert list(tmp_path.iterdir()) == []


def test_one_takes_the_place_of_another(tmp_path: Path) -> None:
    for number in (1, 2):
        staged = bundles.stage(tmp_path, "p", ProviderConfig(engine="m:C", settings={"n": number}), b"")
        assert bundles.settle(staged, "p") == tmp_path / "p"
        bundles.discard(staged)
    assert bundles.read(tmp_path / "p").settings == {"n": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("engine", ["mine.py", "mine.py:Mine"])
def test_a_file_is_kept_and_named_by_its_full_path(tmp_path: Path, engine: str) -> None:
    settled = bundles.settle(bundles.stage(tmp_path, "p", ProviderConfig(engine=engine), b"x = 1"), "p")
    assert (settled / "mine.py").read_bytes() == b"x = 1"
    assert bundles.read(settled).engine == f"{settled}/{engine}"
    assert tomllib.loads((settled / "provider.toml").read_text())["engine"] == engine


@pytest.mark.parametrize(
    ("engine", "source"),
    [("mine.py", b""), ("a.module:Class", b"x"), ("../mine.py", b"x"), ("/etc/mine.py", b"x"), ("a\\b.py", b"x")],
)
def test_a_file_comes_with_a_bare_name_or_not_at_all(tmp_path: Path, engine: str, source: bytes) -> None:
    with pytest.raises(BadRequest):
        bundles.stage(tmp_path, "p", ProviderConfig(engine=engine), source)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadPlace, match="file"):
        bundles.stage(tmp_path / "file", "p", ProviderConfig(engine="m:C"), b"")


def test_what_a_dead_daemon_left_is_swept_away(tmp_path: Path) -> None:
    bundles.stage(tmp_path, "half", ProviderConfig(engine="m:C"), b"")
    bundles.settle(bundles.stage(tmp_path, "whole", ProviderConfig(engine="m:C"), b""), "whole")
    bundles.sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("text", ["", "engine = 1", "[", 'engine = "a"\ncommand = ["b"]', 'engin = "a"', b"\xff"])
def test_one_that_cannot_be_read_is_left_out_and_the_others_stay(tmp_path: Path, text: str | bytes) -> None:
    for name, content in (("bad", text), ("good", 'engine = "m:C"'), ("No id", 'engine = "m:C"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "provider.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert isinstance(bundles.found(tmp_path)["bad"], InvalidConfig)
    found = registry.installed(Config(), tmp_path)
    assert {name for name, entry in found.items() if entry.source == registry.BUNDLE} == {"good"}


def test_the_configuration_may_change_one_or_disable_it(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        bundles.settle(bundles.stage(tmp_path, name, ProviderConfig(engine="m:C"), b""), name)
    config = Config(
        provider={
            "a": ProviderConfig(load_s=3.0, settings={"x": 1}, python="/other/python"),
            "b": ProviderConfig(enabled=False),
            "c": ProviderConfig(engine="other:C"),
        }
    )
    found = registry.installed(config, tmp_path)
    assert (found["a"].config.engine, found["a"].config.load_s, found["a"].config.settings) == ("m:C", 3.0, {"x": 1})
    assert found["a"].config.python is None
    assert "b" not in found
    assert (found["c"].config.engine, found["c"].source) == ("other:C", registry.CONFIG)
