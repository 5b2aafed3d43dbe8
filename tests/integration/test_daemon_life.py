"""How a daemon begins and ends, and what is left of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.daemon import Daemon, Place, eventually, running
from tests.integration.wire_client import WireClient

NOBODY = 65534
FAKE = '[provider.builtin]\nenabled = false\n[provider.fake]\nengine = "voicebox_provider.testing:FakeEngine"\n'


@pytest.fixture
def place() -> Iterator[Place]:
    """Places of its own, and no daemon yet."""
    place = Place(FAKE)
    yield place
    place.remove()


def seconds_of(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def test_ten_at_once_with_no_daemon_start_one(place: Place) -> None:
    outputs = [place.root / f"{number}.wav" for number in range(10)]
    started = [
        place.popen(
            sys.executable, "-m", "voicebox_cli", "say", "Hello there.", "-o", str(output), stderr=subprocess.PIPE
        )
        for output in outputs
    ]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert all(seconds_of(output) > 0.1 for output in outputs)
    (daemon,) = place.daemons()
    assert place.voicebox("daemon", "stop").returncode == 0
    assert eventually(lambda: not psutil.pid_exists(daemon.pid), "it is gone")


def test_a_daemon_holds_none_of_its_starters_streams(place: Place) -> None:
    with (place.root / "out").open("wb") as out:
        process = place.popen(
            sys.executable, "-m", "voicebox_cli", "daemon", "start", stdin=subprocess.PIPE, stdout=out, stderr=out
        )
        process.communicate(timeout=60)
    assert process.returncode == 0
    (daemon,) = place.daemons()
    streams = [os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in (0, 1, 2)]
    assert streams[:2] == ["/dev/null", "/dev/null"]
    assert streams[2] == str(place.log / "voiceboxd.stderr")
    assert os.getsid(daemon.pid) == daemon.pid
    assert Path(f"/proc/{daemon.pid}/cwd").resolve() == Path("/")


def test_an_autostarted_daemon_inherits_nobodys_secrets(place: Place) -> None:
    place.environment |= {"OPENAI_API_KEY": "not-for-the-daemon", "LC_ALL": "C.UTF-8"}
    assert place.voicebox("daemon", "start").returncode == 0
    environment = place.daemons()[0].environ()
    assert "OPENAI_API_KEY" not in environment
    assert environment["LC_ALL"] == "C.UTF-8"


def test_start_is_content_with_a_running_daemon_and_run_is_not() -> None:
    with running(FAKE) as daemon:
        assert daemon.place.voicebox("daemon", "start").returncode == 0
        second = daemon.place.voicebox("daemon", "run")
        assert second.returncode == 1
        assert str(daemon.pid) in second.stderr
        quiet = daemon.place.run(sys.executable, "-m", "voiceboxd", "--autostart")
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
        assert daemon.status()["daemon"]["pid"] == daemon.pid


def test_stop_and_restart(place: Place) -> None:
    assert place.voicebox("daemon", "stop").returncode == 0
    assert place.voicebox("daemon", "start").returncode == 0
    (first,) = place.daemons()
    assert place.voicebox("daemon", "restart").returncode == 0
    (second,) = place.daemons()
    assert first.pid != second.pid
    assert place.voicebox("daemon", "stop").returncode == 0
    assert place.daemons() == []
    status = place.voicebox("status")
    assert status.returncode == 3
    assert "daemon start" in status.stderr


def test_autostart_can_be_forbidden(place: Place) -> None:
    place.environment["VOICEBOX_AUTOSTART"] = "0"
    done = place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav"))
    assert done.returncode == 3
    assert "daemon start" in done.stderr
    assert place.daemons() == []


def test_killed_while_busy_it_takes_its_providers_along(place: Place) -> None:
    say = [sys.executable, "-m", "voicebox_cli", "say", "[[slow:100]]" + "A very long sentence " * 15]
    output = place.root / "x.wav"
    client = place.popen(*say, "-o", str(output), "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: '"busy"' in _status(place), "it speaks")
    (daemon,), (provider,) = place.daemons(), place.providers()
    daemon.send_signal(signal.SIGKILL)
    gone = psutil.wait_procs([provider], timeout=2)[0]
    assert gone, "the provider outlived its daemon by 2 s"
    stdout, stderr = client.communicate(timeout=20)
    assert client.returncode == 3, stderr
    assert json.loads(stdout)["error"]["code"] == "DAEMON_LOST"
    assert not output.exists()
    assert [path.name for path in place.root.iterdir() if "x.wav" in path.name] == []
    after = place.voicebox("say", "Hello again.", "-o", str(output))
    assert after.returncode == 0, after.stderr
    assert seconds_of(output) > 0.1


def _status(place: Place) -> str:
    return place.voicebox("status", "--json").stdout


def test_a_provider_that_holds_still_is_ended_with_its_daemon() -> None:
    with running(FAKE) as daemon, WireClient(daemon.place) as client:
        assert client.speak("Hello.").end["kind"] == "Done"
        (provider,) = daemon.place.providers()
        provider.send_signal(signal.SIGSTOP)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        assert psutil.wait_procs([provider], timeout=2)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_it_ends_in_order(number: int) -> None:
    with running(FAKE) as daemon, WireClient(daemon.place) as client:
        assert client.speak("Hello.").end["kind"] == "Done"
        providers = daemon.place.providers()
        daemon.process.send_signal(number)
        assert daemon.process.wait(10) == 0
        assert all(not provider.is_running() for provider in providers)
        assert sorted(path.name for path in daemon.place.runtime.iterdir()) == ["children.json", "lock"]
        assert client.door is not None
        assert client.door.recv(1) == b""


def test_busy_it_ends_in_order_and_tells_its_clients() -> None:
    with running(FAKE + "[daemon]\nshutdown_grace_s = 0.2\n") as daemon, WireClient(daemon.place) as client:
        req = client.say("[[slow:200]]" + "A very long sentence " * 15)
        while client.receive()[0]["kind"] != "Chunk":
            pass
        daemon.process.send_signal(signal.SIGTERM)
        end = client.until_end(req).end
        assert (end["kind"], end["code"]) == ("Failed", "SHUTTING_DOWN")
        assert daemon.process.wait(15) == 0
        assert daemon.place.providers() == []


def test_what_is_nearly_spoken_is_spoken_to_its_end() -> None:
    with running(FAKE) as daemon, WireClient(daemon.place) as client:
        req = client.say("[[sleep:500]]Short.")
        while client.receive()[0]["kind"] != "Accepted":
            pass
        eventually(lambda: daemon.status()["providers"][0]["state"] == "busy", "it speaks")
        daemon.process.send_signal(signal.SIGTERM)
        assert client.until_end(req).end["kind"] == "Done"
        assert daemon.process.wait(10) == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with running(FAKE + "[daemon]\nshutdown_grace_s = 100\n") as daemon, WireClient(daemon.place) as client:
        client.say("[[slow:200]]" + "A very long sentence " * 15)
        while client.receive()[0]["kind"] != "Chunk":
            pass
        daemon.process.send_signal(signal.SIGINT)
        eventually(lambda: any(line["event"] == "ending" for line in daemon.log()), "it took the first")
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(10) == 0
        assert daemon.place.providers() == []


def test_an_autostarted_daemon_ends_when_idle(place: Place) -> None:
    (place.root / "config.toml").write_text(FAKE + "[daemon]\nidle_minutes = 0.01\n")
    assert place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav")).returncode == 0
    eventually(lambda: not place.processes(), "daemon and provider have ended")


def test_an_autostarted_daemon_does_not_end_while_it_speaks(place: Place) -> None:
    (place.root / "config.toml").write_text(FAKE + "[daemon]\nidle_minutes = 0.04\n")
    assert place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav")).returncode == 0
    done = place.voicebox("say", "[[slow:200]]" + "A long sentence " * 5, "-o", str(place.root / "x.wav"))
    assert done.returncode == 0, done.stderr


def test_without_its_runtime_directory_it_ends_because_nobody_can_reach_it() -> None:
    """Logging out removes the directory under a daemon that goes on."""
    with running(FAKE) as daemon, WireClient(daemon.place) as client:
        shutil.rmtree(daemon.place.runtime)
        assert client.speak("Hello.").end["code"] == "SHUTTING_DOWN"
        assert daemon.process.wait(15) == 0
        again = daemon.place.voicebox("say", "Hello.", "-o", str(daemon.place.root / "x.wav"))
        assert again.returncode == 0, again.stderr


def test_somebody_elses_program_ends_with_the_daemon_too() -> None:
    config = '[provider.builtin]\nenabled = false\n[provider.alien]\ncommand = ["sleep", "1001"]\n'
    with running(config) as daemon, WireClient(daemon.place) as client:
        client.say("Hello.")
        (alien,) = eventually(lambda: _aliens(daemon), "it runs")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        assert psutil.wait_procs([alien], timeout=2)[0]


def _aliens(daemon: Daemon) -> list[psutil.Process]:
    return [child for child in psutil.Process(daemon.pid).children() if child.cmdline()[:1] == ["sleep"]]


def test_stop_without_argument_stops_what_is_being_played(place: Place) -> None:
    place.environment["VOICEBOX_AUDIO_SINK"] = "null"
    playing = place.popen(
        sys.executable,
        "-m",
        "voicebox_cli",
        "say",
        "[[slow:500]]" + "A very long sentence " * 15,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: '"active": 1' in _status(place), "it speaks")
    assert place.voicebox("stop").returncode == 0
    _, errors = playing.communicate(timeout=30)
    assert playing.returncode == 130, errors


def test_a_stale_socket_is_no_daemon(place: Place) -> None:
    assert place.voicebox("daemon", "start").returncode == 0
    (daemon,) = place.daemons()
    daemon.kill()
    daemon.wait(10)
    assert (place.runtime / "session.sock").exists()
    assert place.voicebox("status").returncode == 3
    assert place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav")).returncode == 0


def test_survivors_of_a_dead_daemon_are_ended_by_the_next(place: Place) -> None:
    place.runtime.mkdir(mode=0o700)
    survivor = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    started = psutil.Process(survivor.pid).create_time()
    (place.runtime / "children.json").write_text(json.dumps({str(survivor.pid): started}))
    assert place.voicebox("daemon", "start").returncode == 0
    assert survivor.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[daemon]\nidle_minute = 3\n", "idle_minutes"),
        ("[daemon]\nidle_minutes = -3\n", "idle_minutes"),
        ("[provider.x]\nengin = 'a'\n", "engine"),
        ("what is this", "config.toml"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_place(place: Place, config: str, says: str) -> None:
    (place.root / "config.toml").write_text(config)
    done = place.run(sys.executable, "-m", "voiceboxd", "--foreground")
    assert done.returncode == 2
    assert says in done.stderr
    client = place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav"))
    assert client.returncode == 3
    assert says in client.stderr


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_runtime_directory_open_to_others_is_refused(place: Place, mode: int) -> None:
    place.runtime.mkdir()
    place.runtime.chmod(mode)
    done = place.run(sys.executable, "-m", "voiceboxd", "--foreground")
    assert done.returncode == 3
    assert "chmod 700" in done.stderr


def test_a_runtime_directory_that_is_a_link_is_refused(place: Place) -> None:
    (place.root / "elsewhere").mkdir(mode=0o700)
    place.runtime.symlink_to(place.root / "elsewhere")
    done = place.run(sys.executable, "-m", "voiceboxd", "--foreground")
    assert done.returncode == 3
    assert "symbolic link" in done.stderr
    assert list((place.root / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_runtime_directory_of_somebody_else_is_refused(place: Place) -> None:
    place.runtime.mkdir(mode=0o700)
    os.chown(place.runtime, NOBODY, NOBODY)
    done = place.run(sys.executable, "-m", "voiceboxd", "--foreground")
    assert done.returncode == 3
    assert f"belongs to user {NOBODY}" in done.stderr


def test_a_socket_path_too_long_is_refused_with_what_to_do(place: Place) -> None:
    place.environment["VOICEBOX_RUNTIME_DIR"] = str(place.root / ("x" * 100))
    done = place.run(sys.executable, "-m", "voiceboxd", "--foreground")
    assert done.returncode == 3
    assert "VOICEBOX_RUNTIME_DIR" in done.stderr
    client = place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav"))
    assert client.returncode == 3
    assert "VOICEBOX_RUNTIME_DIR" in client.stderr


def test_too_few_file_descriptors_are_refused_at_the_start(place: Place) -> None:
    done = place.run("sh", "-c", f"ulimit -n 256; exec {sys.executable} -m voiceboxd --foreground")
    assert done.returncode == 3
    assert "ulimit" in done.stderr


def test_a_newer_client_restarts_an_idle_older_daemon_and_lets_a_busy_one_be(place: Place) -> None:
    older = "import voicebox_protocol; voicebox_protocol.__version__ = '0.0.1'\nfrom voiceboxd.main import main\n"
    old = place.popen(sys.executable, "-c", older + "main(['--started'])", stderr=subprocess.PIPE)
    eventually(place.answers, "the old daemon answers")
    with WireClient(place) as client:
        req = client.say("", more=True)
        busy = place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav"))
        assert busy.returncode == 0, busy.stderr
        assert "0.0.1" in busy.stderr
        assert place.daemons() == []
        client.send("Cancel", boot=client.boot, req=req)
        client.until_end(req)
    idle = place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav"))
    assert idle.returncode == 0, idle.stderr
    assert old.wait(10) == 0
    assert old.stderr is not None
    old.stderr.close()
    (new,) = place.daemons()
    assert new.pid != old.pid


def test_status_of_a_daemon_at_rest_and_at_work(tmp_path: Path) -> None:
    with running(FAKE) as daemon:
        rest = json.loads(daemon.place.voicebox("status", "--json").stdout)
        assert rest["providers"][0]["state"] == "stopped"
        assert rest["daemon"]["socket"] == str(daemon.place.runtime / "control.sock")
        with WireClient(daemon.place) as client:
            client.say("[[sleep:20000]]Hello.")
            eventually(lambda: daemon.status()["providers"][0]["state"] == "busy", "it speaks")
            work = json.loads(daemon.place.voicebox("status", "--json").stdout)
        assert work["requests"]["active"] == 1
        assert work["daemon"]["connections"] >= 1
        (provider,) = work["providers"]
        assert provider["workers"][0]["pid"] == provider["pid"]
        assert provider["rss_bytes"] == provider["workers"][0]["rss_bytes"] > 1_000_000
        assert set(provider) >= {
            "id", "kind", "engine", "version", "state", "pid", "standby_pid", "workers", "epoch", "restarts", "rss_bytes",
            "device", "vram_bytes", "vram_used_bytes", "vram_total_bytes", "reason",
        }  # fmt: skip
