"""The loudspeaker as its listener has it: real requests, a real player, and what a recording of it has, sample by sample.

The loud voice has no silence in it, so a recording without its silence has to be what was said and nothing else, in order: two at
once would be neither, and what is missing or said twice breaks the row.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tests.integration.aloud import LOUD, Message, Speaker, Stage, stage
from tests.integration.daemon import DEADLINE, eventually, running
from tests.integration.recording import BLOCK, RATE, in_turn
from tests.integration.test_failover import state_of
from tests.unit.daemon.test_turns import LAST_OF_A_BURST, PRIORITY, TABLE
from voicebox_player.turn import SILENT

# At the device, after stop and pause, and for positions that are told.
SOON = RATE * 50 // 1000
LONG = "word " * 45


@pytest.fixture(scope="module")
def theatre() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.fixture
def quiet(theatre: Stage) -> Stage:
    """Nobody speaks, and the recording begins here."""
    theatre.rest()
    return theatre


def frames_of(end: Message) -> int:
    """What a terminal message says was heard, in frames of the recording."""
    return round(end["heard_s"] * RATE)


def blocks(places: list[int]) -> set[int]:
    return {place // BLOCK for place in places}


# --- one after another


def test_three_at_once_are_heard_one_after_another_and_a_stream_meanwhile_is_as_ever(quiet: Stage) -> None:
    texts = {name: f"{name} wants to be heard." for name in ("one", "two", "three")}
    whole = {name: quiet.client.quiet(text, seed=1) for name, text in texts.items()}
    clients = {name: quiet.another() for name in texts}
    reqs = {}
    for name, client in clients.items():
        reqs[name] = client.aloud(texts[name], seed=1)
        client.until(lambda m: m["kind"] == "Accepted")
    clients["one"].heard(reqs["one"])
    assert np.array_equal(quiet.client.quiet(texts["two"], seed=1), whole["two"])
    for name, client in clients.items():
        assert client.end(reqs[name])["kind"] == "Done"
        client.close()
    assert in_turn(quiet.recording.sound(), whole) == [(name, len(own)) for name, own in whole.items()]
    heard = [blocks(quiet.recording.places(own)) for own in whole.values()]
    assert not heard[0] & heard[1]
    assert not heard[1] & heard[2]


class Row:
    """Plays one row of the table: whoever speaks goes on until all have come, for its text is not at its end."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.client = stage, stage.client
        self.reqs: dict[str, str] = {}

    def arrive(self, name: str) -> None:
        """It comes, and whoever has the turn then is heard before anything else happens."""
        self.reqs[name] = self.client.aloud(
            f"Go {name}.\n",
            seed=_seed(name),
            priority=PRIORITY[name[0]],
            more=True,
            req=f"{name} {time.monotonic_ns()}",
        )
        self.hear_current()

    def hear_current(self) -> None:
        current = self.client.audio()["speaking"]
        assert current is not None
        self.client.heard(current)

    def finish(self, name: str) -> Message:
        """Its text ends, and so does it when that was heard."""
        self.client.more(self.reqs[name], "On.", last=True)
        return self.client.end(self.reqs[name])

    def to_the_end(self) -> None:
        """Everybody's text ends."""
        self.client.drain()
        for req in self.reqs.values():
            if not self.client.told[req] or self.client.told[req][-1]["kind"] != "Cancelled":
                self.client.more(req, "On.", last=True)
        for req in self.reqs.values():
            self.client.end(req)

    def heard(self) -> str:
        """As the table writes it, by the recording alone; with what each is told checked against that."""
        whole = {name: self.client.quiet(f"Go {name}.\nOn.", seed=_seed(name)) for name in self.reqs}
        order = in_turn(self.stage.recording.sound(), whole)
        for name, req in self.reqs.items():
            end, frames = self.client.end(req), dict(order).get(name, 0)
            assert (end["kind"] == "Done") == (frames == len(whole[name]))
            assert frames_of(end) == frames, name
        return " ".join(name + "-" * (frames < len(whole[name])) for name, frames in order)

    def cancelled(self) -> set[str]:
        return {name for name, req in self.reqs.items() if self.client.end(req)["kind"] == "Cancelled"}


def _seed(name: str) -> int:
    return 100 * ord(name[0]) + int(name[1:])


@pytest.mark.parametrize(("arrivals", "heard", "cancelled"), TABLE, ids=[row[0].replace(" ", "-") for row in TABLE])
def test_the_table_of_priorities(quiet: Stage, arrivals: str, heard: str, cancelled: str) -> None:
    row = Row(quiet)
    for name in arrivals.split():
        row.arrive(name)
    row.to_the_end()
    assert row.heard() == heard
    assert row.cancelled() == set(cancelled.split())


@pytest.mark.parametrize(("arrivals", "heard", "cancelled"), LAST_OF_A_BURST)
def test_the_last_of_a_burst_counts_as_a_message(quiet: Stage, arrivals: str, heard: str, cancelled: str) -> None:
    row = Row(quiet)
    row.arrive("p1")
    row.arrive("p2")
    row.finish("p1")
    row.hear_current()
    for name in arrivals.split():
        row.arrive(name)
    row.to_the_end()
    assert row.heard() == heard
    assert row.cancelled() == set(cancelled.split())


# --- stop, pause and the rest


def test_stop_silences_at_once_and_says_what_was_heard(quiet: Stage) -> None:
    assert min(stops(quiet, 10)) <= SOON


def stops(stage: Stage, count: int) -> list[int]:
    """Speak and stop. What was heard is in the recording to the sample, so nothing was played after the player had its word.

    Gives how long that word took, in frames that the device was given from the request to stop until there was silence: a busy machine
    may keep any of them waiting, but not all.
    """
    whole, order, late = {}, [], []
    for number in range(count):
        name = f"{number}"
        whole[name] = stage.client.quiet(LONG, seed=number)
        req = stage.client.aloud(LONG, seed=number)
        stage.client.heard(req)
        time.sleep(random.Random(number).uniform(0, 0.1))
        asked = stage.recording.now
        stage.client.ask("Stop")
        end = stage.client.end(req)
        assert end["kind"] == "Cancelled"
        assert end["frames"] > frames_of(end), "more was made than heard"
        order.append((name, frames_of(end)))
        late.append(stage.recording.spans()[-1].end - asked)
    assert in_turn(stage.recording.sound(), whole) == order
    return late


def test_pause_silences_at_once_and_loses_no_sample(quiet: Stage) -> None:
    whole = quiet.client.quiet(LONG, seed=1)
    req = quiet.client.aloud(LONG, seed=1)
    quiet.client.heard(req)
    asked = pauses(quiet, 10, random.Random(1))
    assert quiet.client.end(req)["kind"] == "Done"
    assert np.array_equal(quiet.recording.sound(), whole)
    assert min(lateness(quiet, asked)) <= SOON


def pauses(stage: Stage, count: int, chance: random.Random, most_s: float = 0.1) -> list[int]:
    """Pause and resume; gives what stood in the recording at each pause."""
    asked = []
    for _ in range(count):
        time.sleep(chance.uniform(0, most_s))
        asked.append(stage.recording.now)
        assert stage.client.playback("pause")["kind"] == "PlaybackReply"
        assert stage.client.audio()["paused"]
        stood = stage.recording.now
        # What is written is paused for at least as long as it takes to see that nothing more is.
        time.sleep(0.03)
        while (now := stage.recording.now) != stood:
            stood = now
            time.sleep(0.03)
        stage.client.playback("resume")
    return asked


def lateness(stage: Stage, asked: list[int]) -> list[int]:
    """Frames from each request to the silence that followed it."""
    ends = [span.end for span in stage.recording.spans()]
    return [next(end for end in ends if end >= frame - BLOCK) - frame for frame in asked]


def test_the_built_in_voice_is_paused_anywhere_and_sounds_as_if_it_had_not_been(quiet: Stage) -> None:
    text = "The quick brown fox jumps over the dog. And again."
    voice = {"provider": "builtin", "seed": 5}
    whole = quiet.client.quiet(text, **voice)
    # What that voice begins with is too soft to be heard, and nobody waits for its end.
    whole = whole[np.argmax(np.abs(whole) >= SILENT) :]
    req = quiet.client.aloud(text, **voice)
    quiet.client.heard(req)
    pauses(quiet, 20, random.Random(2))
    assert quiet.client.end(req)["kind"] == "Done"
    assert np.array_equal(quiet.recording.sound(), whole)


def test_one_paused_by_itself_lets_others_go_on_and_is_heard_to_the_sample(quiet: Stage) -> None:
    whole = {"long": quiet.client.quiet(LONG, seed=1), "short": quiet.client.quiet("Short.", seed=1)}
    req = quiet.client.aloud(LONG, seed=1)
    quiet.client.heard(req)
    quiet.client.playback("pause", req=req)
    assert quiet.client.end(quiet.client.aloud("Short.", seed=1))["kind"] == "Done"
    quiet.client.playback("resume", req=req)
    assert quiet.client.end(req)["kind"] == "Done"
    sound = quiet.recording.sound()
    at = next(i for i in range(len(sound)) if np.array_equal(sound[i : i + 64], whole["short"][:64]))
    short = len(whole["short"])
    assert np.array_equal(sound[at : at + short], whole["short"])
    assert np.array_equal(np.concatenate([sound[:at], sound[at + short :]]), whole["long"])


def test_one_that_is_paused_again_at_once_stays_paused(quiet: Stage) -> None:
    """Each of these comes before the player has answered the first."""
    whole = {"long": quiet.client.quiet(LONG, seed=1), "short": quiet.client.quiet("Short.", seed=1)}
    req = quiet.client.aloud(LONG, seed=1)
    quiet.client.heard(req)
    for query, action in enumerate(("pause", "resume", "pause")):
        quiet.client.send("Playback", query=1000 + query, action=action, req=req)
    assert quiet.client.end(quiet.client.aloud("Short.", seed=1))["kind"] == "Done"
    (first, cut), then = in_turn(quiet.recording.sound(), whole)
    assert (first, then) == ("long", ("short", len(whole["short"])))
    quiet.client.playback("resume", req=req)
    assert quiet.client.end(req)["kind"] == "Done"
    assert np.array_equal(quiet.recording.sound()[cut + len(whole["short"]) :], whole["long"][cut:])


def test_one_that_is_paused_with_much_to_say_leaves_others_their_room(quiet: Stage) -> None:
    """Half a minute of sound is made ahead. Where that is of one that is paused, the others had none, and waited after each sentence
    until their player was taken for dead."""
    client, texts = quiet.client, {"long": LONG * 24, "other": " ".join(f"This is number {n}." for n in range(5))}
    whole = {name: client.quiet(text, seed=1) for name, text in texts.items()}
    req = client.aloud(texts["long"], seed=1)
    client.heard(req)
    eventually(lambda: state_of(quiet.daemon, "loud") == "ready", "all is made that there is room for")
    client.playback("pause", req=req)
    other = client.aloud(texts["other"], seed=1)
    assert client.end(other)["kind"] == "Done"
    assert not client.notices(other, "PLAYER")
    at = len(quiet.recording.sound()) - len(whole["other"])
    client.playback("resume", req=req)
    client.heard(req, at + RATE // 10)
    client.playback("skip")
    heard = frames_of(client.end(req))
    sound = quiet.recording.sound()
    assert np.array_equal(sound[at : at + len(whole["other"])], whole["other"])
    assert np.array_equal(np.delete(sound, slice(at, at + len(whole["other"]))), whole["long"][:heard])


def test_a_client_that_does_not_read_one_stream_is_spoken_another(quiet: Stage) -> None:
    """The same for streams: what it holds of the other is all that it has to give back."""
    with quiet.another() as client:
        client.say(LONG * 24, seed=1)
        eventually(lambda: state_of(quiet.daemon, "loud") == "ready", "all is made that there is room for")
        assert client.speak("This is one. This is another. And a third.", seed=1).end["kind"] == "Done"


def test_something_important_is_heard_in_a_pause_and_the_rest_goes_on_after_it(quiet: Stage) -> None:
    whole = {"long": quiet.client.quiet(LONG, seed=1), "fire": quiet.client.quiet("Fire.", seed=1)}
    req = quiet.client.aloud(LONG, seed=1)
    quiet.client.heard(req)
    quiet.client.playback("pause")
    assert quiet.client.end(quiet.client.aloud("Fire.", seed=1, priority="important"))["kind"] == "Done"
    assert quiet.client.audio()["paused"]
    cut = len(quiet.recording.sound()) - len(whole["fire"])
    assert in_turn(quiet.recording.sound(), whole) == [("long", cut), ("fire", len(whole["fire"]))]
    quiet.client.playback("resume")
    assert quiet.client.end(req)["kind"] == "Done"
    rest = quiet.recording.sound()[cut + len(whole["fire"]) :]
    assert np.array_equal(rest, whole["long"][cut:])


def test_skip_lets_the_next_speak(quiet: Stage) -> None:
    whole = {name: quiet.client.quiet(text, seed=1) for name, text in (("long", LONG), ("next", "Next."))}
    first, second = quiet.client.aloud(LONG, seed=1), quiet.client.aloud("Next.", seed=1)
    quiet.client.heard(first)
    assert quiet.client.playback("skip")["reqs"] == [first]
    end = quiet.client.end(first)
    assert (end["kind"], end["reason"]) == ("Cancelled", "it was skipped")
    assert quiet.client.end(second)["kind"] == "Done"
    assert in_turn(quiet.recording.sound(), whole) == [("long", frames_of(end)), ("next", len(whole["next"]))]


def test_replay_gives_the_same_samples(quiet: Stage) -> None:
    req = quiet.client.aloud("Say that again.")
    quiet.client.end(req)
    first = quiet.recording.sound()
    quiet.client.end(quiet.client.aloud("Other words."))
    for replay in (req, "last"):
        quiet.recording.mark()
        again = quiet.client.end(quiet.client.aloud("", replay=replay))
        assert again["kind"] == "Done"
        assert np.array_equal(quiet.recording.sound(), first)


def test_volume_and_mute_act_at_the_loudspeaker(quiet: Stage) -> None:
    whole = quiet.client.quiet("How loud is this?", seed=1)
    assert quiet.client.audio(volume=0.5)["volume"] == 0.5
    quiet.client.end(quiet.client.aloud("How loud is this?", seed=1))
    assert np.array_equal(quiet.recording.sound(), whole * np.float32(0.5))
    quiet.recording.mark()
    assert quiet.client.audio(muted=True)["muted"]
    end = quiet.client.end(quiet.client.aloud("How loud is this?", seed=1))
    assert (end["kind"], frames_of(end)) == ("Done", len(whole)), "time goes on"
    assert len(quiet.recording.sound()) == 0
    assert quiet.recording.now >= len(whole)


# --- what was heard


@pytest.mark.parametrize("rate", [RATE, 24_000])
def test_positions_are_told_as_they_are_heard(quiet: Stage, rate: int) -> None:
    """Never more than is in the recording; how much less is a matter of who was kept waiting: the best of them counts."""
    req, behind = quiet.client.aloud(LONG, seed=1, sample_rate=rate), []
    while True:
        message = quiet.client.take()
        now = quiet.recording.now
        if message["kind"] == "Heard":
            recorded = np.count_nonzero(quiet.recording.samples()[:now])
            behind.append(recorded - message["frames"] * RATE // rate)
        elif message["kind"] == "Done":
            break
    assert len(behind) > 5
    assert min(behind) >= 0
    assert min(behind) <= SOON
    assert quiet.client.told[req][-2]["frames"] * RATE // rate <= frames_of(message) == len(quiet.recording.sound())


def test_one_whose_deadline_passes_says_what_was_heard(quiet: Stage) -> None:
    whole = quiet.client.quiet(LONG, seed=1)
    late = quiet.client.aloud(LONG, seed=1, deadline_ms=600)
    never = quiet.client.aloud("Never heard.", seed=1, deadline_ms=1)
    for req in (late, never):
        end = quiet.client.end(req)
        assert (end["kind"], end["code"]) == ("Failed", "DEADLINE")
    assert frames_of(quiet.client.end(never)) == 0
    assert np.array_equal(quiet.recording.sound(), whole[: frames_of(quiet.client.end(late))])


def test_something_important_takes_another_voice_rather_than_fall_silent() -> None:
    config = LOUD.replace("ms_per_char", "fail_load = true, fault_permanent = true, ms_per_char").replace(
        "[speech]", '[speech]\nvoice = "tone"'
    )
    with stage(config) as made:
        usual = made.client.end(made.client.aloud("Dinner is ready.", voice="tone"))
        assert (usual["kind"], usual["code"]) == ("Failed", "PROVIDER_FAILED")
        urgent = made.client.end(made.client.aloud("Fire!", voice="tone", priority="important"))
        assert (urgent["kind"], urgent["provider"]) == ("Done", "builtin")
        assert frames_of(urgent) == urgent["frames"] > 0


# --- those who leave


SAYS = """
import sys
from voicebox_client import Voicebox
box = Voicebox(autostart=False)
speech = box.say(sys.argv[1], sink="speaker", seed=1, sample_rate=48000, follow=True, detached=sys.argv[2] == "detached")
for event in speech.events():
    print(type(event).__name__, flush=True)
"""


def speaking(stage: Stage, text: str, how: str = "") -> subprocess.Popen[str]:
    """A client in a process of its own, once it is heard."""
    process = stage.daemon.place.popen(sys.executable, "-c", SAYS, text, how, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "Heard\n":
            return process
    raise AssertionError("it was never heard")


def kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def test_a_client_that_is_killed_gives_its_turn_to_the_next(quiet: Stage) -> None:
    whole = {name: quiet.client.quiet(text, seed=1) for name, text in (("long", LONG), ("next", "Next."))}
    process = speaking(quiet, LONG)
    req = quiet.client.aloud("Next.", seed=1)
    kill(process)
    assert quiet.client.end(req)["kind"] == "Done"
    (first, frames), then = in_turn(quiet.recording.sound(), whole)
    assert (first, then) == ("long", ("next", len(whole["next"])))
    assert frames < len(whole["long"])


def test_what_is_detached_is_heard_without_its_client(quiet: Stage) -> None:
    whole = quiet.client.quiet(LONG, seed=1)
    kill(speaking(quiet, LONG, "detached"))
    eventually(lambda: quiet.client.audio()["speaking"] is None, "it was heard")
    assert np.array_equal(quiet.recording.sound(), whole)


def test_the_player_ends_with_its_daemon() -> None:
    with stage() as made:
        made.client.heard(made.client.aloud(LONG))
        player = psutil.Process(made.player())
        made.daemon.process.kill()
        made.daemon.process.wait()
        player.wait(DEADLINE)


def test_a_daemon_that_ends_says_what_was_heard_and_leaves_nobody() -> None:
    with stage() as made:
        req = made.client.aloud(LONG * 4)
        made.client.heard(req)
        assert made.daemon.terminate(DEADLINE) == 0
        end = made.client.end(req)
        assert (end["kind"], end["code"]) == ("Failed", "SHUTTING_DOWN")
        assert 0 < frames_of(end) <= len(made.recording.sound())
        assert not made.daemon.place.processes()


# --- a player that dies


def test_a_player_that_is_killed_is_replaced_and_the_whole_gap_is_told(quiet: Stage) -> None:
    """Two of them die before anything more is heard: the listener's gap began with the first."""
    whole = quiet.client.quiet(LONG, seed=1)
    req = quiet.client.aloud(LONG, seed=1)
    quiet.client.heard(req)
    quiet.client.playback("pause")
    replaced(quiet)
    since = time.monotonic()
    time.sleep(1)
    replaced(quiet)
    until = time.monotonic()
    quiet.client.playback("resume")
    assert quiet.client.end(req)["kind"] == "Done"
    assert np.array_equal(quiet.recording.sound(), whole)
    (told,) = quiet.client.notices(req, "PLAYER")
    gap = re.search(r"after (\d+) ms", told["message"])
    assert gap is not None
    assert int(gap[1]) >= 1000 * (until - since) - 1


def replaced(stage: Stage) -> None:
    """The player is killed, and another has taken over."""
    pid = stage.player()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: stage.player() != pid and stage.client.audio()["playing"], "another takes over")


# --- devices


def test_without_a_device_everybody_is_told_at_once_or_waits_if_it_wants_to() -> None:
    """No Linux has Core Audio."""
    with running(LOUD, VOICEBOX_AUDIO_BACKEND="coreaudio") as daemon, Speaker(daemon.place) as client:
        reqs = [client.aloud("Hello there.") for _ in range(2)]
        for end in map(client.end, reqs):
            assert (end["kind"], end["code"], end["heard_s"]) == ("Failed", "NO_AUDIO_DEVICE", 0.0)
            assert "-o" in end["message"], "what to do"
        patient = client.aloud("Hello again.", wait_device=True)
        client.until(lambda m: m["kind"] == "Notice" and m["code"] == "WAITING")
        assert client.end(client.aloud("Now.", priority="important"))["code"] == "NO_AUDIO_DEVICE"
        end = client.end(patient)
        assert (end["kind"], end["heard_s"]) == ("Cancelled", 0.0)


def test_a_device_that_only_pretends_takes_its_time_and_hears_everything() -> None:
    with running(LOUD, VOICEBOX_AUDIO_BACKEND="null") as daemon, Speaker(daemon.place) as client:
        begun = time.monotonic()
        end = client.end(client.aloud("Hello there, whoever listens."))
        assert (end["kind"], frames_of(end)) == ("Done", end["frames"])
        assert time.monotonic() - begun >= end["heard_s"]
        assert client.audio()["trouble"] is None
