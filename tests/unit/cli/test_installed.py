"""The providers that `voicebox doctor` knows: by their files where no daemon tells, and by both where one does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from voicebox_cli.checkup.facts import Provider
from voicebox_cli.checkup.installed import merged, on_disk
from voicebox_protocol import places


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a file below this test's own data directory, which has the configuration too."""
    monkeypatch.setenv(places.DATA_DIR, str(tmp_path))
    monkeypatch.setenv(places.CONFIG, str(tmp_path / "config.toml"))

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def known(told: list[dict[str, object]] | None = None) -> dict[str, Provider]:
    return {each.id: each for each in merged(on_disk()[0], told or [])}


def test_without_any_file_there_is_what_the_package_brings(write: Callable[[str, str], Path]) -> None:
    assert known() == {"builtin": Provider("builtin", engine="builtin")}
    assert on_disk()[1] is None


def test_bundles_and_configuration_are_read_with_device_and_model(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    model = write("models/tts-0.6B/config.json", "{}").parent
    write(
        "providers/pytorch-cuda/provider.toml",
        f'engine = "a:B"\npython = "{sys.executable}"\nsettings = {{ device = "cuda", model = "tts-1.7B" }}\n',
    )
    write("providers/broken/provider.toml", "engine = ")
    write("providers/Not-An-Id/provider.toml", 'engine = "a:B"\n')
    write(
        "config.toml",
        f'[provider.pytorch-cuda.settings]\nmodel = "{model}"\n[provider.mine]\nengine = "m:E"\n'
        '[provider.mine.settings]\ndevice = "auto"\n[provider.builtin]\nenabled = false\n',
    )
    assert known() == {
        "mine": Provider("mine", engine="m:E", device="auto"),
        "pytorch-cuda": Provider("pytorch-cuda", engine="a:B", device="cuda", model="tts-0.6B"),
    }


@pytest.mark.parametrize(
    ("what", "missing"),
    [
        ('engine = "a:B"\npython = "/no/such/python"\n', "/no/such/python"),
        ('engine = "a:B"\nsettings = { model = "/no/such/model" }\n', "/no/such/model"),
        ('engine = "a:B"\nsettings = { model = "by-name" }\n', None),
        ('command = ["/no/such/program", "x"]\n', "/no/such/program"),
        ('command = ["by-name"]\n', None),
    ],
)
def test_what_a_provider_cannot_do_without_is_looked_for(
    write: Callable[[str, str], Path], what: str, missing: str | None
) -> None:
    write("providers/one/provider.toml", what)
    assert known()["one"].missing == missing


def test_a_daemon_knows_better_and_files_fill_in(write: Callable[[str, str], Path]) -> None:
    write("providers/one/provider.toml", 'engine = "a:B"\nsettings = { device = "cuda:1" }\n')
    told: list[dict[str, object]] = [
        {"id": "one", "state": "stopped", "engine": "qwen3-tts", "version": "1", "device": None},
        {"id": "two", "state": "ready", "engine": "e", "version": "2", "device": "cpu", "vram_bytes": 7, "reason": "r"},
    ]
    assert known(told) == {
        "one": Provider("one", state="stopped", engine="qwen3-tts", version="1", device="cuda:1"),
        "two": Provider("two", state="ready", reason="r", engine="e", version="2", device="cpu", vram=7),
    }


def test_a_mistake_in_the_configuration_is_told_and_the_rest_still_read(write: Callable[[str, str], Path]) -> None:
    write("config.toml", "[deamon]\n")
    found, problem = on_disk()
    assert set(found) == {"builtin"}
    assert "did you mean 'daemon'" in (problem or "")
    assert "voicebox config edit" in (problem or "")
