"""`voicebox doctor` on a real machine: with a daemon, without one, and with one that does not answer."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import Place, running
from tests.integration.wire_client import WireClient

CARD = """
[provider.pytorch-cuda]
engine = "voicebox_provider.testing:FakeEngine"
settings = { device = "cuda", vram = [4_200_000_000, 4_500_000_000, 143_000_000_000] }
"""
# Beyond what the command allows itself for all that hangs; a slow machine has as much again for the rest.
PATIENCE_S = 60.0


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(VOICEBOX_AUDIO_BACKEND="null")
    yield place
    place.remove()


def put_smi(place: Place, script: str) -> None:
    programs = place.root / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    place.environment["PATH"] = os.pathsep.join([str(programs), place.environment["PATH"]])


def examined(place: Place) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The exit code, and what was found by its area."""
    done = place.voicebox("doctor", "--json", timeout=PATIENCE_S)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    found: dict[str, list[dict[str, Any]]] = {}
    for each in told["findings"]:
        found.setdefault(each["area"], []).append(each)
    assert told["well"] == (done.returncode == 0) == all(each["level"] != "broken" for each in told["findings"])
    return done.returncode, found


def test_without_a_daemon_all_is_well_and_none_is_started(place: Place) -> None:
    code, found = examined(place)
    assert code == 0
    assert "none runs" in found["daemon"][0]["what"]
    assert [each["what"] for each in found["provider"] if each["what"].startswith("builtin")] == ["builtin"]
    assert found["sound"] == [{"level": "ok", "area": "sound", "what": "a device is there, by null", "do": None}]
    assert not place.answers()
    assert not place.runtime.exists()


def test_with_a_daemon_it_tells_of_it_and_of_its_providers_and_starts_none(place: Place) -> None:
    (place.root / "config.toml").write_text(CARD)
    put_smi(place, 'echo "NVIDIA H200, 143771, 4291, 570.86"')
    assert place.voicebox("daemon", "start").returncode == 0
    code, found = examined(place)
    assert code == 0
    assert " runs (pid " in found["daemon"][0]["what"]
    assert {re.split("[:,]", each["what"])[0] for each in found["provider"]} == {"builtin", "pytorch-cuda"}
    assert place.providers() == []
    card = found["device"][0]
    assert card["what"].endswith("4.5 of 150.8 GB in use, driver 570.86; for pytorch-cuda")
    with WireClient(place) as client:
        assert client.speak("Hello.", provider="pytorch-cuda").end["kind"] == "Done"
    _, found = examined(place)
    assert found["device"][0]["what"].endswith("for pytorch-cuda (4.2 GB of it)")


def test_a_card_that_nobody_uses_is_named_with_the_command_that_changes_that(place: Place) -> None:
    put_smi(place, 'echo "NVIDIA H200, 143771, 4291, 570.86"')
    done = place.voicebox("doctor")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    (at,) = (index for index, line in enumerate(lines) if "no provider uses NVIDIA H200" in line)
    assert lines[at].startswith("hint")
    assert lines[at + 1].strip() == "→ voicebox provider install pytorch-cuda"
    told = json.loads(place.voicebox("doctor", "--json").stdout)
    assert told["devices"][0]["total"] == 143771 * 1024 * 1024


def test_it_ends_in_time_whatever_hangs(place: Place) -> None:
    """A stopped daemon still has its door open, and a driver that hangs takes `nvidia-smi` with it."""
    put_smi(place, "sleep 600")
    with running(VOICEBOX_AUDIO_BACKEND="null") as daemon:
        place.environment["VOICEBOX_RUNTIME_DIR"] = str(daemon.place.runtime)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            code, found = examined(place)
            assert time.monotonic() - began < PATIENCE_S
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        assert code == 1
        assert f"(pid {daemon.pid}) and does not answer" in found["daemon"][0]["what"]
        assert f"kill -9 {daemon.pid}" in found["daemon"][0]["do"]


def test_a_dead_daemons_socket_is_no_trouble(place: Place) -> None:
    with running() as daemon:
        daemon.process.kill()
        daemon.process.wait()
        place.environment["VOICEBOX_RUNTIME_DIR"] = str(daemon.place.runtime)
        code, found = examined(place)
    assert code == 0
    assert "left its socket behind" in found["daemon"][0]["what"]


def test_what_is_broken_is_told_and_ends_with_1(place: Place) -> None:
    (place.root / "config.toml").write_text("[deamon]\n")
    place.runtime.mkdir()
    place.runtime.chmod(0o755)
    bundle = place.root / "data" / "providers" / "pytorch-cpu"
    bundle.mkdir(parents=True)
    (bundle / "provider.toml").write_text('engine = "a:B"\npython = "/no/such/python"\n')
    code, found = examined(place)
    assert code == 1
    broken = {
        each["what"].partition(":")[0]: each["do"]
        for area in found.values()
        for each in area
        if each["level"] == "broken"
    }
    assert set(broken) == {"configuration", "sockets", "pytorch-cpu"}
    assert "did you mean 'daemon'" in broken["configuration"]
    assert f"chmod 700 {place.runtime}" in broken["sockets"]
    assert broken["pytorch-cpu"] == "voicebox provider install pytorch-cpu"


def test_places_that_do_not_exist_yet_are_judged_by_what_is_above_them(place: Place) -> None:
    (place.root / "file").write_text("")
    place.environment["VOICEBOX_DATA_DIR"] = str(place.root / "file" / "below")
    code, found = examined(place)
    assert code == 1
    broken = [each for each in found["places"] if each["level"] == "broken"]
    assert {each["what"].partition(":")[0] for each in broken} == {"data", "logs"}
    assert all(f"{place.root / 'file'} is no directory" in each["do"] for each in broken)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a limit that can be set for a child")
def test_too_few_descriptors_are_told(place: Place) -> None:
    done = place.run("bash", "-c", "ulimit -n 256; exec voicebox doctor")
    assert done.returncode == 1
    assert "only 256 open files are allowed" in done.stdout
