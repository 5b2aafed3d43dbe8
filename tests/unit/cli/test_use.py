"""`voicebox use`: what exists becomes the default, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.client.fake_daemon import FakeDaemon
from voicebox_cli.main import main
from voicebox_protocol import places


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    monkeypatch.setenv(places.CONFIG, str(path))
    return path


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [("anna", "anna"), ("Bert", "bert"), ("builtin/bert", "builtin/bert"), ("BUILTIN/Anna", "builtin/anna")],
)
def test_a_voice_that_exists_becomes_the_default(
    daemon: FakeDaemon, file: Path, capsys: pytest.CaptureFixture[str], wanted: str, kept: str
) -> None:
    assert main(["use", "voice", wanted]) == 0
    assert file.read_text() == f'# mine\n\n[speech]\nvoice = "{kept}"\n'
    said = capsys.readouterr().out
    assert kept in said
    assert "`voicebox daemon restart`" in said


def test_a_provider_that_exists_becomes_the_first(daemon: FakeDaemon, file: Path) -> None:
    assert main(["use", "provider", "builtin"]) == 0
    assert file.read_text() == '# mine\n\n[speech]\nprovider = "builtin"\n'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["voice", "annna"], "did you mean 'anna'"),
        (["voice", "other/anna"], "no voice is called 'other/anna'"),
        (["provider", "bulitin"], "did you mean 'builtin'"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(
    daemon: FakeDaemon, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["use", *arguments]) == 4
    assert words in capsys.readouterr().err
    assert file.read_text() == "# mine\n"


def test_without_a_daemon_nothing_is_kept(runtime_dir: Path, file: Path) -> None:
    assert main(["use", "voice", "anna"]) == 3
    assert file.read_text() == "# mine\n"
