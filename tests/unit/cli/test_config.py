"""`voicebox config`: the file stays as its user wrote it, and no mistake gets into it."""

from __future__ import annotations

import functools
import json
import sys
import tomllib
from pathlib import Path

import pytest

from tests.unit.client.fake_daemon import FakeDaemon
from voicebox_cli.main import main
from voicebox_protocol import configuration, places

WRITTEN = """\
# My own words.
[provider.mine]
settings = { colour = "red" }   # as the wall
engine = 'my.module:Engine'

# Long, because I think slowly.
[daemon]
idle_minutes = 60               # an hour

# Who speaks.
[speech]
voice = "heart"
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "below" / "config.toml"
    monkeypatch.setenv(places.CONFIG, str(path))
    return path


@pytest.fixture
def written(file: Path) -> Path:
    file.parent.mkdir()
    file.write_text(WRITTEN)
    return file


def editor(directory: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """An editor that runs `code` on `path`."""
    script = directory / "an editor.py"
    script.write_text(f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{code}\n")
    monkeypatch.setenv("VISUAL", f"{sys.executable} '{script}'")
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(directory))


# --- get and list


def test_get_prints_what_is_set_and_else_the_default(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["speech.voice", "daemon.idle_minutes", "daemon.max_requests", "speech.provider", "provider.mine.enabled"]
    keys += ["provider.mine.settings", "provider.mine.settings.colour", "provider.absent.load_s"]
    assert [main(["config", "get", key]) for key in keys] == [0] * len(keys)
    assert capsys.readouterr().out.splitlines() == [
        *("heart", "60.0", "512", "", "true", '{colour = "red"}', "red", "120.0")
    ]


def test_get_for_programs_has_the_origin(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "get", "speech.voice", "--json"]) == 0
    assert main(["config", "get", "daemon.max_requests", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"key": "speech.voice", "value": "heart", "origin": "file"},
        {"key": "daemon.max_requests", "value": 512, "origin": "default"},
    ]


@pytest.mark.parametrize("command", [["get"], ["set"]])
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("daemon.idle_minuets", "did you mean 'daemon.idle_minutes'"),
        ("voice", "did you mean 'speech.voice'"),
        ("provider.mine.engin", "did you mean 'provider.ID.engine'"),
        ("daemon", "is a table; name one of its keys: daemon.idle_minutes"),
        ("provider.mine", "is a table; name one of its keys: provider.ID.engine"),
        ("provider.Big.engine", "an id is 1 to 32"),
        ("speech.voice.deep", "there is no key"),
        ("provider..engine", "there is no key"),
        ("", "there is no key"),
    ],
)
def test_a_key_that_is_none_is_refused_with_the_nearest(
    written: Path, capsys: pytest.CaptureFixture[str], command: list[str], key: str, words: str
) -> None:
    assert main(["config", *command, key, *["x"] * (command == ["set"])]) == 2
    assert words in capsys.readouterr().err
    assert written.read_text() == WRITTEN


def test_list_shows_every_key_with_its_origin_and_where_the_file_is(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "list"]) == 0
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == f"{written} (from VOICEBOX_CONFIG)"
    assert {row.split()[0] for row in rows} == {key.replace("ID", "mine") for key in configuration.KEYS}
    assert ["daemon.idle_minutes", "60.0", "file"] in [row.split() for row in rows]
    assert ["speech.provider", "-", "default"] in [row.split() for row in rows]


def test_list_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["origin"], found["exists"]) == (str(file), "environment", False)
    assert {"key": "daemon.idle_minutes", "value": 30.0, "origin": "default"} in found["keys"]


def test_list_names_the_mistake_in_the_file(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written.write_text("[deamon]")
    assert main(["config", "list"]) == 2
    assert "did you mean 'daemon'" in capsys.readouterr().err


# --- set


def test_a_chain_of_a_voice_whose_name_has_dots_is_set_and_read(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "set", "order.voice.mine/en.us-x", '["mine"]']) == 0
    assert tomllib.loads(written.read_text())["order"] == {"voice": {"mine/en.us-x": ["mine"]}}
    assert main(["config", "get", "order.voice.mine/en.us-x"]) == 0
    assert capsys.readouterr().out == '["mine"]\n'


def test_set_leaves_comments_order_and_mode_as_they_were(written: Path) -> None:
    written.chmod(0o640)
    assert main(["config", "set", "daemon.idle_minutes", "5"]) == 0
    assert main(["config", "set", "daemon.max_requests", "7"]) == 0
    assert written.read_text() == WRITTEN.replace("idle_minutes = 60 ", "idle_minutes = 5 ").replace(
        "# an hour\n", "# an hour\nmax_requests = 7\n"
    )
    assert written.stat().st_mode & 0o777 == 0o640
    assert list(written.parent.iterdir()) == [written]


def test_a_new_table_goes_to_the_end(written: Path) -> None:
    assert main(["config", "set", "provider.other.enabled", "false"]) == 0
    assert written.read_text() == WRITTEN + "\n[provider.other]\nenabled = false\n"


def test_set_makes_the_file(file: Path) -> None:
    assert main(["config", "set", "speech.voice", "heart"]) == 0
    assert file.read_text() == '[speech]\nvoice = "heart"\n'


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("daemon.shutdown_grace_s", "0", 0),
        ("speech.voice", "builtin/heart", "builtin/heart"),
        ("speech.voice", '"42"', "42"),
        ("speech.voice", "a\n[daemon]", "a\n[daemon]"),
        ("provider.mine.enabled", "false", False),
        ("provider.other.command", '["/bin/speak", "-x"]', ["/bin/speak", "-x"]),
        ("provider.mine.settings.path", '["/a"]', ["/a"]),
        ("provider.mine.settings", "{ depth = -3 }", {"depth": -3}),
        ("provider.mine.settings.depth", "-3", -3),
        ("order.default", '["mine/a.b"]', ["mine/a.b"]),
    ],
)
def test_a_value_is_toml_or_else_a_string(written: Path, key: str, value: str, expected: object) -> None:
    expected_whole = tomllib.loads(WRITTEN)
    assert main(["config", "set", key, value]) == 0
    *tables, last = key.split(".")
    functools.reduce(lambda inner, table: inner.setdefault(table, {}), tables, expected_whole)[last] = expected
    assert tomllib.loads(written.read_text()) == expected_whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daemon.max_requests = 3\n", "daemon.max_requests = 3\ndaemon.idle_minutes = 4\n"),
        ("daemon = {max_requests=3}\n", "daemon = {max_requests=3,idle_minutes = 4}\n"),
        ("[speech]", "[speech]\n\n[daemon]\nidle_minutes = 4\n"),
        ("[daemon]\n# nothing yet\n", "[daemon]\nidle_minutes = 4\n# nothing yet\n"),
    ],
)
def test_however_a_table_is_written_it_takes_a_key(written: Path, text: str, expected: str) -> None:
    written.write_text(text)
    assert main(["config", "set", "daemon.idle_minutes", "4"]) == 0
    assert tomllib.loads(written.read_text()) == tomllib.loads(expected)
    assert written.read_text().split() == expected.split()


def test_what_cannot_be_added_without_rewriting_is_left_to_the_editor(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "provider = { a = { enabled = true } }\n"
    written.write_text(text)
    assert main(["config", "set", "provider.b.enabled", "true"]) == 2
    assert "voicebox config edit" in capsys.readouterr().err
    assert written.read_text() == text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("order.default", "mine", "got `str`"),
        ("order.language.de", '["Mine"]', "'Mine' is no slot"),
        ("daemon.idle_minutes", "-3", "> 0"),
        ("daemon.max_requests", "many", "got `str`"),
        ("daemon.max_requests", "1.5", "got `float`"),
        ("speech.voice", "5", "got `int`"),
        ("provider.mine.command", '["x"]', "not both"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_the_file_untouched(
    written: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, words: str
) -> None:
    before = written.stat()
    assert main(["config", "set", key, value]) == 2
    assert words in capsys.readouterr().err
    assert written.read_text() == WRITTEN
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_is_no_toml_is_refused(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written.write_text("[daemon\n")
    assert main(["config", "set", "daemon.idle_minutes", "3"]) == 2
    assert str(written) in capsys.readouterr().err
    assert written.read_text() == "[daemon\n"


def test_a_link_stays_one_and_its_target_changes(written: Path, tmp_path: Path) -> None:
    kept = written.rename(tmp_path / "dotfiles.toml")
    written.symlink_to(kept)
    assert main(["config", "set", "speech.voice", "other"]) == 0
    assert written.is_symlink()
    assert 'voice = "other"' in kept.read_text()


def test_a_place_that_cannot_be_written_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.write_text("a file where the directory should be")
    assert main(["config", "set", "speech.voice", "other"]) == 2
    assert str(file) in capsys.readouterr().err


def test_a_change_tells_of_the_restart_only_if_a_daemon_runs(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "set", "speech.voice", "a"]) == 0
    assert capsys.readouterr().out == ""
    with FakeDaemon(places.runtime_dir()):
        assert main(["config", "set", "speech.voice", "b"]) == 0
    assert "`voicebox daemon restart`" in capsys.readouterr().out


# --- edit


def test_edit_takes_what_the_editor_wrote(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor(tmp_path, monkeypatch, "path.write_text(path.read_text().replace('heart', 'other'))")
    assert main(["config", "edit"]) == 0
    assert written.read_text() == WRITTEN.replace("heart", "other")
    assert not list(tmp_path.glob("voicebox-config-*"))


def test_edit_keeps_the_old_file_and_the_rejected_one(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    editor(tmp_path, monkeypatch, "path.write_text('[deamon]')")
    assert main(["config", "edit"]) == 2
    err = capsys.readouterr().err
    (draft,) = tmp_path.glob("voicebox-config-*")
    assert "did you mean 'daemon'" in err
    assert f"{written} is as it was; what you wrote is in {draft}" in err
    assert written.read_text() == WRITTEN
    assert draft.read_text() == "[deamon]"


def test_a_file_with_a_mistake_can_be_edited(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_bytes(b"\xff")
    editor(tmp_path, monkeypatch, "path.write_text('[daemon]\\n')")
    assert main(["config", "edit"]) == 0
    assert written.read_text() == "[daemon]\n"


@pytest.mark.parametrize(
    ("code", "expected"), [("pass", 0), ("path.unlink()", 0), ("path.write_text('x'); sys.exit(3)", 2)]
)
def test_an_editor_that_changes_nothing_or_fails(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: int
) -> None:
    editor(tmp_path, monkeypatch, code)
    assert main(["config", "edit"]) == expected
    assert written.read_text() == WRITTEN
    assert not list(tmp_path.glob("voicebox-config-*"))


@pytest.mark.parametrize("command", ["/nonexistent/editor", "'"])
def test_an_editor_that_is_none(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", command)
    assert main(["config", "edit"]) == 2
    assert "cannot run the editor" in capsys.readouterr().err
