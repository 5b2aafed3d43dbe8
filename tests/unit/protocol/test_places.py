"""Places: the variables that move them, and directories that others could enter."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from voicebox_protocol import places
from voicebox_protocol.errors import BadPlace


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("VOICEBOX_", "XDG_"))]:
        monkeypatch.delenv(name)


def test_the_runtime_directory_is_where_the_first_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.runtime_dir() == Path(tempfile.gettempdir()) / f"voicebox-{os.getuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert places.runtime_dir() == Path("/run/user/7/voicebox")
    monkeypatch.setenv("VOICEBOX_RUNTIME_DIR", "/elsewhere")
    assert places.runtime_dir() == Path("/elsewhere")


def test_a_relative_place_is_taken_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, place in (
        ("VOICEBOX_RUNTIME_DIR", places.runtime_dir),
        ("VOICEBOX_DATA_DIR", places.data_dir),
        ("VOICEBOX_CONFIG", places.config_file),
    ):
        monkeypatch.setenv(name, "here/x")
        assert place() == tmp_path / "here" / "x"


def test_an_absolute_place_does_not_need_a_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("VOICEBOX_RUNTIME_DIR", "/elsewhere")
    assert places.runtime_path() == "/elsewhere"
    assert places.runtime_dir() == Path("/elsewhere")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (places.runtime_dir(), places.data_dir(), places.state_dir(), places.config_file())
    for name in ("VOICEBOX_RUNTIME_DIR", "VOICEBOX_DATA_DIR", "VOICEBOX_CONFIG"):
        monkeypatch.setenv(name, "")
    assert (places.runtime_dir(), places.data_dir(), places.state_dir(), places.config_file()) == before


def test_state_and_logs_move_with_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOICEBOX_DATA_DIR", str(tmp_path))
    assert places.data_dir() == tmp_path
    assert places.state_dir() == tmp_path / "state"
    assert places.log_dir() == tmp_path / "state" / "log"


def test_the_platforms_places_are_used_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    assert places.data_dir() == tmp_path / "d" / "voicebox"
    assert places.log_dir() == tmp_path / "s" / "voicebox" / "log"
    assert places.config_file() == tmp_path / "c" / "voicebox" / "config.toml"


def test_a_directory_that_is_missing_is_made_for_us_alone(tmp_path: Path) -> None:
    made = places.ensure_private(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    assert places.ensure_private(made) == made


@pytest.mark.parametrize("mode", [0o710, 0o720, 0o770, 0o701, 0o707, 0o755, 0o777])
def test_a_directory_that_others_may_enter_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(BadPlace, match=f"mode {mode:o}.*chmod 700"):
        places.ensure_private(tmp_path / "open")


def test_a_symbolic_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadPlace, match="symbolic link"):
        places.ensure_private(tmp_path / "link")
    with pytest.raises(BadPlace, match="dangling"):
        places.ensure_private(tmp_path / "dangling")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadPlace):
        places.ensure_private(tmp_path / "file")
    with pytest.raises(BadPlace, match="no directory"):
        places.check_private(tmp_path / "file")
    with pytest.raises(BadPlace, match="VOICEBOX_RUNTIME_DIR"):
        places.ensure_private(tmp_path / "file" / "below")


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = places.ensure_private(tmp_path / "theirs")
    monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(BadPlace, match="not to you"):
        places.check_private(directory)
