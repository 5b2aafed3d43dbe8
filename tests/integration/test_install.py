"""`provider install`, whole: a real environment by the real uv, with one tiny package, tried, taken into use, replaced, removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import Place, eventually
from voicebox_client import Voicebox

pytestmark = pytest.mark.skipif(
    shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") is None,
    reason="needs uv on PATH",
)

WITHIN_S = 100.0
# What the package brings: an engine, and the way to the packages that our runtime needs, which are installed here.
ENGINE = """
import time
from pathlib import Path
from voicebox_provider import PermanentFault
from voicebox_provider.testing import FakeEngine

class Tiny(FakeEngine):
    def __init__(self, settings):
        own = {"voices": settings.get("voices", ["one"])}
        if settings.get("broken"):
            raise PermanentFault("its weights are not there")
        super().__init__(own)
        self.hold = settings.get("hold")

    def load(self, extend):
        if self.hold:
            Path(self.hold).touch()
            time.sleep(600)
        super().load(extend)
"""
# The command, with a recipe of our own.
INSTALL = """
import json, sys
from pathlib import Path
from voicebox_cli import main, provider_install
from voicebox_cli.install import recipes

listed, settings = sys.argv[1:3]
recipe = recipes.Recipe("pytorch-cpu", "tiny_voice:Tiny", json.loads(settings), (Path(listed),))
recipes.recipe = lambda provider: recipe
sys.exit(main.main(["provider", "install", "pytorch-cpu", *sys.argv[3:]]))
"""


def wheel(directory: Path, version: str) -> None:
    name = f"tiny_voice-{version}"
    with zipfile.ZipFile(directory / f"{name}-py3-none-any.whl", "w") as made:
        made.writestr("tiny_voice.py", ENGINE)
        made.writestr(
            "borrowed.pth", "\n".join(dict.fromkeys(sysconfig.get_path(each) for each in ("purelib", "platlib")))
        )
        made.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tiny-voice\nVersion: {version}\n")
        made.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{name}.dist-info/RECORD", "")


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(VOICEBOX_AUDIO_SINK="null")
    (place.root / "wheels").mkdir()
    for version in ("1.0", "2.0"):
        wheel(place.root / "wheels", version)
    # No index is asked for anything.
    place.environment |= {
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(place.root / "wheels"),
        "UV_CACHE_DIR": str(place.root / "uv"),
    }
    yield place
    place.remove()


def command(place: Place, version: str, settings: dict[str, Any], *more: str) -> list[str]:
    listed = place.root / "requirements.txt"
    listed.write_text(f"tiny-voice=={version}\n")
    return [sys.executable, "-c", INSTALL, str(listed), json.dumps(settings), *more]


def install(place: Place, version: str = "1.0", *more: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return place.run(*command(place, version, settings, *more), timeout=WITHIN_S)


def builds(place: Place) -> list[Path]:
    directory = place.root / "data" / "environments" / "pytorch-cpu"
    return [each for each in directory.iterdir() if each.is_dir()] if directory.exists() else []


def says(place: Place, voice: str) -> dict[str, Any]:
    done = place.voicebox("say", "Hello.", "-v", f"pytorch-cpu/{voice}", "-o", str(place.root / "a.wav"), "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_from_nothing_to_speech_and_back_without_restarting_the_daemon(place: Place) -> None:
    assert place.voicebox("daemon", "start").returncode == 0
    (daemon,) = place.daemons()
    done = install(place, "1.0", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["provider"], report["voices"], report["sample_rate"]) == ("pytorch-cpu", ["one"], 24000)
    assert report["frames"] > 0
    assert "1 packages" in done.stderr
    (first,) = builds(place)
    assert report["environment"] == str(first)
    assert says(place, "one")["voice"] == "one"
    (worker,) = [each for each in place.providers() if str(first) in " ".join(each.cmdline())]

    # A later install takes its place, and the process of the earlier one is gone.
    done = install(place, "2.0", voices=["two"])
    assert done.returncode == 0, done.stderr
    assert "with" not in done.stdout.splitlines()[0]
    (second,) = builds(place)
    assert second != first
    assert not worker.is_running()
    assert says(place, "two")["voice"] == "two"
    assert place.voicebox("say", "Hello.", "-v", "pytorch-cpu/one", "-o", str(place.root / "b.wav")).returncode == 4

    # The next daemon knows it too.
    assert [each.pid for each in place.daemons()] == [daemon.pid]
    assert place.voicebox("daemon", "restart").returncode == 0
    assert says(place, "two")["voice"] == "two"
    done = place.voicebox("provider", "remove", "pytorch-cpu")
    assert (done.returncode, done.stdout) == (0, "removed pytorch-cpu\n"), done.stderr
    assert not (place.root / "data" / "environments" / "pytorch-cpu").exists()
    assert place.voicebox("provider", "show", "pytorch-cpu").returncode == 4


def test_one_that_does_not_speak_changes_nothing(place: Place) -> None:
    assert install(place).returncode == 0
    before = builds(place)
    done = install(place, "2.0", broken=True)
    assert done.returncode == 5
    assert "its weights are not there" in done.stderr
    assert "nothing was changed" in done.stderr
    done = install(place, "3.0")
    assert done.returncode == 1
    assert "tiny-voice" in done.stderr
    assert builds(place) == before
    assert says(place, "one")["voice"] == "one"


def test_one_that_is_killed_half_way_keeps_others_out_while_it_runs_and_is_swept_away(place: Place) -> None:
    assert install(place).returncode == 0
    (before,) = builds(place)
    flag = place.root / "loading"
    running = place.popen(
        *command(place, "2.0", {"hold": str(flag)}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with running:
        try:
            eventually(flag.exists, "its first sentence is due")
            assert len(builds(place)) == 2
            second = install(place)
            assert second.returncode == 77
            assert "is being installed already" in second.stderr
        finally:
            running.send_signal(signal.SIGKILL)
            running.wait()
        # What it had started holds the lock until it ends.
        for process in place.processes():
            if "voicebox_provider.self_test" in process.cmdline():
                assert install(place).returncode == 77
                process.kill()
                process.wait(60)
    assert says(place, "one")["voice"] == "one"
    eventually(lambda: install(place, "2.0").returncode == 0, "the next one goes through")
    assert before not in builds(place)
    assert len(builds(place)) == 1


def test_a_provider_of_the_configuration_is_told_of_before_anything_is_built(place: Place) -> None:
    (place.root / "config.toml").write_text('[provider.pytorch-cpu]\nengine = "voicebox_provider.testing:FakeEngine"\n')
    done = install(place)
    assert done.returncode == 77
    assert "take [provider.pytorch-cpu] out of config.toml" in done.stderr
    assert builds(place) == []


def test_speech_that_is_under_way_goes_on_with_the_next_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(place).returncode == 0
    for name in ("VOICEBOX_RUNTIME_DIR", "VOICEBOX_DATA_DIR", "VOICEBOX_CONFIG"):
        monkeypatch.setenv(name, place.environment[name])
    with Voicebox(autostart=False) as box:
        speech = box.say("This is the first [[sleep:1500]] one. This is the second one.", voice="pytorch-cpu/one")
        first = next(iter(speech))
        assert first.frames
        assert install(place, "2.0").returncode == 0
        assert sum(chunk.frames for chunk in speech) > 0
        assert speech.result.state == "done"


def test_one_whose_environment_was_deleted_is_mended_by_installing_it_again(place: Place) -> None:
    assert install(place).returncode == 0
    (first,) = builds(place)
    assert place.voicebox("provider", "stop", "pytorch-cpu").returncode == 0
    shutil.rmtree(first)
    assert place.voicebox("provider", "start", "pytorch-cpu").returncode == 5
    done = install(place, "2.0")
    assert done.returncode == 0, done.stderr
    assert says(place, "one")["voice"] == "one"
