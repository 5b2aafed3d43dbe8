"""Voices of recordings, from the command line to the engine: prepared, spoken with, and what becomes of that when somebody dies."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import soundfile

from tests.integration.daemon import DEADLINE, Daemon, Place, eventually, running
from tests.integration.test_broken_providers import fake
from tests.integration.wire_client import WireClient
from tests.unit.client.test_aio import anyio_backend
from voicebox_client import AsyncVoicebox, Voicebox, VoicePrompt
from voicebox_protocol import wire
from voicebox_protocol.errors import (
    DeadlineExceeded,
)

__all__ = ["anyio_backend"]

RATE = 16_000
CLONER = 'cloning = true, models = ["small", "large"]'
LONG = "A sentence that takes a while to say in full, and has more than a few words in it"

Boxes = Callable[[Daemon], Voicebox]


def recording(hertz: float = 150.0, seconds: float = 1.5, rate: int = RATE) -> npt.NDArray[np.float32]:
    when = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * when)).astype(np.float32)


def recorded(path: Path, hertz: float = 150.0, seconds: float = 1.5) -> Path:
    soundfile.write(path, recording(hertz, seconds), RATE)
    return path


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Boxes]:
    """A Voicebox in this process for a daemon."""
    made: list[Voicebox] = []

    def to(daemon: Daemon) -> Voicebox:
        reach(daemon.place, monkeypatch)
        made.append(Voicebox())
        return made[-1]

    yield to
    for each in made:
        each.close()


def reach(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        if name.startswith("VOICEBOX_"):
            monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def cloner() -> Iterator[Daemon]:
    """A daemon with a provider that clones, for tests that leave it as it was."""
    with running(fake(CLONER)) as daemon:
        yield daemon


def prepare(
    client: WireClient, query: int = 1, audio: bytes | None = None, **fields: Any
) -> tuple[dict[str, Any], bytes]:
    """Ask, and wait for the answer."""
    asked = {"sample_rate": RATE, **fields}
    client.send("PrepareVoice", recording().tobytes() if audio is None else audio, query=query, **asked)
    return client.receive(DEADLINE)


# --- as it should be


def test_a_recording_is_spoken_like(cloner: Daemon, box: Boxes) -> None:
    voice = box(cloner)
    low = voice.prepare_voice(recording(120.0), sample_rate=RATE)
    high = voice.prepare_voice(recording(300.0), "What I said there.", sample_rate=RATE, model="large")
    assert (low.provider, low.model, high.model) == ("fake", "small", "large")
    speech = voice.say("Like this.", prompt=low, seed=3)
    first = speech.collect()
    assert (speech.result.provider, speech.result.voice) == ("fake", "cloned")  # type: ignore[union-attr]
    again, other = (
        voice.say("Like this.", prompt=low, seed=3).collect(),
        voice.say("Like this.", prompt=high, seed=3).collect(),
    )
    plain = voice.say("Like this.", seed=3).collect()
    assert bytes(first.data) == bytes(again.data)
    assert len({bytes(each.data) for each in (first, other, plain)}) == 3


def test_a_prompt_that_was_kept_in_a_file_is_the_same(cloner: Daemon, box: Boxes, tmp_path: Path) -> None:
    voice = box(cloner)
    made = voice.prepare_voice(recorded(tmp_path / "me.wav"))
    made.save(tmp_path / "me.voice")
    loaded = VoicePrompt.load(tmp_path / "me.voice")
    assert loaded == made
    assert loaded.data == voice.prepare_voice(recorded(tmp_path / "again.wav")).data
    assert (tmp_path / "me.voice").stat().st_mode & 0o077 == 0
    assert voice.say("Like this.", prompt=loaded).collect().duration_s > 0


@pytest.mark.anyio
async def test_an_event_loop_has_it_too(cloner: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reach(cloner.place, monkeypatch)
    async with AsyncVoicebox() as voice:
        prompt = await voice.prepare_voice(recorded(tmp_path / "me.wav"))
        speech = await voice.say("Like this.", prompt=prompt)
        await speech.collect()
        assert speech.result is not None
        assert speech.result.voice == "cloned"


def test_two_clients_at_once_get_their_own(cloner: Daemon) -> None:
    with WireClient(cloner.place) as one, WireClient(cloner.place) as other:
        for client, hertz in ((one, 120.0), (other, 250.0)):
            client.send("PrepareVoice", recording(hertz).tobytes(), query=7, sample_rate=RATE, text="[[sleep:50]]")
        (mine, low), (yours, high) = one.receive(DEADLINE), other.receive(DEADLINE)
    assert (mine["kind"], mine["query"], yours["query"]) == ("VoicePrepared", 7, 7)
    assert low.startswith(b"fake prompt, small, 1")
    assert high.startswith(b"fake prompt, small, 2")


def test_a_preparation_waits_for_the_segment_in_work_and_no_longer(cloner: Daemon) -> None:
    with WireClient(cloner.place) as client:
        req = client.say(f"[[slow:60]]{LONG}. " * 4)
        while client.receive()[0]["kind"] != "Chunk":
            pass
        client.send("PrepareVoice", recording().tobytes(), query=9, sample_rate=RATE)
        kinds: list[tuple[str, int]] = []
        while not kinds or kinds[-1][0] not in wire.TERMINAL:
            message, _ = client.receive(DEADLINE)
            kinds.append((message["kind"], message.get("segment", 0)))
        assert ("VoicePrepared", 0) in kinds
        before = [segment for kind, segment in kinds[: kinds.index(("VoicePrepared", 0))] if kind == "Chunk"]
        assert 3 not in before, "it did not wait for all that was asked before it"
        client.send("EndAck", boot=client.boot, req=req)


# --- what dies


def test_a_provider_that_is_killed_in_mid_sentence_goes_on_exactly_with_the_prompt(tmp_path: Path) -> None:
    with running(fake(f'{CLONER}, fault_once = "{tmp_path}/flag"')) as daemon, WireClient(daemon.place) as client:
        _, prompt = prepare(client, model="large")
        text = f"[[slow:20]]{LONG}[[crash:3]]. And another."
        broken = client.speak(text, seed=11, prompt=prompt, model="large", on_failure="fail")
        whole = client.speak(text, seed=11, prompt=prompt, model="large")
        plain = client.speak(text, seed=11, model="large")
    assert (broken.end["kind"], broken.end.get("resumed")) == ("Done", "exact")
    assert len(broken.end["attempts"]) == 2
    assert broken.samples == whole.samples != plain.samples


def test_a_daemon_that_is_killed_in_mid_sentence_has_a_successor_with_the_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place(fake(CLONER))
    reach(place, monkeypatch)
    try:
        with Voicebox() as voice:
            prompt = voice.prepare_voice(recording(), sample_rate=RATE)
            text = f"[[slow:20]]{LONG}. {LONG}."
            whole = bytes(voice.say(text, seed=5, prompt=prompt).collect().data)
            speech = voice.say(text, seed=5, prompt=prompt, resume=True, on_failure="fail")
            sound, killed = b"", False
            for chunk in speech:
                sound += bytes(chunk.data)
                if not killed:
                    killed = True
                    for daemon in place.daemons():
                        daemon.kill()
                        psutil.wait_procs([daemon], timeout=DEADLINE)
            assert speech.result is not None
            assert (speech.result.resumed, speech.result.voice) == ("exact", "cloned")
            assert sound == whole
    finally:
        place.remove()


def test_a_provider_that_dies_while_it_listens_is_asked_once_more(tmp_path: Path) -> None:
    with running(fake(f'{CLONER}, fault_once = "{tmp_path}/flag"')) as daemon, WireClient(daemon.place) as client:
        answer, prompt = prepare(client, text="[[crash]]")
        assert answer["kind"] == "VoicePrepared"
        assert client.speak("Like this.", prompt=prompt, model=answer["model"]).end["kind"] == "Done"
        assert daemon.status()["providers"][0]["restarts"] == 1


def test_one_that_dies_each_time_is_told_of(tmp_path: Path) -> None:
    with running(fake(CLONER)) as daemon, WireClient(daemon.place) as client:
        answer, _ = prepare(client, text="[[crash]]")
        assert (answer["kind"], answer["code"]) == ("Error", "PROVIDER_FAILED")
        assert "ended 2 times while it listened" in answer["message"]
        assert client.speak("It still speaks.").end["kind"] == "Done"


def test_one_that_fails_at_it_lives_on(cloner: Daemon) -> None:
    with WireClient(cloner.place) as client:
        answer, _ = prepare(client, audio=bytes(4 * RATE))
        assert (answer["code"], answer["message"]) == ("BAD_REFERENCE", "the recording is silent")
        before = cloner.status()["providers"][0]["restarts"]
        answer, _ = prepare(client, text="[[fail]]")
        assert (answer["code"], cloner.status()["providers"][0]["restarts"]) == ("PROVIDER_FAILED", before)


def test_nobody_waits_for_longer_than_he_said(cloner: Daemon, box: Boxes) -> None:
    voice = box(cloner)
    with pytest.raises(DeadlineExceeded):
        voice.prepare_voice(recording(), "[[sleep:60000]]", sample_rate=RATE, timeout=0.5)
    assert voice.say("It was told to stop, and speaks.").collect().duration_s > 0


def test_a_client_that_dies_has_it_stopped(cloner: Daemon) -> None:
    with WireClient(cloner.place) as client:
        client.send("PrepareVoice", recording().tobytes(), query=1, sample_rate=RATE, text="[[sleep:60000]]")
        eventually(lambda: cloner.status()["providers"][0]["state"] == "busy", "it listens")
    eventually(lambda: cloner.status()["providers"][0]["state"] == "ready", "it was told to stop")


def test_a_daemon_that_ends_says_so_to_who_waits() -> None:
    with running(fake(CLONER)) as daemon, WireClient(daemon.place) as client:
        client.send("PrepareVoice", recording().tobytes(), query=1, sample_rate=RATE, text="[[sleep:60000]]")
        eventually(lambda: daemon.status()["providers"][0]["state"] == "busy", "it listens")
        daemon.process.send_signal(signal.SIGTERM)
        answer, _ = client.receive(DEADLINE)
        assert (answer["kind"], answer["code"]) == ("Error", "SHUTTING_DOWN")
        assert daemon.process.wait(DEADLINE) == 0


# --- what is refused

WRONG: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "too short": ({}, recording(seconds=0.9).tobytes(), "BAD_REFERENCE"),
    "too long": ({"sample_rate": 8000}, bytes(4 * 8000 * 61), "BAD_REFERENCE"),
    "no samples": ({}, recording().tobytes()[:-1], "BAD_REFERENCE"),
    "nothing": ({}, b"", "BAD_REFERENCE"),
    "NaN": ({}, np.full(2 * RATE, np.nan, np.float32).tobytes(), "BAD_REFERENCE"),
    "a rate that nobody has": ({"sample_rate": 1}, recording().tobytes(), "BAD_REQUEST"),
    "a model that it has not": ({"model": "huge"}, recording().tobytes(), "BAD_OPTION"),
    "a provider that there is not": ({"provider": "fak"}, recording().tobytes(), "NO_SUCH_PROVIDER"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_listened_to_is_refused(cloner: Daemon, what: str) -> None:
    fields, audio, code = WRONG[what]
    with WireClient(cloner.place) as client:
        answer, _ = prepare(client, audio=audio, **fields)
        assert (answer["kind"], answer.get("query"), answer.get("code")) == ("Error", 1, code)


BROKEN: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "not of this engine": (b"\x80anything", {}, "BAD_PROMPT"),
    "empty": (b"", {}, "BAD_PROMPT"),
    "too large": (bytes(wire.MAX_PROMPT + 1), {}, "BAD_PROMPT"),
    "of another model": (b"fake prompt, large, 150.000 Hz", {"model": "small"}, "BAD_PROMPT"),
    "with a voice": (b"fake prompt, small, 150.000 Hz", {"voice": "tone"}, "BAD_REQUEST"),
    "with any voice": (b"fake prompt, small, 150.000 Hz", {"any_voice": True}, "BAD_REQUEST"),
    "in a language that it has not": (b"fake prompt, small, 150.000 Hz", {"language": "de"}, "NO_SUCH_LANGUAGE"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_prompt_that_cannot_be_used_is_refused_before_any_sound(cloner: Daemon, what: str) -> None:
    prompt, fields, code = BROKEN[what]
    with WireClient(cloner.place) as client:
        ending = client.speak("Like this.", prompt=prompt, **fields)
        assert (ending.end["kind"], ending.end["code"], ending.end["frames"]) == ("Failed", code, 0)


def test_a_frame_too_many_is_no_message(cloner: Daemon) -> None:
    with WireClient(cloner.place) as client:
        client.send("Status", b"", b"prompt", query=1)
        assert client.receive()[0]["code"] == "BAD_MESSAGE"


def test_one_client_cannot_have_all_the_room(cloner: Daemon) -> None:
    with WireClient(cloner.place) as client:
        for query in range(6):
            client.send("PrepareVoice", recording().tobytes(), query=query, sample_rate=RATE, text="[[sleep:100]]")
        answers = [client.receive(DEADLINE)[0] for _ in range(6)]
        assert sorted(answer["query"] for answer in answers) == list(range(6))
        assert {answer["code"] for answer in answers if answer["kind"] == "Error"} == {"QUEUE_FULL"}


def test_who_cannot_clone_is_not_asked_to(cloner: Daemon) -> None:
    both = fake(CLONER).replace("[provider.builtin]\nenabled = false", "")
    both += '\n[provider.plain]\nengine = "voicebox_provider.testing:FakeEngine"\n'
    with running(both) as daemon, WireClient(daemon.place) as client:
        answer, prompt = prepare(client)
        assert (answer["kind"], answer["provider"]) == ("VoicePrepared", "fake")
        for fields in ({}, {"model": "small"}, {"provider": "fake"}, {"voice": "fake/cloned"}):
            assert client.speak("Like this.", prompt=prompt, **fields).end["provider"] == "fake"
        refused = client.speak("Like this.", prompt=prompt, provider="plain").end
        assert (refused["code"], refused["message"]) == (
            "BAD_OPTION",
            "plain cannot speak like a recording (cloning); fake can",
        )
        answer, _ = prepare(client, provider="builtin")
        assert answer["code"] == "BAD_OPTION"


def test_where_nobody_can_clone_that_is_said() -> None:
    with running(fake()) as daemon, WireClient(daemon.place) as client:
        answer, _ = prepare(client)
        assert (answer["code"], "no provider that is installed can speak like a recording" in answer["message"]) == (
            "BAD_OPTION",
            True,
        )


def test_one_that_has_no_voice_of_its_own_says_what_it_needs() -> None:
    with running(fake(f"{CLONER}, voices = []")) as daemon, WireClient(daemon.place) as client:
        refused = client.speak("With which voice?").end
        assert (refused["code"], "speaks like a recording" in refused["message"]) == ("NO_SUCH_VOICE", True)
        _, prompt = prepare(client)
        assert client.speak("With this one.", prompt=prompt).end["kind"] == "Done"


# --- the command line


def test_the_command_line_clones_in_one_go_and_is_quick_the_second_time(cloner: Daemon, tmp_path: Path) -> None:
    place = cloner.place
    stereo = np.stack([recording(), recording()], axis=1)
    soundfile.write(tmp_path / "me.flac", stereo, RATE)
    said = []
    for name in ("one.wav", "two.wav"):
        done = place.voicebox(
            "say",
            "Like this.",
            "--clone",
            str(tmp_path / "me.flac"),
            "--seed",
            "3",
            "-o",
            str(tmp_path / name),
            "--json",
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    assert said[0]["voice"] == said[1]["voice"] == "cloned"
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    (kept,) = (place.root / "data" / "cache" / "voices").iterdir()
    assert sum("recording" in line["event"] for line in cloner.log()) >= 1
    # Of another model that is gone: it is made anew, without a word.
    VoicePrompt(b"fake prompt, tiny, 150.000 Hz", provider="fake", model="tiny").save(kept)
    done = place.voicebox(
        "say", "Like this.", "--clone", str(tmp_path / "me.flac"), "--seed", "3", "-o", str(tmp_path / "three.wav")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "three.wav").read_bytes() == (tmp_path / "one.wav").read_bytes()


def test_the_command_line_says_what_is_wrong_before_anything_is_spoken(cloner: Daemon, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no audio at all")
    recorded(tmp_path / "short.wav", seconds=0.5)
    recorded(tmp_path / "long.wav", seconds=61)
    recorded(tmp_path / "me.wav")
    for name, words in (
        ("noise.wav", "is no audio file"),
        ("short.wav", "lasts 0.50 s"),
        ("long.wav", "lasts 61.0 s"),
        ("none.wav", "there is no file"),
    ):
        done = cloner.place.voicebox("say", "x", "--clone", str(tmp_path / name), "-o", str(tmp_path / "x.wav"))
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    for wrong in (["-v", "tone"], ["--any-voice"], ["--clone-text", " "]):
        done = cloner.place.voicebox("say", "x", "--clone", str(tmp_path / "me.wav"), *wrong)
        assert done.returncode == 2
    assert cloner.place.voicebox("say", "x", "--clone-text", "what I said").returncode == 2
    assert not (tmp_path / "x.wav").exists()
