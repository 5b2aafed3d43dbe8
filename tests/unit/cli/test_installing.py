"""From what the user names to what the daemon is asked to install."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from voicebox_cli.installing import Wanted, wanted


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My Engine.py").write_bytes(b"x = 1")
    (tmp_path / "empty.py").touch()
    (tmp_path / "speaks.sh").touch(0o755)
    (tmp_path / "notes").touch(0o644)
    (tmp_path / "notes").chmod(0o644)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("./My Engine.py", None, Wanted("my-engine", engine="My Engine.py", source=b"x = 1")),
        ("My Engine.py:Mine", "mine", Wanted("mine", engine="My Engine.py:Mine", source=b"x = 1")),
        ("my_package.engine:Mine", None, Wanted("my_package", engine="my_package.engine:Mine")),
        ("my_package", None, Wanted("my_package", engine="my_package")),
        ("voiceboxd", None, Wanted("builtin", engine="builtin")),
    ],
)
def test_what_is_asked_for(target: str, name: str | None, expected: Wanted) -> None:
    assert expected in wanted(target, name)


def test_a_program_is_named_by_its_whole_path(here: Path) -> None:
    assert wanted("./speaks.sh", None) == [Wanted("speaks", program=str(here / "speaks.sh"))]


@pytest.mark.parametrize(
    ("target", "name", "words"),
    [
        ("./none.py", None, "cannot read"),
        ("./empty.py", None, "is empty"),
        ("./none", None, "no file"),
        ("./notes", None, "neither"),
        ("voiceboxd", "mine", "its own names"),
        ("…:C", None, "--id"),
    ],
)
def test_what_cannot_be_installed_is_a_usage_error(target: str, name: str | None, words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        wanted(target, name)
