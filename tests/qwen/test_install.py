"""From nothing to speech: what a stranger types, against the package index that pip is configured with; a gigabyte and more of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.daemon import Place
from tests.qwen.hub import Hub, hub
from tests.qwen.stranger import TEXT, nowhere, ran, spoken

if find_spec("torch") is None or find_spec("qwen_tts") is None:
    pytest.skip("needs torch and qwen_tts", allow_module_level=True)

REPO = "Qwen/Tiny-VoiceDesign"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with nowhere() as place:
        yield place


@pytest.mark.timeout(3600)
def test_from_nothing_to_speech(place: Place, checkpoint: Callable[[str], Path]) -> None:
    if shutil.which("uv", path=place.environment["PATH"]):
        pytest.skip("there is a uv on the system's own path")
    assert ran(place, "daemon", "start").returncode == 0
    (daemon,) = place.daemons()
    done = ran(place, "provider", "install", "pytorch-cpu", "--model", str(checkpoint("custom_voice")), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"] == "custom_voice"
    assert report["frames"] > 0
    assert "to fetch" in done.stderr
    assert "of disk" in done.stderr
    assert "fetching uv" in done.stderr

    # The daemon that ran all the while speaks with it; names of voices in any case.
    assert spoken(place, "--provider", "pytorch-cpu") > 0
    assert spoken(place, "-v", "pytorch-cpu/Vivian") > 0

    # Another model, fetched from a hub; each request may name one, and a voice of one alone names it too.
    files = shutil.copytree(checkpoint("voice_design"), place.root / "served")
    # Fetched in blocks of 10 MiB: what is smaller begins anew.
    (files / "more.bin").write_bytes(bytes(25_000_000))
    with hub(REPO, files) as served:
        add(place, served)
    design = ("--instruct", "an old man")
    chosen = spoken(place, "--provider", "pytorch-cpu", "--model", "Tiny-VoiceDesign", *design)
    assert chosen == spoken(place, "-v", "pytorch-cpu/designed", *design) > 0
    assert spoken(place, "--provider", "pytorch-cpu", "--model", "custom_voice") > 0
    other = ran(place, "say", TEXT, "-v", "pytorch-cpu/ryan", "--model", "Tiny-VoiceDesign", *design, "-o", "x.wav")
    assert other.returncode == 4
    assert "designed" in other.stderr

    # The default may go, and the next one speaks.
    assert ran(place, "model", "remove", "custom_voice").returncode == 0
    assert checkpoint("custom_voice").is_dir()
    assert spoken(place, "--provider", "pytorch-cpu", *design) > 0
    assert [each.pid for each in place.daemons()] == [daemon.pid]

    environments = place.root / "data" / "environments"
    assert (environments / "pytorch-cpu").is_dir()
    assert ran(place, "provider", "remove", "pytorch-cpu").returncode == 0
    assert not (environments / "pytorch-cpu").exists()
    assert ran(place, "model", "remove", "Tiny-VoiceDesign").returncode == 0
    assert not list((place.root / "data" / "models").glob("Tiny*"))


def add(place: Place, served: Hub) -> None:
    """A fetch that breaks off is gone on with, and without a hub it says where the files may be put."""
    offline = ran(place, "model", "add", REPO, HF_HUB_OFFLINE="1")
    assert offline.returncode == 1
    assert str(place.root / "data" / "models" / "Tiny-VoiceDesign") in offline.stderr
    assert served.asked == []
    missing = ran(place, "model", "add", "Qwen/Nothing", HF_ENDPOINT=served.url)
    assert missing.returncode == 4, missing.stderr
    served.breaks_after = 12_000_000
    broken = ran(place, "model", "add", REPO, HF_ENDPOINT=served.url)
    assert broken.returncode == 1, broken.stderr
    assert "broke off" in broken.stderr
    assert not (place.root / "data" / "models" / "Tiny-VoiceDesign").exists()
    served.breaks_after = None
    added = ran(place, "model", "add", REPO, "--json", HF_ENDPOINT=served.url)
    assert added.returncode == 0, added.stderr
    told = json.loads(added.stdout)
    assert (told["name"], told["fetched"], told["providers"]) == ("Tiny-VoiceDesign", True, ["pytorch-cpu"])
    assert any(first > 0 for first in served.ranges)


def test_an_engine_without_a_model_is_ready_for_one() -> None:
    asked = {"engine": "voicebox_provider.engines.qwen.engine:QwenEngine", "settings": {"device": "cpu", "models": {}}}
    command = [sys.executable, "-m", "voicebox_provider.self_test"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["voices"], report["models"], report["frames"], report["device"]) == ([], [], 0, "cpu")
