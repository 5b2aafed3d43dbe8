"""Providers started, stopped and restarted by hand, over the wire and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.integration.daemon import Daemon, Place, eventually, running
from tests.integration.wire_client import WireClient
from voicebox_client import AsyncVoicebox, Voicebox
from voicebox_protocol import errors, places

PROVIDERS = Path(__file__).resolve().parents[1] / "providers"
FAKE = "voicebox_provider.testing:FakeEngine"
STORY = "".join(f"[[slow:60]] This is sentence number {number}. " for number in range(1, 6))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """With an engine that works, and two that lack `model` in the temporary directory."""
    config = f'[provider.fake]\nengine = "{FAKE}"\nsettings = {{ max_chars = 60 }}\n'
    for name, dies in (("lacking", "false"), ("dying", "true")):
        settings = f'{{ model = "{tmp_path}/model", dies = {dies} }}'
        config += f'[provider.{name}]\nengine = "mendable:Mendable"\nsettings = {settings}\n'
    with running(config, PYTHONPATH=str(PROVIDERS)) as daemon:
        yield daemon


@pytest.fixture
def here(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The daemon that a client in this process finds."""
    monkeypatch.setenv(places.RUNTIME_DIR, str(daemon.place.runtime))
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "0")
    return daemon


def entry(daemon: Daemon, provider: str) -> dict[str, Any]:
    return next(each for each in daemon.status()["providers"] if each["id"] == provider)


def pids(daemon: Daemon) -> set[int]:
    return {process.pid for process in daemon.place.providers()}


def control(daemon: Daemon, action: str, provider: str = "fake") -> dict[str, Any]:
    with WireClient(daemon.place, attach=False) as client:
        client.send("ControlProvider", query=7, provider=provider, action=action)
        answer = client.receive(60.0)[0]
    assert answer["query"] == 7
    return answer


def test_one_is_started_stopped_and_restarted_from_the_command_line(daemon: Daemon) -> None:
    place = daemon.place
    started = place.voicebox("provider", "start", "fake")
    assert (started.returncode, started.stdout, started.stderr) == (0, "fake is ready\n", "")
    first = entry(daemon, "fake")
    assert (first["state"], len(place.providers())) == ("ready", 1)
    again = json.loads(place.voicebox("provider", "restart", "fake", "--json").stdout)
    assert (again["id"], again["state"], again["reason"]) == ("fake", "ready", None)
    assert again["capabilities"]["engine"] == "fake"
    second = entry(daemon, "fake")
    assert second["pid"] != first["pid"]
    assert [process.pid for process in place.providers()] == [second["pid"]]
    assert place.voicebox("provider", "stop", "fake").stdout == "fake is stopped\n"
    assert place.providers() == []
    assert place.voicebox("provider", "stop", "fake").returncode == 0


def test_starting_one_that_is_ready_leaves_it_alone(daemon: Daemon) -> None:
    assert control(daemon, "start")["provider"]["state"] == "ready"
    before = entry(daemon, "fake")["pid"]
    assert control(daemon, "start")["provider"]["state"] == "ready"
    assert entry(daemon, "fake")["pid"] == before


def test_stop_lets_it_speak_what_was_asked_and_leaves_no_process(daemon: Daemon) -> None:
    with WireClient(daemon.place) as client:
        req = client.say(STORY, provider="fake")
        eventually(lambda: client.receive()[0]["kind"] == "Chunk", "the first sound")
        client.send("ControlProvider", query=7, provider="fake", action="stop")
        end = client.until_end(req).end
        assert (end["kind"], end["segments"]) == ("Done", 5)
        assert [run["outcome"] for run in end["attempts"]] == ["done"]
        answer = client.receive(60.0)[0]
        assert (answer["kind"], answer["provider"]["state"]) == ("ProviderControlled", "stopped")
        assert daemon.place.providers() == []
        # Who asks for it later has it again.
        assert client.speak("Once more.", provider="fake").end["kind"] == "Done"


def test_stop_waits_no_longer_for_a_request_that_is_cancelled(daemon: Daemon) -> None:
    with WireClient(daemon.place) as client:
        req = client.say(STORY, provider="fake", more=True)
        eventually(lambda: client.receive()[0]["kind"] == "Chunk", "the first sound")
        client.send("ControlProvider", query=7, provider="fake", action="stop")
        client.send("Cancel", boot=client.boot, req=req)
        eventually(lambda: client.receive(10.0)[0]["kind"] == "ProviderControlled", "it has stopped", within=20.0)
    assert daemon.place.providers() == []


def test_a_restart_goes_unheard(daemon: Daemon) -> None:
    with WireClient(daemon.place) as client:
        whole = client.speak(STORY, provider="fake", seed=7).samples
        req = client.say(STORY, provider="fake", seed=7)
        eventually(lambda: client.receive()[0]["kind"] == "Accepted", "it is accepted")
        former = pids(daemon)
        answer = control(daemon, "restart")
        assert answer["kind"] == "ProviderControlled", answer
        assert pids(daemon)
        assert not former & pids(daemon)
        ending = client.until_end(req)
        assert (ending.end["kind"], ending.end["segments"]) == ("Done", 5)
        assert ending.samples == whole


def test_one_that_failed_for_good_says_why_and_is_tried_anew(daemon: Daemon, tmp_path: Path) -> None:
    place = daemon.place
    failed = place.voicebox("provider", "start", "lacking")
    assert failed.returncode == 5
    assert "lacking is not ready: failed: " in failed.stderr
    assert "the model is missing" in failed.stderr
    assert "\n  looking for the model?[2J" in failed.stderr
    assert entry(daemon, "lacking")["state"] == "failed"
    assert control(daemon, "restart", "lacking")["code"] == "PROVIDER_FAILED"
    (tmp_path / "model").touch()
    assert control(daemon, "start", "lacking")["provider"]["state"] == "ready"
    assert entry(daemon, "lacking")["reason"] is None


def test_one_that_is_quarantined_is_tried_anew(daemon: Daemon, tmp_path: Path) -> None:
    answer = control(daemon, "start", "dying")
    assert answer["code"] == "PROVIDER_FAILED"
    assert answer["message"].startswith("dying is not ready: quarantined: it exited with code 9")
    before = entry(daemon, "dying")
    assert before["state"] == "quarantined"
    (tmp_path / "model").touch()
    assert control(daemon, "restart", "dying")["provider"]["state"] == "ready"
    assert entry(daemon, "dying")["epoch"] == before["epoch"] + 1
    assert control(daemon, "stop", "dying")["provider"]["state"] == "stopped"


def test_what_does_not_exist_is_named_with_the_nearest(daemon: Daemon) -> None:
    place = daemon.place
    for action in ("start", "stop", "restart"):
        done = place.voicebox("provider", action, "fale")
        assert (done.returncode, done.stderr) == (4, "voicebox: no provider is called 'fale'; did you mean 'fake'?\n")
    answer = control(daemon, "reload")
    assert (answer["code"], "start, stop, restart" in answer["message"]) == ("BAD_REQUEST", True)


def test_stop_starts_no_daemon() -> None:
    place = Place()
    try:
        done = place.voicebox("provider", "stop", "builtin")
        assert done.returncode == 3
        assert done.stderr.startswith("voicebox: no daemon ")
        assert place.daemons() == []
    finally:
        place.remove()


def test_the_library_has_them_too(here: Daemon) -> None:
    async def in_a_loop() -> list[str]:
        async with AsyncVoicebox() as box:
            with pytest.raises(errors.DeadlineExceeded, match="goes on with it"):
                await box.restart_provider("fake", timeout=0.01)
            calls = (box.start_provider, box.restart_provider, box.stop_provider)
            return [(await call("fake"))["state"] for call in calls]

    with Voicebox() as box:
        states = [call("fake")["state"] for call in (box.start_provider, box.restart_provider, box.stop_provider)]
        with pytest.raises(errors.NoSuchProvider):
            box.stop_provider("nobody")
        with pytest.raises(errors.DeadlineExceeded, match="goes on with it"):
            box.start_provider("fake", timeout=0.01)
    assert states == anyio.run(in_a_loop) == ["ready", "ready", "stopped"]
