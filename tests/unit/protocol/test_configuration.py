"""The configuration file: what it may say, and what is said when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicebox_protocol.configuration import Config, load
from voicebox_protocol.errors import InvalidConfig


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        file = tmp_path / "config.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def test_no_file_and_an_empty_one_are_the_defaults(tmp_path: Path, write) -> None:
    assert load(tmp_path / "none.toml") == Config() == load(write(""))


def test_what_is_set_is_read(write) -> None:
    config = load(
        write(
            """
            [daemon]
            idle_minutes = 5
            max_requests = 7
            [speech]
            voice = "anna"
            [provider.mine]
            engine = "my.module:Engine"
            load_s = 300.0
            settings = { colour = "red", nested = { born = 1970-01-01 } }
            [provider.builtin]
            enabled = false
            """
        )
    )
    assert (config.daemon.idle_minutes, config.daemon.max_requests) == (5.0, 7)
    assert config.speech.voice == "anna"
    assert config.provider["mine"].load_s == 300.0
    assert config.provider["mine"].settings["colour"] == "red"
    assert not config.provider["builtin"].enabled


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[daemon]\nidle_minuets = 3", ["[daemon]", "'idle_minuets'", "did you mean 'idle_minutes'"]),
        ("[deamon]", ["the top level", "'deamon'", "did you mean 'daemon'"]),
        ("[speech]\nxyzzy = 1", ["[speech]", "'xyzzy'", "it takes voice, provider"]),
        ("[provider.a]\nengin = 'x'", ["provider.ID", "'engin'", "did you mean 'engine'"]),
        ("[daemon]\nidle_minutes = 0", ["daemon.idle_minutes", "> 0"]),
        ("[daemon]\nidle_minutes = nan", ["daemon.idle_minutes"]),
        ("[daemon]\nmax_requests = 'many'", ["daemon.max_requests", "int"]),
        ("[daemon\n", ["line 1"]),
        ("[provider.Big]\nengine = 'x'", ["provider.Big", "a-z"]),
        ("[provider.'../x']\nengine = 'x'", ["provider.../x", "a-z"]),
        ("[provider.a]\nengine = 'x'\ncommand = ['y']", ["provider.a", "not both"]),
        ("[order]\ndefalt = ['a']", ["[order]", "'defalt'", "did you mean 'default'"]),
        ("[order]\ndefault = 'a'", ["order.default", "array"]),
        ("[order]\ndefault = ['Big/x']", ["default: 'Big/x' is no slot", "PROVIDER/VOICE", "order"]),
        ("[order.voice]\n'a/x' = ['b', 'b/']", ["voice.a/x: 'b/' is no slot"]),
        ("[order.language]\nde = ['']", ["language.de: '' is no slot"]),
        (b"\xff\xfe", ["utf-8"]),
    ],
)
def test_a_mistake_is_told_with_its_file_place_and_remedy(write, text, words) -> None:
    file = write(text)
    with pytest.raises(InvalidConfig) as caught:
        load(file)
    assert all(word in str(caught.value) for word in [str(file), *words]), str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=str(tmp_path)):
        load(tmp_path)
