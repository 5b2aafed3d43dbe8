"""The loudspeaker while everything around it is killed, and while five clients want it at once: by its recording."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tests.chaos import loud_storm
from tests.chaos.belongings import belongings, too_much
from tests.chaos.cell import provider_of
from tests.chaos.conftest import LONG as ALL
from tests.integration.aloud import Message, Speaker, Stage, stage
from tests.integration.daemon import eventually
from tests.integration.recording import RATE, Samples, in_turn
from tests.integration.test_loudspeaker import LONG, SOON, frames_of, kill, lateness, pauses, speaking, stops
from voicebox_protocol.wire import PRIORITIES

pytestmark = pytest.mark.timeout(600)

KILLS = 20 if ALL else 3
# Of each kill that something is to follow, so that the next does not meet the same place.
ONWARD = RATE // 4
# Slower than it is heard: what is made is heard at once, and what breaks is heard to break.
SLOW = " ".join(
    f"[[slow:120]]Sentence number {number:2} is followed by another one, and that by more of them."
    for number in range(99)
)
# More than is ever heard of it here.
MUCH = LONG * 30
# What the daemon may keep of a request that is over: its name, and the allocator's mood.
BYTES_PER_REQUEST = 100_000


@pytest.fixture(scope="module")
def theatre() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.fixture
def quiet(theatre: Stage) -> Stage:
    """Nobody speaks, and the recording begins here."""
    theatre.rest()
    return theatre


def last_heard(client: Speaker, req: str) -> int:
    """Frames that were told as heard."""
    client.drain()
    return max((int(m["frames"]) for m in client.told[req] if m["kind"] == "Heard"), default=0)


# --- kills


def test_the_player_is_killed_again_and_again_and_nothing_is_missing_or_heard_twice(quiet: Stage) -> None:
    chance, client = random.Random(1), quiet.client
    whole = client.quiet(MUCH, seed=1)
    req, gaps = client.aloud(MUCH, seed=1), 0
    for number in range(KILLS):
        # Now and then one that has not played yet; five of them in a row would be the end.
        if number % 4 != 1:
            assert client.heard(req, last_heard(client, req) + 1)["kind"] == "Heard"
            gaps += 1
        time.sleep(chance.uniform(0, 0.15))
        pid = quiet.player()
        _kill(pid)
        _another_player(quiet, pid)
    _goes_on(quiet, req, whole)
    assert gaps <= len(client.notices(req, "PLAYER")) <= KILLS


def test_a_player_that_hangs_is_replaced_and_keeps_nobody_from_being_stopped(quiet: Stage) -> None:
    client = quiet.client
    whole = {"long": client.quiet(LONG, seed=1), "next": client.quiet("Next.", seed=1)}
    req = client.aloud(LONG, seed=1)
    client.heard(req)
    player = quiet.player()
    os.kill(player, signal.SIGSTOP)
    client.ask("Stop")
    end = client.end(req)
    assert end["kind"] == "Cancelled"
    assert client.end(client.aloud("Next.", seed=1))["kind"] == "Done"
    assert quiet.player() != player
    assert in_turn(quiet.recording.sound(), whole) == [("long", frames_of(end)), ("next", len(whole["next"]))]


def test_the_engine_is_killed_again_and_again_and_nothing_is_missing_or_heard_twice(quiet: Stage) -> None:
    client = quiet.client
    whole = client.quiet(SLOW.replace("[[slow:120]]", ""), seed=1)
    req, killed = client.aloud(SLOW, seed=1), set[int]()
    for _ in range(KILLS):
        _other_speaks(quiet, killed)
        _goes_on(quiet, req, whole)
        # A busy machine may have had it replaced meanwhile.
        while not _kill(pid := _other_speaks(quiet, killed)):
            pass
        killed.add(pid)
    _other_speaks(quiet, killed)
    _goes_on(quiet, req, whole)
    client.playback("skip")
    assert client.end(req)["resumed"] == "exact"
    assert client.notices(req, "RESUMED")


def _goes_on(stage: Stage, req: str, whole: Samples) -> None:
    """More of it is heard, and all that was is as it should be. What is told is told late: only so much more is new."""
    client = stage.client
    assert client.heard(req, last_heard(client, req) + ONWARD)["kind"] == "Heard", client.end(req)
    sound = stage.recording.sound()
    assert np.array_equal(sound, whole[: len(sound)])


def _another_player(stage: Stage, killed: int) -> None:
    eventually(lambda: stage.player() != killed, "there is another player")


def _kill(pid: int) -> bool:
    """Whether it was there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _other_speaks(stage: Stage, killed: set[int]) -> int:
    """The engine's process that is at work, none of those that were killed."""

    def find() -> int | None:
        workers = provider_of(stage.daemon, "loud")["workers"]
        return next((w["pid"] for w in workers if w["pid"] and w["pid"] not in killed and w["state"] == "busy"), None)

    return int(eventually(find, "one speaks"))


def test_clients_killed_while_they_have_the_turn_leave_it_to_the_next(quiet: Stage) -> None:
    client = quiet.client
    whole = {"long": client.quiet(LONG, seed=1), "next": client.quiet("Next.", seed=1)}
    order: list[str] = []
    before = belongings(quiet.daemon.pid)
    for _ in range(KILLS):
        process = speaking(quiet, LONG)
        req = client.aloud("Next.", seed=1)
        kill(process)
        assert client.end(req)["kind"] == "Done"
        order += ["long", "next"]
    heard = in_turn(quiet.recording.sound(), whole)
    assert [name for name, _ in heard] == order
    assert all((name == "next") == (frames == len(whole[name])) for name, frames in heard)
    eventually(lambda: not too_much(before, belongings(quiet.daemon.pid)), "they leave nothing")


# --- stops and pauses


@pytest.mark.skipif(not ALL, reason="ten of each are in tests/integration/test_loudspeaker.py")
class TestSilence:
    """Each of them is in time, where the machine is not kept busy by others."""

    def test_after_stop(self, quiet: Stage) -> None:
        self.soon(stops(quiet, 100))

    def test_after_pause(self, quiet: Stage) -> None:
        whole = quiet.client.quiet(LONG * 8, seed=1)
        req = quiet.client.aloud(LONG * 8, seed=1)
        quiet.client.heard(req)
        asked = pauses(quiet, 100, random.Random(4))
        assert quiet.client.end(req)["kind"] == "Done"
        assert np.array_equal(quiet.recording.sound(), whole)
        self.soon(lateness(quiet, asked))

    def soon(self, late: list[int]) -> None:
        told = [round(1000 * frames / RATE) for frames in sorted(late)]
        print(f"to silence: median {told[len(told) // 2]} ms, longest {told[-1]} ms of {len(told)}")
        assert max(late) <= SOON


# --- everything


@pytest.mark.parametrize("seed", range(4 if ALL else 1))
def test_whatever_comes_together_all_is_heard_once_and_told_as_it_was_heard(quiet: Stage, seed: int) -> None:
    storm = loud_storm.run(quiet, 30.0 if ALL else 5.0, seed)
    print(dict(storm.struck))


# --- a crowd


PIPED = "This goes to a pipe."
REQUESTS = 100 if ALL else 20
CLIENTS = 5


class Guest:
    """One of the clients: it asks without waiting, and changes its mind now and then."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.name, self.chance = name, random.Random(name)
        self.client, self.pipe = stage.another(), stage.another()
        self.reqs: list[str] = []
        self.ends: dict[str, Message] = {}
        self.piped: list[Samples] = []

    def close(self) -> None:
        self.client.close()
        self.pipe.close()

    def live(self, requests: int) -> None:
        for count in range(requests):
            req = f"{self.name}-{count}-{self.chance.choice(PRIORITIES)}"
            self.client.aloud(text_of(req), req=req, seed=seed_of(req), priority=req.rpartition("-")[2])
            self.reqs.append(req)
            time.sleep(self.chance.uniform(0, 0.12))
            self.whim()
        for req in self.reqs:
            self.ends[req] = self.client.end(req)

    def whim(self) -> None:
        drawn = self.chance.random()
        if drawn < 0.1:
            self.client.cancel(self.chance.choice(self.reqs))
        elif drawn < 0.2:
            self.client.playback("skip")
        elif drawn < 0.3:
            self.piped.append(self.pipe.quiet(PIPED, seed=1))


def text_of(req: str) -> str:
    return f"{req}."


def seed_of(req: str) -> int:
    client, count, _ = req.split("-")
    return 1000 * int(client) + int(count)


# Why one may have ended that its own client did not stop, from the table of docs/loudspeaker.md.
REASONS = {
    "important": ("skipped",),
    "message": ("skipped", "priority important"),
    "text": ("skipped", "priority important", "priority message", "newer one of priority text"),
    "notification": ("skipped", "does not wait", "priority"),
    "progress": (
        "skipped",
        "priority important",
        "priority message",
        "priority text",
        "newer one of priority progress",
    ),
}


def test_five_clients_with_all_kinds_of_requests_are_heard_in_order_and_leave_nothing(quiet: Stage) -> None:
    process = psutil.Process(quiet.daemon.pid)
    _crowd(quiet, "1", REQUESTS // 5)
    quiet.rest()
    player, memory = quiet.player(), process.memory_info().rss
    before = [belongings(pid) for pid in (quiet.daemon.pid, player)]
    ends = _crowd(quiet, "2", REQUESTS)
    _judge(quiet, ends)
    requests = quiet.daemon.status()["requests"]
    assert (requests["active"], requests["queued"]) == (0, 0)
    audio = quiet.client.audio()
    assert (audio["speaking"], audio["waiting"], audio["paused"]) == (None, [], False)
    for pid, had in zip((quiet.daemon.pid, player), before, strict=True):
        eventually(lambda pid=pid, had=had: not too_much(had, belongings(pid)), "they leave nothing")
    assert process.memory_info().rss - memory < BYTES_PER_REQUEST * len(ends)


def _crowd(stage: Stage, when: str, requests: int) -> dict[str, Message]:
    guests = [Guest(stage, f"{when}{number}") for number in range(CLIENTS)]
    threads = [threading.Thread(target=guest.live, args=(requests,)) for guest in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for guest in guests:
        guest.close()
    piped = stage.client.quiet(PIPED, seed=1)
    assert all(np.array_equal(each, piped) for guest in guests for each in guest.piped)
    ends = {req: end for guest in guests for req, end in guest.ends.items()}
    assert len(ends) == CLIENTS * requests
    return ends


def _judge(stage: Stage, ends: dict[str, Message]) -> None:
    whole = {req: stage.client.quiet(text_of(req), seed=seed_of(req)) for req in ends}
    order = in_turn(stage.recording.sound(), whole)
    heard = dict(order)
    assert len(heard) == len(order), "nobody begins twice"
    for req, end in ends.items():
        assert end["kind"] in ("Done", "Cancelled"), end
        assert frames_of(end) == heard.get(req, 0)
        if end["kind"] == "Done":
            assert heard[req] == len(whole[req])
        elif reason := end.get("reason"):
            assert any(words in reason for words in REASONS[_priority(req)]), (req, reason)
    come = [line["req"] for line in stage.daemon.log() if line["event"] == "request" and line["req"] in ends]
    for priority in PRIORITIES:
        spoken = [req for req, _ in order if _priority(req) == priority]
        assert spoken == [req for req in come if req in set(spoken)], "in the order in which they came"


def _priority(req: str) -> str:
    return req.rpartition("-")[2]
