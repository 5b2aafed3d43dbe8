"""The kit for engine authors: the page as printed, providers that come and go, and the suite that tries them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import Daemon, Place, eventually, running
from tests.integration.wire_client import WireClient
from voicebox_provider.conformance import suite

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "providers.md"
PROVIDERS = ROOT / "tests" / "providers"
FAKE = "voicebox_provider.testing:FakeEngine"
SUITE_S = 180.0

# The engine, the check that finds it out, and the paragraph that it breaks.
BROKEN = {
    "Stranger": ("hello", "A provider's conversation 2."),
    "TwoDefaults": ("document", "The capability document"),
    "Silent": ("ready", "A provider's conversation 7."),
    "Mute": ("voices", "The capability document"),
    "Unhurried": ("speed", "The capability document"),
    "Agreeable": ("undeclared", "The capability document"),
    "Fickle": ("seeds", "Text"),
    "Mindful": ("seeds", "Text"),
    "BornAnew": ("second life", "Text"),
    "Swears": ("resume", "A provider's conversation 5."),
    "Gullible": ("cloning", "A provider's conversation 11."),
    "Stubborn": ("cancel", "A provider's conversation 6."),
    "Unaware": ("stale", "Messages"),
    "Swallows": ("emoji", "A provider's conversation 5."),
    "Breathless": ("long word", "A provider's conversation 5."),
    "Leaky": ("wear", "A provider's conversation 9."),
    "Miscounted": ("answers", "A provider's conversation 4."),
    "WrongSums": ("crc", "Chunks and credit"),
    "TooLoud": ("samples", "Chunks and credit"),
    "Boastful": ("frames", "A provider's conversation 4."),
    "Hasty": ("exit", "A provider's conversation 8."),
    "Orphan": ("lifeline", "A provider's conversation 1."),
}


def blocks(language: str) -> list[str]:
    """The page's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def tried(target: str, *options: str) -> dict[str, Any]:
    """What `provider test --json` says; its exit code has to agree."""
    command = [sys.executable, "-m", "voicebox_provider.conformance", target, "--json", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SUITE_S, check=False)
    assert ended.stdout, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if report["passed"] else 1)
    return report


def broken(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["check"], each["paragraph"]) for each in report["checks"] if each["result"] == "broken"]


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(VOICEBOX_AUDIO_SINK="null")
    yield place
    place.remove()


def ask(daemon: Daemon, kind: str, payload: bytes | None = None, **fields: Any) -> dict[str, Any]:
    """One query's answer."""
    with WireClient(daemon.place, attach=False) as client:
        client.send(kind, payload, query=1, **fields)
        return client.receive()[0]


def bundles(place: Place) -> list[str]:
    directory = place.root / "data" / "providers"
    return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []


# --- the page


def test_the_page_works_as_printed(place: Place) -> None:
    engine, example = blocks("python")
    assert len(engine.splitlines()) < 60
    (place.root / "beeper.py").write_text(engine)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert {command.split()[2] for command in commands} >= {"add", "remove", "test", "show", "logs"}
    for command in commands:
        done = place.run("bash", "-c", command, cwd=place.root, timeout=SUITE_S)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    with wave.open(str(place.root / "beeps.wav")) as beeps:
        assert beeps.getnframes() > beeps.getframerate()
        assert max(beeps.readframes(beeps.getnframes())) > 0
    assert bundles(place) == []
    done = place.run(sys.executable, "-W", "error", "-c", example)
    assert done.returncode == 0, done.stderr


def test_the_page_lists_the_interface_of_the_code() -> None:
    from voicebox_provider import Engine, Utterance

    text = PAGE.read_text(encoding="utf-8")
    hooks = [name for name in vars(Engine) if not name.startswith("_")]
    listed = re.findall(r"^\| `(\w+)\(", text, re.M)
    assert listed == ["__init__", *hooks]
    assert all(f"`{name}" in text for name in Utterance.__dataclass_fields__)


# --- providers that come and go


def test_one_that_was_added_lives_on_without_its_file_and_its_daemon(place: Place) -> None:
    file = place.root / "my engine.py"
    shutil.copy(PROVIDERS / "broken.py", file)
    added = place.voicebox("provider", "add", f"{file}:Sound", "--id", "mine")
    assert (added.returncode, added.stdout) == (0, "added mine; voices: one, two\n"), added.stderr
    file.unlink()
    assert place.voicebox("daemon", "stop").returncode == 0
    said = place.voicebox("say", "Hello.", "-v", "mine/two", "-o", str(place.root / "a.wav"))
    assert said.returncode == 0, said.stderr
    shown = json.loads(place.voicebox("provider", "show", "mine", "--json").stdout)
    assert (shown["id"], shown["source"]) == ("mine", "provider add")
    assert shown["capabilities"]["max_chars"] == 300
    assert shown["log"] == []
    people = place.voicebox("provider", "show", "mine").stdout
    assert "one (en), two (en)" in people
    assert "0.5 to 2.0" in people


def test_a_broken_one_is_refused_with_its_own_words_and_nothing_is_left(place: Place) -> None:
    for name, code, words in (
        ("lost.py", "import no_such_module", "No module named 'no_such_module'"),
        ("empty.py", "x = 1", "one subclass of Engine"),
        ("loud.sh", "#!/bin/sh\necho wrong door >&2\nexit 3\n", "wrong door"),
    ):
        (place.root / name).write_text(code)
        (place.root / name).chmod(0o755)
        done = place.voicebox("provider", "add", str(place.root / name))
        assert done.returncode == 5
        assert words in done.stderr
        assert bundles(place) == []
    assert "wrong door" in place.voicebox("provider", "logs", "loud").stdout
    listed = json.loads(place.voicebox("provider", "list", "--json").stdout)
    assert [entry["id"] for entry in listed] == ["builtin"]
    # The list had to ask the built-in voice what it can do; it leaves again.
    eventually(lambda: place.providers() == [], "nothing of them is left")


def test_one_that_is_removed_while_it_speaks_fails_its_request_and_no_other(daemon: Daemon) -> None:
    added = ask(daemon, "AddProvider", provider="fake", engine=FAKE)
    assert added["provider"]["capabilities"]["engine"] == "fake"
    with WireClient(daemon.place) as client, WireClient(daemon.place) as other:
        req = client.say("[[slow:100]]" + "A very long sentence " * 15, provider="fake")
        waiting = client.say("And one that waits.", provider="fake")
        eventually(lambda: client.receive()[0]["kind"] == "Chunk", "the first sound")
        undisturbed = other.say("Meanwhile, somewhere else.", provider="builtin")
        assert ask(daemon, "RemoveProvider", provider="fake")["kind"] == "ProviderRemoved"
        ends = {}
        while len(ends) < 2:
            message, _ = client.receive()
            if message["kind"] == "Failed":
                ends[message["req"]] = (message["code"], message["message"])
        assert ends == dict.fromkeys((req, waiting), ("PROVIDER_FAILED", "fake: it was removed"))
        assert other.until_end(undisturbed).end["kind"] == "Done"
        assert client.speak("Gone?", provider="fake").end["code"] == "NO_SUCH_PROVIDER"
    assert bundles(daemon.place) == []
    assert [entry["id"] for entry in daemon.status()["providers"]] == ["builtin"]
    assert daemon.status()["requests"]["active"] == 0


def test_what_was_not_added_is_not_removed_and_the_error_says_where_it_is_from() -> None:
    config = f'[provider.mine]\nengine = "{FAKE}"\n[provider.off]\nengine = "{FAKE}"\nenabled = false\n'
    with running(config) as daemon:
        place = daemon.place
        for name, code, words in (
            ("builtin", 77, "comes from voiceboxd"),
            ("mine", 77, "take [provider.mine] out of config.toml"),
            ("mime", 4, "did you mean 'mine'?"),
            ("../..", 4, "no provider is called"),
        ):
            done = place.voicebox("provider", "remove", name)
            assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert {entry["id"] for entry in daemon.status()["providers"]} == {"builtin", "mine"}
        for taken in ("mine", "builtin", "off"):
            assert ask(daemon, "AddProvider", provider=taken, engine=FAKE)["code"] == "REFUSED"


def test_a_package_that_came_while_the_daemon_ran_is_taken_up_and_needs_no_bundle(tmp_path: Path) -> None:
    with running(PYTHONPATH=str(tmp_path)) as daemon:
        assert [entry["id"] for entry in daemon.status()["providers"]] == ["builtin"]
        shutil.copy(PROVIDERS / "broken.py", tmp_path / "late_package.py")
        metadata = tmp_path / "late_package-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: late-package\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[voicebox.engines]\nlate = late_package:Sound\n")
        done = daemon.place.voicebox("provider", "add", "late-package")
        assert done.stdout == "added late; voices: one, two\n", done.stderr
        assert bundles(daemon.place) == []
        with WireClient(daemon.place) as client:
            assert client.speak("Hello.", provider="late").end["kind"] == "Done"
        removed = ask(daemon, "RemoveProvider", provider="late")
        assert (removed["code"], "late-package 1.0" in removed["message"]) == ("REFUSED", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": "p"},
        {"provider": "p", "engine": FAKE, "program": "/bin/true"},
        {"provider": "p", "program": "bin/true"},
        {"provider": "../p", "engine": FAKE},
        {"provider": "", "engine": FAKE},
        {"provider": "p", "engine": "file.py"},
        {"provider": "p", "engine": FAKE, "payload": b"x"},
        {"provider": "p", "engine": "../file.py", "payload": b"x"},
        {"provider": "p", "engine": "file.py", "payload": bytes(1024 * 1024 + 1)},
    ],
    ids=lambda fields: str({name: value for name, value in fields.items() if name != "payload"}),
)
def test_what_cannot_be_installed_is_a_bad_request(shared: Daemon, fields: dict[str, Any]) -> None:
    assert ask(shared, "AddProvider", **fields)["code"] == "BAD_REQUEST"
    assert bundles(shared.place) == []


def test_one_that_cannot_be_asked_holds_nobody_up() -> None:
    """The list once waited for an engine that could not be imported, for longer than its client did."""
    with running('[provider.lost]\nengine = "no_such_module:Engine"\n') as daemon:
        with WireClient(daemon.place, attach=False) as client:
            client.send("Providers", query=1)
            providers = {entry["id"]: entry for entry in client.receive(7.0)[0]["providers"]}
        assert "no_such_module" in providers["lost"]["reason"]
        assert providers["builtin"]["capabilities"]["engine"] == "hibari"


def test_logs_of_one_that_never_ran(place: Place) -> None:
    done = place.voicebox("provider", "logs", "nobody")
    assert done.returncode == 1
    assert "there is no log yet" in done.stderr
    assert place.voicebox("provider", "show", "nobody").returncode == 4


# --- the suite


@pytest.mark.timeout(SUITE_S + 20)
def test_the_built_in_voice_keeps_the_protocol() -> None:
    report = tried("builtin")
    assert broken(report) == []
    assert report["seconds"] < SUITE_S


@pytest.mark.skipif(shutil.which("perl") is None, reason="there is no perl on this machine")
def test_a_provider_in_another_language_keeps_the_protocol_and_speaks(place: Place) -> None:
    program = str(PROVIDERS / "tone.pl")
    report = tried(program)
    assert broken(report) == []
    assert {each["check"] for each in report["checks"]} == {*suite.FIRST, *suite.CHECKS}
    assert place.voicebox("provider", "add", program).returncode == 0
    done = place.voicebox("say", "Hello from afar.", "--provider", "tone", "-o", str(place.root / "a.wav"))
    assert done.returncode == 0, done.stderr
    assert place.voicebox("provider", "remove", "tone").returncode == 0
    assert place.providers() == []


def test_the_engine_that_the_broken_ones_are_made_of_is_whole() -> None:
    assert broken(tried(f"{PROVIDERS}/broken.py:Sound")) == []


def test_one_that_only_clones_keeps_the_protocol_with_the_voice_of_a_recording() -> None:
    only = [part for check in ("cloning", "undeclared", "seeds", "answers", "exit") for part in ("--only", check)]
    report = tried(f"{PROVIDERS}/broken.py:Listener", *only)
    assert broken(report) == []
    assert "ok" in [each["result"] for each in report["checks"] if each["check"] == "cloning"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_engine_is_found_out_with_the_paragraph(name: str) -> None:
    check, paragraph = BROKEN[name]
    only = ("--only", check) if check in suite.CHECKS else ()
    assert broken(tried(f"{PROVIDERS}/broken.py:{name}", *only)) == [(check, paragraph)]


def test_provider_test_tells_people_and_ends_with_1(place: Place) -> None:
    done = place.voicebox("provider", "test", f"{PROVIDERS}/broken.py:Mute", "--only", "voices")
    assert done.returncode == 1
    assert re.search(r"^broken +voices +The capability document — .*\(voice two", done.stdout, re.M)
    assert done.stdout.splitlines()[-1].startswith(f"{PROVIDERS}/broken.py:Mute does not keep the protocol: 1 broken")
    assert done.stderr == ""
    assert place.voicebox("provider", "test", "./no_such_file.py").returncode == 2
    assert place.voicebox("provider", "test", "builtin", "--only", "nonsense").returncode == 2
    assert not place.answers()
