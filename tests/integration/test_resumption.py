"""The daemon is killed and the next one goes on: no frame is missing, none comes twice, and not a sample differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import psutil
import pytest

from tests.integration.daemon import DEADLINE, Daemon, Place, running
from tests.integration.test_broken_providers import fake
from tests.integration.wire_client import Ending, WireClient
from tests.unit.client.test_aio import anyio_backend
from voicebox_client import AsyncVoicebox, Result, Speech, Voicebox

__all__ = ["anyio_backend"]

SENTENCES = (
    "The tide was out, and the harbour lay quiet. ",
    "Nobody had come. ",
    "She counted the steps twice, and there were forty-one of them, as there had always been. ",
    "He asked about the lamp. ",
    "It was still burning in the window.",
)
TEXT = "".join(SENTENCES)


# --- on the wire: what a stranger's client would send


class Cut:
    """Where a client stands that has `had` frames of a segment of an undisturbed speech."""

    def __init__(self, whole: Ending, number: int, had: int | None) -> None:
        self.accepted = next(message for message in whole.messages if message["kind"] == "Accepted")
        chunks = [message for message in whole.messages if message["kind"] == "Chunk"]
        own = [message for message in chunks if message["segment"] == number]
        self.base = _frames(message for message in chunks if message["segment"] < number)
        self.had = _frames(own) if had is None else had
        self.number = number
        self.char = own[0]["char_start"]
        self.sound = whole.samples[4 * self.base : 4 * (self.base + self.had)]

    def say(self) -> dict[str, Any]:
        """The fields of the Say by which it goes on."""
        named = {name: self.accepted[name] for name in ("provider", "voice", "language", "seed", "sample_rate")}
        where = {"from_segment": self.number, "from_char": self.char, "base_frames": self.base}
        return named | where | ({"from_frame": self.had, "crc32": zlib.crc32(self.sound)} if self.had else {})


def _frames(chunks: Any) -> int:
    return sum(frames for message in chunks for _, _, frames, _ in message["descriptors"])


@pytest.mark.parametrize("number", [0, 1, 2, 4])
@pytest.mark.parametrize("had", [0, 1, 7777, None], ids=["none", "one", "some", "all"])
def test_another_daemon_goes_on_to_the_very_sample(shared: Daemon, number: int, had: int | None) -> None:
    with WireClient(shared.place) as client:
        whole = client.speak(TEXT, seed=5)
        cut = Cut(whole, number, had)
        rest = client.speak(TEXT[cut.char :], **cut.say())
    assert rest.end["kind"] == "Done"
    assert whole.samples == whole.samples[: 4 * (cut.base + cut.had)] + rest.samples
    for name in ("frames", "segments", "delivered_chars", "seed", "sample_rate", "provider", "voice"):
        assert rest.end[name] == whole.end[name]
    assert rest.end.get("resumed") == ("exact" if cut.had else None)
    seqs = [message["seq"] for message in rest.messages if message["kind"] == "Chunk"]
    assert not seqs or seqs[0] == 0


def test_text_that_is_still_being_written_goes_on_as_well(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        whole = client.speak(TEXT, seed=5)
        cut = Cut(whole, 2, 4000)
        req = client.say("", more=True, **cut.say())
        for start in range(cut.char, len(TEXT), 11):
            client.send("Text", TEXT[start : start + 11].encode(), boot=client.boot, req=req)
        client.send("Text", b"", boot=client.boot, req=req, last=True)
        rest = client.until_end(req)
    assert whole.samples[: 4 * (cut.base + 4000)] + rest.samples == whole.samples
    assert (rest.end["resumed"], rest.end["delivered_chars"]) == ("exact", len(TEXT))


def test_the_daemon_says_that_it_can(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        assert "resume" in client.welcome["features"]


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"from_segment": None}, "BAD_REQUEST", "from_segment"),
        ({"crc32": None}, "BAD_REQUEST", "crc32"),
        ({"seed": None}, "BAD_REQUEST", "seed is missing"),
        ({"from_char": 1}, "BAD_REQUEST", "2 segments"),
        ({"base_frames": 2**64 - 1}, "BAD_REQUEST", "base_frames"),
        ({"voice": "hart"}, "NO_SUCH_VOICE", "'heart'"),
        ({"provider": "gone"}, "NO_SUCH_PROVIDER", "'gone'"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_in_words(
    shared: Daemon, changed: dict[str, Any], code: str, says: str
) -> None:
    with WireClient(shared.place) as client:
        cut = Cut(client.speak(TEXT, seed=5), 2, 100)
        end = client.speak(TEXT[cut.char :], **{**cut.say(), **changed}).end
        assert (end["kind"], end["code"]) == ("Failed", code)
        assert says in end["message"]
        assert client.speak("And the next one works.").end["kind"] == "Done"


@pytest.mark.parametrize(
    ("policy", "kind", "resumed"), [("segment", "Done", "segment"), ("next", "Done", "next"), ("fail", "Failed", None)]
)
def test_another_sound_than_the_client_has_follows_the_request(
    shared: Daemon, policy: str, kind: str, resumed: str | None
) -> None:
    with WireClient(shared.place) as client:
        whole = client.speak(TEXT, seed=5)
        cut = Cut(whole, 2, 4000)
        rest = client.speak(TEXT[cut.char :], **{**cut.say(), "crc32": 1}, on_failure=policy)
    assert (rest.end["kind"], rest.end.get("resumed")) == (kind, resumed)
    following = Cut(whole, 3, 0).base
    if policy == "segment":
        (reset,) = [message for message in rest.messages if message["kind"] == "Reset"]
        assert reset["frames"] == cut.base
        assert whole.samples[4 * cut.base :] == rest.samples
    elif policy == "next":
        assert whole.samples[4 * following :] == rest.samples
        assert rest.end["segments"] == 4


def test_an_engine_that_never_repeats_itself_does_not_try() -> None:
    with running(fake("deterministic = false")) as daemon, WireClient(daemon.place) as client:
        cut = Cut(client.speak("One of them. And another one."), 1, 100)
        rest = client.speak("And another one.", **cut.say(), on_failure="segment")
        assert (rest.end["kind"], rest.end["resumed"]) == ("Done", "segment")
        assert len(rest.end["attempts"]) == 1


def test_more_frames_than_there_are_is_a_lie_that_hurts_nobody_else(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        cut = Cut(client.speak(TEXT, seed=5), 1, 100)
        rest = client.speak(TEXT[cut.char :], **{**cut.say(), "from_frame": 2**53})
        assert (rest.end["kind"], rest.end["resumed"]) == ("Done", "next")
        before = shared.status()["providers"][0]["restarts"]
        assert client.speak("And the next one works.").end["kind"] == "Done"
        assert shared.status()["providers"][0]["restarts"] == before


# --- from end to end: daemons that are killed


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Places of its own, which a client in this process finds, and no daemon yet."""
    place = Place()
    for name, value in place.environment.items():
        if name.startswith("VOICEBOX_"):
            monkeypatch.setenv(name, value)
    yield place
    place.remove()


class Assassin:
    """Kills the daemon whenever so many frames of one of `segments` have come; what it had said beyond that is lost with
    it. `enough` judges by the frames of that segment so far and all that it has."""

    def __init__(self, place: Place, segments: set[int], enough: Callable[[int, int], bool]) -> None:
        self.kills = 0
        self.totals: dict[int, int] = {}
        self._place = place
        self._left = set(segments)
        self._enough = enough
        self._came: dict[int, int] = {}
        self._dead: set[str] = set()

    def lurk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        receive = Speech.receive

        def lurking(speech: Speech, kind: str, header: dict[str, Any], payload: memoryview) -> None:
            if header.get("boot") not in self._dead:
                receive(speech, kind, header, payload)
                if kind == "Chunk":
                    self._count(header)

        monkeypatch.setattr(Speech, "receive", lurking)

    def learn(self, whole: Speech) -> None:
        """How long each segment is."""
        for chunk in whole:
            self.totals[chunk.segment] = self.totals.get(chunk.segment, 0) + chunk.frames

    def _count(self, header: dict[str, Any]) -> None:
        number = header["segment"]
        self._came[number] = self._came.get(number, 0) + _frames([header])
        if number in self._left and self._enough(self._came[number], self.totals[number]):
            self._left.discard(number)
            self._dead.add(header["boot"])
            self.kills += 1
            kill(self._place)


def kill(place: Place) -> None:
    for daemon in place.daemons():
        daemon.kill()
        psutil.wait_procs([daemon], timeout=10)


# When the daemon dies in each of these segments.
MOMENTS: dict[str, tuple[set[int], Callable[[int, int], bool]]] = {
    "at the first sound": ({0}, lambda came, _: came > 0),
    "at the start of a segment": ({2}, lambda came, _: came > 0),
    "in its middle": ({2}, lambda came, total: came >= total // 2),
    "between two": ({1}, lambda came, total: came == total),
    "at the very end": ({4}, lambda came, total: came == total),
    "again and again": ({0, 1, 3}, lambda came, _: came > 0),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_file_is_what_it_would_have_been(place: Place, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    assassin = Assassin(place, *MOMENTS[moment])
    with Voicebox() as box:
        assassin.learn(box.say(TEXT, seed=9))
        whole = box.say(TEXT, seed=9).save(place.root / "whole.wav")
        assassin.lurk(monkeypatch)
        broken = box.say(TEXT, seed=9, on_failure="fail", resume=True).save(place.root / "broken.wav")
    assert assassin.kills == len(MOMENTS[moment][0])
    assert (place.root / "broken.wav").read_bytes() == (place.root / "whole.wav").read_bytes()
    check(broken, whole, assassin.kills)


def check(broken: Result, whole: Result, kills: int) -> None:
    assert broken.resumed == "exact"
    assert len(broken.attempts) == kills + 1
    assert all("has gone" in run["reason"] for run in broken.attempts[:-1])
    for name in ("state", "provider", "voice", "frames", "segments", "delivered_chars", "seed"):
        assert getattr(broken, name) == getattr(whole, name)


def test_whoever_reads_piece_by_piece_gets_each_frame_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assassin = Assassin(place, *MOMENTS["again and again"])
    with Voicebox() as box:
        whole = box.say(TEXT, seed=9).collect()
        assassin.learn(box.say(TEXT, seed=9))
        assassin.lurk(monkeypatch)
        speech = box.say(iter(SENTENCES), seed=9, resume=True)
        sound = b""
        for seq, chunk in enumerate(speech):
            assert (chunk.start, chunk.seq) == (len(sound) // 4, seq)
            assert chunk.verify()
            sound += bytes(chunk.data)
    assert assassin.kills == 3
    assert sound == bytes(whole.data)
    assert [notice.code for notice in speech.notices].count("RECONNECTED") == 3
    assert speech.result is not None
    check(speech.result, whole.result, 3)


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_in_an_event_loop_too(place: Place, monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:
    async def words() -> AsyncIterator[str]:
        for word in TEXT.split(" "):
            yield word + " "
            await anyio.sleep(0.001)

    def plain() -> tuple[Assassin, Any]:
        assassin = Assassin(place, {0, 2}, lambda came, total: came >= total // 2)
        with Voicebox() as box:
            assassin.learn(box.say(TEXT + " ", seed=9))
            return assassin, box.say(TEXT + " ", seed=9).collect()

    assassin, whole = await anyio.to_thread.run_sync(plain)
    assassin.lurk(monkeypatch)
    async with AsyncVoicebox() as box:
        speech = await box.say(words() if streamed else TEXT + " ", seed=9, resume=True)
        with anyio.fail_after(DEADLINE):
            broken = await speech.collect()
    assert assassin.kills == 2
    assert bytes(broken.data) == bytes(whole.data)
    check(broken.result, whole.result, 2)


# --- the command line, and a daemon that is killed at no particular moment

STORY = TEXT.replace("window.", "window. ") * 12


def say(place: Place, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "voicebox_cli", "say", *arguments, "--seed", "3", "--plain"]
    return place.popen(*command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def watch(client: subprocess.Popen[str], happens: dict[str, Callable[[], None]]) -> tuple[list[str], str]:
    """Read what it tells, and do what is to be done at each of these lines; its standard error and output."""
    assert client.stderr is not None
    assert client.stdout is not None
    told = []
    for line in client.stderr:
        told.append(line)
        for beginning in [each for each in happens if line.startswith(each)]:
            happens.pop(beginning)()
    shown = client.stdout.read()
    client.stderr.close()
    client.stdout.close()
    assert client.wait(DEADLINE) == 0, told
    assert not happens
    return told, shown


@pytest.fixture
def whole_story(place: Place) -> bytes:
    path = place.root / "whole.wav"
    done = place.voicebox("say", STORY, "--seed", "3", "-o", str(path))
    assert done.returncode == 0, done.stderr
    return path.read_bytes()


def test_a_long_text_to_a_file_outlives_two_daemons(place: Place, whole_story: bytes) -> None:
    (place.root / "story.txt").write_text(STORY)
    path = place.root / "broken.wav"
    client = say(place, "-f", str(place.root / "story.txt"), "--resume", "--json", "-o", str(path))
    told, shown = watch(client, {"segment 7:": lambda: kill(place), "segment 30:": lambda: kill(place)})
    assert path.read_bytes() == whole_story
    said = json.loads(shown)
    assert (said["state"], said["reconnects"], said["resumed"]) == ("done", 2, "exact")
    assert [run["outcome"] for run in said["attempts"]] == ["failed", "failed", "done"]
    assert sum(line.startswith("reconnected: the daemon (pid ") for line in told) == 2
    assert len([line for line in told if line.startswith("segment ")]) == 60


def test_text_from_a_pipe_that_is_still_open_outlives_its_daemon(place: Place, whole_story: bytes) -> None:
    path = place.root / "broken.wav"
    client = say(place, "-", "--resume", "-o", str(path), stdin=subprocess.PIPE)
    assert client.stdin is not None
    half = STORY.index("Nobody", len(STORY) // 2)
    client.stdin.write(STORY[:half])
    client.stdin.flush()

    def goes_on() -> None:
        assert client.stdin is not None
        kill(place)
        client.stdin.write(STORY[half:])
        client.stdin.close()

    watch(client, {"segment 7:": goes_on})
    assert path.read_bytes() == whole_story


def test_a_pipe_gets_each_frame_once(place: Place, whole_story: bytes) -> None:
    command = [sys.executable, "-m", "voicebox_cli", "say", STORY, "--seed", "3", "--resume", "-o", "-", "--format"]
    with place.popen(*command, "pcm", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None
        descriptor = client.stdout.fileno()
        sound = os.read(descriptor, 65536)
        kill(place)
        while piece := os.read(descriptor, 65536):
            sound += piece
        assert client.stderr is not None
        told = client.stderr.read()
        assert client.wait(DEADLINE) == 0, told
    assert sound == whole_story[44:]
    assert "goes on" in told
