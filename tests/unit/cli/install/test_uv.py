"""What uv is told: pip's indexes, unless it knows some itself; and where it comes from."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from voicebox_cli.install import uv
from voicebox_protocol import places


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(places.DATA_DIR, str(tmp_path / "data"))


LISTED = """\
:env:.disable-pip-version-check='1'
global.extra-index-url='https://one.example https://two.example'
global.index-url='https://zero.example'
global.timeout='60'
install.find-links='/wheels\\n/more'
download.index-url='https://other.example'
"""


def test_pip_is_read_as_it_lists_its_configuration() -> None:
    assert uv.parsed(LISTED) == {
        "extra-index-url": "https://one.example https://two.example",
        "index-url": "https://zero.example",
        "timeout": "60",
        "find-links": "/wheels /more",
    }


def test_pips_settings_have_other_names_there() -> None:
    assert uv.as_uv(uv.parsed(LISTED)) == {
        "UV_DEFAULT_INDEX": "https://zero.example",
        "UV_INDEX": "https://one.example https://two.example",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert uv.as_uv({"no-index": "true"}) == {"UV_NO_INDEX": "1"}
    assert uv.as_uv({"index-url": " "}) == {}


def test_who_told_uv_of_an_index_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "_pip_config", lambda: {"index-url": "https://of-pip/simple", "cert": "/of-pip.pem"})
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for name in list(os.environ):
        if name.startswith("UV_"):
            monkeypatch.delenv(name)
    assert uv.environment()["UV_DEFAULT_INDEX"] == "https://of-pip/simple"
    monkeypatch.setenv("UV_INDEX_URL", "https://of-uv/simple")
    assert "UV_DEFAULT_INDEX" not in uv.environment()
    # Whom to trust is another matter.
    assert uv.environment()["SSL_CERT_FILE"] == "/of-pip.pem"


def test_another_pythons_paths_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "_pip_config", dict)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(uv.environment())


def program(place: Path, version: str) -> None:
    place.mkdir()
    (place / "uv").write_text(f"#!/bin/sh\necho 'uv {version}'\n")
    (place / "uv").chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
def test_one_on_path_that_is_new_enough_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "new", "0.9.1 (abc 2025-10-01)")
    monkeypatch.setenv("PATH", str(tmp_path / "new"), prepend=os.pathsep)
    assert uv.find() == tmp_path / "new" / "uv"
    assert not uv.is_own(uv.find())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
def test_an_old_one_is_passed_over_for_one_from_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "old", "0.4.30")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    plain = uv._PINNED.replace("==", "-")
    with zipfile.ZipFile(wheels / f"{plain}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{plain}.data/scripts/uv", "#!/bin/sh\necho uv 0.13.9\n")
        wheel.writestr(f"{plain}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: uv\nVersion: {plain[3:]}\n")
        wheel.writestr(f"{plain}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n")
        wheel.writestr(f"{plain}.dist-info/RECORD", "")
    monkeypatch.setenv("PATH", str(tmp_path / "old"), prepend=os.pathsep)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    found = uv.find()
    assert uv.is_own(found)
    assert places.cache_dir() in found.parents
    assert uv._version(found) == (0, 13)
    # What is there is not fetched again.
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert uv.find() == found
