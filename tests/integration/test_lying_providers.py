"""Providers that send what they must not: each harms its own request at most, which still ends once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.daemon import Daemon, eventually, running
from tests.integration.wire_client import Ending, WireClient
from tests.providers import lying, patient, raw_provider
from voicebox_client import Voicebox
from voicebox_protocol import places
from voicebox_protocol.errors import ProviderFailed

PROGRAM = Path(raw_provider.__file__)
PATIENT = Path(patient.__file__)
# An id has at most 32 characters.
IDS = {name: f"liar-{number}" for number, name in enumerate(raw_provider.LIES)}


# One process of it, however much it has to say: the others are counted.
ONE_BUILTIN = '[provider.builtin]\nstandby = "none"\n'


def config() -> str:
    return ONE_BUILTIN + "\n".join(
        f"[provider.{IDS[name]}]\ncommand = {json.dumps([sys.executable, str(PROGRAM), name])}\nsilence_s = 4\n"
        for name in raw_provider.LIES
    )


@pytest.fixture(scope="module")
def beset() -> Iterator[Daemon]:
    """One daemon that lives through all of them."""
    with running(config()) as daemon:
        yield daemon


@pytest.mark.parametrize("name", raw_provider.LIES)
def test_a_lie_harms_its_own_request_at_most(beset: Daemon, name: str) -> None:
    outcome, _ = raw_provider.LIES[name]
    with WireClient(beset.place) as victim, WireClient(beset.place) as other:
        req = victim.say("Is that so?", provider=IDS[name], on_failure="fail")
        assert other.speak("Still here.", provider="builtin").end["kind"] == "Done"
        ending = victim.until_end(req)
        if outcome == raw_provider.HARMLESS:
            assert ending.end["kind"] == "Done"
            assert len(ending.samples) == 4 * 1600
        else:
            assert (ending.end["kind"], ending.end.get("code")) == ("Failed", "PROVIDER_FAILED")
        assert other.speak("And now.", provider="builtin").end["kind"] == "Done"
        assert victim.silent(), "nothing comes after the end"
    ends = [line for line in beset.log() if line["event"] == "end" and line["req"] == req]
    assert len(ends) == 1


def test_after_all_of_them_nothing_is_left_over(beset: Daemon) -> None:
    with WireClient(beset.place) as client:
        assert client.speak("Hello.", provider="builtin").end["kind"] == "Done"
    builtin = set(beset.place.providers())
    for process in beset.place.processes():
        if process.pid != beset.pid and process not in builtin:
            process.kill()
    eventually(lambda: len(beset.place.processes()) == 2, "only the daemon and the built-in voice are left")
    counts: dict[str, Any] = eventually(lambda: _at_rest(beset), "every request has ended")
    assert counts["cancelled"] == 0, counts
    eventually(lambda: _descriptors(beset) <= _descriptors_of_a_quiet_one(), "no descriptor is kept")


# --- for another's request, while another provider is at it


def victim_of(robbery: str) -> str:
    """The id of the request that a robber is told of: clients choose these, so a test can tell them beforehand."""
    return f"victim-of-{robbery}"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there, the victim's provider goes on to its end."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def den(gate: Path) -> Iterator[Daemon]:
    """The robbers, each told of its victim, and the provider that speaks for the victims."""
    tables = [
        f"[provider.{IDS[name]}]\ncommand = {json.dumps([sys.executable, str(PROGRAM), name])}\n"
        f'settings = {{ victim = "{victim_of(name)}" }}\n'
        for name in raw_provider.ROBBERIES
    ]
    patient_one = f'[provider.patient]\nengine = "{PATIENT}:Patient"\nsettings = {{ gate = "{gate}" }}\n'
    with running("\n".join([*tables, patient_one])) as daemon:
        yield daemon


@pytest.mark.parametrize("robbery", raw_provider.ROBBERIES)
def test_nobody_speaks_for_a_request_that_another_provider_is_at(den: Daemon, gate: Path, robbery: str) -> None:
    """Clients choose the ids, so a provider may come to know one: it must not put words into another's mouth, or end them."""
    wish = {"provider": "patient", "seed": 7}
    with WireClient(den.place) as victim, WireClient(den.place) as other:
        gate.touch()
        whole = victim.speak("Leave me in peace.", **wish)
        assert whole.end["kind"] == "Done"
        assert len(whole.samples) == 4 * patient.RATE // 2
        gate.unlink()
        req = victim.say("Leave me in peace.", req=victim_of(robbery), **wish)
        heard = Ending()
        while "Chunk" not in heard.kinds:
            heard.take(*victim.receive())
        dropped = _dropped(den)
        assert other.speak("Hands up.", provider=IDS[robbery]).end["kind"] == "Done"
        assert victim.silent(), "nothing of it reached the victim"
        assert den.status()["requests"]["active"] == 1, "the victim was being spoken all the while"
        assert _dropped(den) - dropped == len(raw_provider.THE_LIKELY)
        gate.touch()
        rest = victim.until_end(req)
        assert rest.end["kind"] == "Done"
        assert rest.end["attempts"] == whole.end["attempts"]
        assert heard.samples + rest.samples == whole.samples
        assert victim.silent(), "nothing comes after the end"
    ends = [line for line in den.log() if line["event"] == "end" and line["req"] == req]
    assert [line["state"] for line in ends] == ["done"]


def _dropped(daemon: Daemon) -> int:
    counts: dict[str, int] = daemon.status()["dropped"]
    return counts.get("stale attempt", 0)


# --- about where sound lies in shared memory


@pytest.fixture(scope="module")
def cheated() -> Iterator[Daemon]:
    """One daemon that is told all lies of that kind, each by a provider that has an arena of its own."""
    tables = [
        f'[provider.{name}]\nengine = "{lying.__file__}:LyingOfMemory"\nstandby = "none"\n'
        f'settings = {{ faults = ["{name}@speaking:3"], deterministic = false }}\n'
        for name in lying.MEMORY_LIES
    ]
    honest = '[provider.honest]\nengine = "voicebox_provider.testing:FakeEngine"\nstandby = "none"\n'
    with running("\n".join(["[provider.builtin]\nenabled = false\n", honest, *tables])) as daemon:
        with WireClient(daemon.place) as client:
            assert client.speak("First of all.", provider="honest").end["kind"] == "Done"
        yield daemon


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such memory")
@pytest.mark.parametrize("name", lying.MEMORY_LIES)
def test_a_lie_about_memory_harms_its_own_request_at_most(
    cheated: Daemon, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever could name another's slot would put words into its listener's mouth, or have it rewritten while it is heard."""
    for variable in (places.RUNTIME_DIR, places.DATA_DIR, places.CONFIG):
        monkeypatch.setenv(variable, cheated.place.environment[variable])
    text = "Is that where it is? " * 3
    with Voicebox(autostart=False) as victim, WireClient(cheated.place) as other:
        whole = other.speak(text, provider="honest", seed=3)
        bystander = victim.say(text * 4, provider="honest", seed=3)
        first = next(bystander)
        heard = bytes(first.data)
        with pytest.raises(ProviderFailed, match="broke the protocol"):
            victim.say(text, provider=name, on_failure="fail").collect()
        for chunk in bystander:
            assert chunk.verify()
            heard += chunk.data
        assert heard[: len(whole.samples)] == whole.samples
        assert other.speak(text, provider="honest", seed=3).samples == whole.samples
        eventually(lambda: cheated.status()["daemon"]["arena_used_bytes"] == 0, "nothing is lent")


# --- what is left


def _at_rest(daemon: Daemon) -> dict[str, Any] | None:
    counts: dict[str, Any] = daemon.status()["requests"]
    return counts if not counts["active"] and not counts["queued"] else None


def _descriptors(daemon: Daemon) -> int:
    return psutil.Process(daemon.pid).num_fds()


def _descriptors_of_a_quiet_one() -> int:
    """What a daemon holds that has only ever spoken itself."""
    if not _QUIET:
        with running(ONE_BUILTIN) as daemon:
            with WireClient(daemon.place) as client:
                assert client.speak("Hello.").end["kind"] == "Done"
            eventually(lambda: daemon.status()["daemon"]["connections"] <= 1, "the client has left")
            _QUIET.append(_descriptors(daemon) + 1)  # a connection of status may still be closing
    return _QUIET[0]


_QUIET: list[int] = []
