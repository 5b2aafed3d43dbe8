"""Which build of PyTorch an install takes: what the index has, else what PyTorch's own has; and what it asks on a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from voicebox_cli import provider_install
from voicebox_cli.install import build, recipes, store
from voicebox_protocol import places
from voicebox_protocol.errors import ProviderFailed

# It resolves as its environment says: one version where the index is asked, another where PyTorch's own is.
UV = """#!/bin/sh
case "$*" in
  --version) echo "uv 0.9.0"; exit ;;
  *--torch-backend*) echo "$*" >> "$ASKED"; version="$OTHER" ;;
  *) version="$INDEX" ;;
esac
[ -n "$version" ] || { echo "no route to it" >&2; exit 2; }
while [ "$1" != -o ]; do shift; done
printf '[[packages]]\\nname = "torch"\\nversion = "%s"\\nwheels = [{url = "https://index/t.whl", size = 5}]\\n' "$version" > "$2"
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv(places.DATA_DIR, str(tmp_path / "data"))
    return tmp_path


def resolved(data: Path, monkeypatch: pytest.MonkeyPatch, torch: str, index: str, other: str) -> str:
    """The version that is taken."""
    monkeypatch.setenv("INDEX", index)
    monkeypatch.setenv("OTHER", other)
    staged = data / "staged"
    staged.mkdir()
    (package,) = build.Builder("p", 0, staged).resolve((data / "list.txt",), None, torch).packages
    return package.version


def asked(data: Path) -> str:
    file = data / "asked"
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize(("torch", "index"), [("cpu", "2.0+cpu"), ("cpu", "2.0"), ("cuda", "2.0+cu130")])
def test_the_indexs_own_build_is_taken_where_it_fits(
    data: Path, monkeypatch: pytest.MonkeyPatch, torch: str, index: str
) -> None:
    assert resolved(data, monkeypatch, torch, index, "") == index
    assert asked(data) == ""


@pytest.mark.parametrize(
    ("torch", "index", "other", "backend"),
    [("cpu", "2.0+cu130", "2.0+cpu", "cpu"), ("cuda", "2.0+cpu", "2.0+cu128", "auto")],
)
def test_else_pytorchs_own(
    data: Path, monkeypatch: pytest.MonkeyPatch, torch: str, index: str, other: str, backend: str
) -> None:
    assert resolved(data, monkeypatch, torch, index, other) == other
    assert f"--torch-backend {backend}" in asked(data)


def test_one_for_cards_runs_on_the_processor_too_and_that_is_told(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resolved(data, monkeypatch, "cpu", "2.0+cu130", "") == "2.0+cu130"
    assert "has PyTorch for CUDA only" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["", "2.0+cpu"])
def test_one_for_the_processor_is_none_for_a_card(data: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    with pytest.raises(ProviderFailed, match="pytorch-cpu"):
        resolved(data, monkeypatch, "cuda", "2.0+cpu", other)


def test_what_cannot_be_found_is_told_in_its_own_words(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.ClickException, match="no route to it"):
        resolved(data, monkeypatch, "cpu", "", "")


# --- on a terminal


def answered(answer: str) -> tuple[str | None, str]:
    with CliRunner().isolation(input=answer) as (_, said, _):
        chosen = provider_install._asked()
        return chosen, said.getvalue().decode()


def test_without_a_model_there_may_be_none() -> None:
    assert answered("1\n")[0] == recipes.OFFICIAL[0]
    assert answered("9\n6\n")[0] is None


def test_the_known_models_are_offered_before_those_to_be_fetched() -> None:
    store.note("mine", Path("/m/mine"))
    store.note("Qwen3-TTS-12Hz-0.6B-CustomVoice", Path("/m/small"))
    chosen, said = answered("\n")
    assert chosen == "Qwen3-TTS-12Hz-0.6B-CustomVoice"
    assert said.count("0.6B-CustomVoice") == 1
    assert answered("2\n")[0] == "mine"
    assert answered("3\n")[0] == recipes.OFFICIAL[1]
