"""Workers and the spare: who takes over, who is started for it, and who leaves when there is nothing to do."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.daemon import Daemon, eventually, running
from tests.integration.test_broken_providers import LONG, fake, speak
from tests.integration.wire_client import Ending, WireClient

SENTENCES = " ".join(f"This is the sentence of number {n} and it takes its time." for n in range(8))


def provider(daemon: Daemon) -> dict[str, Any]:
    entry: dict[str, Any] = next(p for p in daemon.status()["providers"] if p["id"] == "fake")
    return entry


def pids(daemon: Daemon) -> set[int]:
    return {worker["pid"] for worker in provider(daemon)["workers"] if worker["pid"]}


def until_chunk(client: WireClient, req: str, ending: Ending, count: int = 1) -> None:
    while ending.kinds.count("Chunk") < count:
        message, payload = client.receive()
        if message.get("req") == req:
            ending.take(message, payload)
            credit(client, req, message)


def credit(client: WireClient, req: str, message: dict[str, Any]) -> None:
    if message["kind"] == "Chunk":
        last = message["seq"] + len(message["descriptors"]) - 1
        client.send("Credit", boot=client.boot, req=req, first=message["seq"], last=last)


def rest_of(client: WireClient, req: str, ending: Ending) -> Ending:
    more = client.until_end(req)
    for message in more.messages:
        ending.messages.append(message)
    ending.samples += more.samples
    return ending


def warm(daemon: Daemon) -> int:
    """A provider that has spoken, with its spare ready; gives the spare's process id."""
    assert speak(daemon, "Hello. And hello again.").end["kind"] == "Done"
    pid: int = eventually(lambda: provider(daemon)["standby_pid"], "a spare is ready")
    return pid


def test_the_spare_takes_over_without_a_start() -> None:
    with running(fake(extra='standby = "warm"')) as daemon:
        spare = warm(daemon)
        text = f"{LONG}. {SENTENCES}"
        whole = speak(daemon, text, seed=5)
        with WireClient(daemon.place) as client:
            req = client.say(text, seed=5)
            ending = Ending()
            until_chunk(client, req, ending)
            before = provider(daemon)
            (worker,) = [worker for worker in before["workers"] if worker["state"] == "busy"]
            psutil.Process(worker["pid"]).kill()
            rest_of(client, req, ending)
        assert ending.end["resumed"] == "exact"
        assert ending.samples == whole.samples
        first, second, *_ = ending.end["attempts"]
        assert {first["epoch"], second["epoch"]} == {1, 2}, "a process that was there already took over"
        assert spare in pids(daemon) | {worker["pid"]}
        assert eventually(lambda: provider(daemon)["standby_pid"], "the dead one's successor is the next spare")
        assert provider(daemon)["restarts"] == 1


def test_a_process_that_was_stopped_while_it_rested_is_overcome_at_once() -> None:
    """Nobody asks an idle process whether it lives; its first work finds out, and the spare speaks."""
    with running(fake(extra='standby = "warm"')) as daemon:
        spare = warm(daemon)
        (first,) = pids(daemon) - {spare}
        psutil.Process(first).send_signal(signal.SIGSTOP)
        psutil.Process(spare).send_signal(signal.SIGCONT)
        ending = speak(daemon, "Is anybody there?")
        assert ending.end["kind"] == "Done"
        assert ending.end["first_audio_ms"] < 4000
        assert eventually(lambda: first not in pids(daemon), "the stopped one is ended", within=30)


@pytest.mark.parametrize("standby", ["none", "warm"])
def test_a_process_that_is_stopped_in_mid_sentence_is_overcome_before_it_is_given_up(standby: str) -> None:
    with running(fake(extra=f'standby = "{standby}"')) as daemon:
        if standby == "warm":
            warm(daemon)
        text = f"{LONG}. And another one."
        whole = speak(daemon, text, seed=3)
        with WireClient(daemon.place) as client:
            req, ending = client.say(text, seed=3), Ending()
            until_chunk(client, req, ending, 2)
            (worker,) = [worker for worker in provider(daemon)["workers"] if worker["state"] == "busy"]
            psutil.Process(worker["pid"]).send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            rest_of(client, req, ending)
            took = time.monotonic() - stopped
        assert (ending.end["kind"], ending.end["resumed"]) == ("Done", "exact")
        assert ending.samples == whole.samples
        assert took < 10, "it was waited for until it was killed"


def test_no_spare_means_none() -> None:
    with running(fake(extra='standby = "none"')) as daemon:
        assert speak(daemon, SENTENCES).end["kind"] == "Done"
        assert provider(daemon)["standby_pid"] is None
        assert len(pids(daemon)) == 1


def test_workers_share_the_queue() -> None:
    """Two requests of one second each at once: each of two workers speaks one."""
    with running(fake(extra='standby = "none"\nworkers = 2')) as daemon, WireClient(daemon.place) as client:
        requests = [client.say(f"{LONG} {n}.") for n in range(4)]
        eventually(lambda: [w["state"] for w in provider(daemon)["workers"]] == ["busy", "busy"], "both work")
        endings = {req: Ending() for req in requests}
        while not all(ending.messages and ending.end["kind"] == "Done" for ending in endings.values()):
            message, payload = client.receive()
            if (ending := endings.get(message.get("req", ""))) is not None:
                ending.take(message, payload)
                credit(client, message["req"], message)
        assert {run["epoch"] for ending in endings.values() for run in ending.end["attempts"]} == {1, 2}


def test_one_long_text_keeps_every_worker_busy_and_sounds_the_same() -> None:
    """A book is one request: what is not due yet is spoken by whoever has nothing else to do."""
    book = " ".join(f"{LONG} in chapter {n}." for n in range(8))
    with running(fake(extra='standby = "none"')) as daemon:
        alone = speak(daemon, book, seed=2)
    with running(fake(extra='standby = "none"\nworkers = 3')) as daemon:
        speak(daemon, book, seed=2)
        together = speak(daemon, book, seed=2)
    assert together.samples == alone.samples
    assert together.end["segments"] == alone.end["segments"]
    assert len({run["epoch"] for run in together.end["attempts"]}) == 3
    assert together.end["total_ms"] < 0.7 * alone.end["total_ms"], "sleeping engines do not compete for the processor"


def test_what_was_spoken_before_its_turn_and_lost_is_spoken_again() -> None:
    book = " ".join(f"{LONG} in chapter {n}." for n in range(6))
    with running(fake(extra='standby = "none"\nworkers = 2')) as daemon:
        whole = speak(daemon, book, seed=2)
        with WireClient(daemon.place) as client:
            req, ending = client.say(book, seed=2), Ending()
            until_chunk(client, req, ending)
            busy = eventually(
                lambda: [w for w in provider(daemon)["workers"] if w["state"] == "busy"][1:], "both are at work"
            )
            psutil.Process(busy[-1]["pid"]).kill()
            rest_of(client, req, ending)
        assert ending.end["kind"] == "Done"
        assert ending.samples == whole.samples


@pytest.mark.parametrize(("keep_alive", "left"), [("0", 0), ('"300ms"', 0), ("-1", 1)])
def test_an_engine_is_kept_as_long_as_the_user_says(keep_alive: str, left: int) -> None:
    with running(fake(extra=f'standby = "none"\nkeep_alive = {keep_alive}')) as daemon:
        assert speak(daemon, "Hello.").end["kind"] == "Done"
        if left:
            time.sleep(1.0)
            assert len(daemon.place.providers()) == left
        else:
            eventually(lambda: not daemon.place.providers(), "it is unloaded")
            eventually(lambda: provider(daemon)["state"] == "stopped", "the daemon knows")
        assert speak(daemon, "Hello again.").end["kind"] == "Done"


def test_a_worn_worker_makes_room_between_two_requests_and_never_within_one() -> None:
    with running(fake(extra='standby = "none"\nrecycle_jobs = 3')) as daemon:
        first = speak(daemon, SENTENCES)
        assert [run["epoch"] for run in first.end["attempts"]] == [1]
        eventually(lambda: provider(daemon)["epoch"] == 2 and provider(daemon)["state"] == "ready", "a fresh one")
        assert provider(daemon)["restarts"] == 0
        second = speak(daemon, SENTENCES)
        assert [run["epoch"] for run in second.end["attempts"]] == [2]


def test_a_failing_spare_does_not_take_the_provider_that_speaks_with_it(tmp_path: Path) -> None:
    """The spare cannot be loaded (a file is gone, say): the one that works goes on working."""
    with running(fake(extra='standby = "warm"\nrestart_budget = 2\nrestart_base_s = 0.01')) as daemon:
        spare = warm(daemon)
        (lead,) = pids(daemon) - {spare}
        psutil.Process(spare).kill()
        assert speak(daemon, SENTENCES).end["kind"] == "Done"
        assert lead in pids(daemon)
