"""From a reference to an engine: names, modules and files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voicebox_provider.engine import PermanentFault
from voicebox_provider.engine_reference import make_engine
from voicebox_provider.testing import FakeEngine

ONE = """
from voicebox_provider import Engine
from voicebox_provider.testing import FakeEngine
class {name}(Engine):
    def capabilities(self): ...
    def load(self, extend): ...
    def synthesize(self, utterance): ...
"""


@pytest.fixture(autouse=True)
def _modules_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.mark.parametrize("reference", ["voicebox_provider.testing:FakeEngine", "voicebox_provider.testing"])
def test_a_module_with_and_without_a_class(reference: str) -> None:
    engine = make_engine(reference, {"ms_per_char": 7})
    assert isinstance(engine, FakeEngine)
    assert engine.settings == {"ms_per_char": 7}


def test_an_entry_point_by_its_name() -> None:
    assert type(make_engine("builtin", {})).__name__ == "BuiltinEngine"


@pytest.mark.parametrize("suffix", ["", ":Mine"])
def test_a_file_whose_engine_is_its_own_and_not_what_it_imports(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "my-engine.py").write_text(ONE.format(name="Mine"))
    assert type(make_engine(f"{tmp_path}/my-engine.py{suffix}", {})).__name__ == "Mine"


def test_a_file_named_like_a_module_stands_in_for_none(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(ONE.format(name="Mine"))
    make_engine(f"{tmp_path}/json.py", {})
    import json

    assert json.loads("[1]") == [1]


def test_the_setting_path_is_where_to_import_from(tmp_path: Path) -> None:
    (tmp_path / "module_of_mine.py").write_text(ONE.format(name="Mine"))
    engine = make_engine("module_of_mine:Mine", {"path": [str(tmp_path)], "a": 1})
    assert engine.settings == {"a": 1}


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such_engine", "no engine 'no_such_engine' is installed; there are: .*builtin"),
        ("no_such_module:Engine", "cannot be imported: ModuleNotFoundError"),
        ("voicebox_provider.testing:Nobody", "cannot be imported: AttributeError"),
        ("voicebox_provider.testing:Marker", "is no subclass of voicebox_provider.Engine"),
        ("voicebox_provider.requests", "holds: none"),
        ("/no/such/file.py", "there is no file /no/such/file.py"),
    ],
)
def test_what_is_no_engine_says_so(reference: str, words: str) -> None:
    with pytest.raises(PermanentFault, match=words):
        make_engine(reference, {})


def test_a_file_with_two_has_to_be_told_which(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(ONE.format(name="One") + ONE.format(name="Two"))
    with pytest.raises(PermanentFault, match="it holds: One, Two"):
        make_engine(f"{tmp_path}/two.py", {})
    assert type(make_engine(f"{tmp_path}/two.py:Two", {})).__name__ == "Two"
