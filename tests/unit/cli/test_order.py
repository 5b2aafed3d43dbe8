"""`voicebox provider order`: what exists becomes the order, the rest of the file stays, and the order is shown as it is."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.unit.client.fake_daemon import FakeDaemon
from voicebox_cli.main import main
from voicebox_protocol import places

MINE = """\
# mine
[order.voice]
"Builtin/Anna" = ["builtin"]   # by hand

[speech]
voice = "anna"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    monkeypatch.setenv(places.CONFIG, str(path))
    return path


def order(*arguments: str) -> int:
    return main(["provider", "order", *arguments])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["builtin/anna", "builtin"], {"default": ["builtin/anna", "builtin"]}),
        (["BUILTIN/Anna"], {"default": ["builtin/anna"]}),
        (["--voice", "Bert", "builtin/anna"], {"voice": {"bert": ["builtin/anna"]}}),
        (["--voice", "builtin/bert", "builtin/anna"], {"voice": {"builtin/bert": ["builtin/anna"]}}),
        (["--language", "de_AT", "builtin/bert", "builtin"], {"language": {"de-AT": ["builtin/bert", "builtin"]}}),
    ],
)
def test_what_exists_is_written_down(
    daemon: FakeDaemon, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: object
) -> None:
    assert order(*arguments) == 0
    assert tomllib.loads(file.read_text())["order"] == expected
    assert file.read_text().startswith("# mine\n")
    said = capsys.readouterr().out
    assert "builtin/" in said
    assert "`voicebox daemon restart`" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bulitin"], 4, "no provider is called 'bulitin'; did you mean 'builtin'"),
        (["anna"], 4, "did you mean 'builtin/anna'"),
        (["builtin/ana"], 4, "did you mean 'builtin/anna'"),
        (["--voice", "annna", "builtin"], 4, "did you mean 'anna'"),
        (["--language", "de", "builtin/anna"], 2, "builtin/anna does not speak 'de'; there is en-GB, en-US"),
        (["--language", "ja", "builtin"], 2, "builtin does not speak 'ja'"),
        (["builtin", "builtin"], 2, "twice"),
        (["--voice", "anna", "--language", "de", "builtin"], 2, "not both"),
        (["--clear", "builtin"], 2, "--clear takes no SLOT"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    daemon: FakeDaemon, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert order(*arguments) == code
    assert words in capsys.readouterr().err
    assert file.read_text() == "# mine\n"


def test_the_voices_of_a_provider_that_never_came_up_are_taken_on_trust(
    daemon: FakeDaemon, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"id": "broken", "engine": "e", "source": "config", "state": "failed", "reason": "no weights"}
    monkeypatch.setattr("tests.unit.client.fake_daemon.PROVIDERS", [broken, {**broken, "id": "builtin"}])
    assert order("builtin/anna", "broken/eve") == 0
    assert tomllib.loads(file.read_text())["order"] == {"default": ["builtin/anna", "broken/eve"]}


def test_an_order_that_is_written_by_hand_is_changed_in_its_place(daemon: FakeDaemon, file: Path) -> None:
    file.write_text(MINE)
    assert order("--voice", "builtin/anna", "builtin/bert") == 0
    assert file.read_text() == MINE.replace('["builtin"]', '["builtin/bert"]')
    assert order("builtin/bert") == 0
    whole = tomllib.loads(file.read_text())
    assert whole["order"] == {"voice": {"Builtin/Anna": ["builtin/bert"]}, "default": ["builtin/bert"]}
    assert whole["speech"] == {"voice": "anna"}


def test_an_order_is_forgotten_and_the_rest_stays(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(MINE)
    assert order("--voice", "builtin/anna", "--clear") == 0
    assert file.read_text() == MINE.replace('"Builtin/Anna" = ["builtin"]   # by hand\n', "")
    assert order("--clear") == 0
    assert capsys.readouterr().out.splitlines() == ["voice builtin/anna: forgotten", "default: there is none"]


def test_it_is_shown_without_a_daemon(runtime_dir: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert order() == 0
    assert capsys.readouterr().out == "none is written down\n"
    file.write_text(MINE + '[order]\ndefault = ["builtin/anna", "espeak"]\n[order.language]\nde = []\n')
    assert order() == 0
    assert [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["default", "builtin/anna", "→ espeak"],
        ["voice", "Builtin/Anna", "builtin"],
        ["language", "de", "nobody"],
    ]
    assert order("--language", "de") == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["language de  nobody"]


def test_it_is_shown_to_programs(daemon: FakeDaemon, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert order("builtin", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"default": ["builtin"], "voice": {}, "language": {}}


def test_a_default_voice_that_the_order_overrules_is_said_so(
    daemon: FakeDaemon, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text('[order]\ndefault = ["builtin/bert"]\n')
    assert main(["use", "voice", "anna"]) == 0
    assert "the default order stands before it: builtin/bert" in capsys.readouterr().out
