"""What installed packages announce: the same that importlib.metadata finds, without loading that."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from voiceboxd import announced


def package(place: Path, name: str, entries: str, *requires: str, version: str = "1.0") -> None:
    """Write what an installer writes beside a package."""
    directory = place / f"{name.replace('-', '_')}-{version}.dist-info"
    directory.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
    (directory / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n\nName: not this\n")
    if entries:
        (directory / "entry_points.txt").write_text(entries)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which packages are looked for."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "none"), str(tmp_path)])
    return tmp_path


def found() -> dict[str, str]:
    return {engine.name: engine.package for engine in announced.engines()}


def test_it_finds_what_the_library_finds() -> None:
    points = importlib.metadata.entry_points(group=announced.GROUP)
    plain = {
        point.name: f"{point.dist.name} {point.dist.version}" for point in points if point.dist and not point.extras
    }
    assert plain
    assert plain.items() <= found().items()
    assert set(found()) <= set(points.names)


def test_an_engine_is_there_once_its_extra_is(place: Path) -> None:
    entries = "[console_scripts]\nx = y:z\n\n[voicebox.engines]\n# spoken\na = m:A\nb = m:B [more]\n[other]\nc = m:C\n"
    requires = ['big_Engine>=2; extra == "more"', 'other; extra == "less"', "plain"]
    package(place, "my-voice", entries, *requires)
    assert found() == {"a": "my-voice 1.0"}
    package(place, "Big.Engine", "")
    assert found() == {"a": "my-voice 1.0", "b": "my-voice 1.0"}


@pytest.mark.parametrize(("condition", "there"), [("python_version >= '3'", False), ("python_version < '3'", True)])
def test_a_condition_beside_the_extra_counts(place: Path, condition: str, there: bool) -> None:
    package(place, "mine", "[voicebox.engines]\na = m:A [more]\n", f'absent; ({condition}) and extra == "more"')
    assert ("a" in found()) is there


def test_the_older_form_counts_as_well(place: Path) -> None:
    """Some systems' own packages have it."""
    package(place, "mine", "[voicebox.engines]\na = m : A [more]\n", 'older; extra == "more"')
    (place / "older-2.egg-info").write_text("Name: older\n")
    egg = place / "egg-3.0.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Name: Egg\nVersion: 3.0\n")
    (egg / "entry_points.txt").write_text("[voicebox.engines]\nb = m:B\n")
    assert found() == {"a": "mine 1.0", "b": "Egg 3.0"}


def test_what_cannot_be_read_announces_nothing(place: Path) -> None:
    (place / "odd.dist-info").mkdir()
    (place / "file-1.dist-info").write_text("no directory")
    package(place, "wrong", "[voicebox.engines]\nno entry at all\n= m:A\n")
    package(place, "bytes", "")
    (place / "bytes-1.0.dist-info" / "entry_points.txt").write_bytes(b"[voicebox.engines]\n\xff\xfe = m:A\n")
    assert found() == {}


def test_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("one", "1.0"), ("two", "2.0")):
        (tmp_path / name).mkdir()
        package(tmp_path / name, "mine", "[voicebox.engines]\na = m:A\n", version=version)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert found() == {"a": "mine 1.0"}
