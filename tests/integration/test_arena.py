"""Sound in shared memory, from engine to listener: every sample is the right one, whoever is slow, stopped, killed or poor."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from tests.chaos.belongings import Belongings, belongings, too_much
from tests.chaos.cell import control
from tests.integration import noise_reader
from tests.integration.daemon import Daemon, eventually, running
from tests.integration.noise_reader import SENTENCE, whole
from tests.integration.wire_client import WireClient
from tests.providers import noisy
from voicebox_client import AsyncVoicebox, Voicebox
from voicebox_client.speech import Speech
from voicebox_protocol import places
from voicebox_protocol.arena import SLOT_BYTES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sealed memory without a name is Linux's")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0
# A little more than an arena holds, so that its slots have come round.
ROUND = 40
# Few enough for one window, and for one arena.
FEW = 4
# So many that a reader who is quicker than the engine comes to wait for it.
LONG = 4 * ROUND


def table(name: str, **keys: Any) -> str:
    engine = f'engine = "{noisy.__file__}:Noisy"\nstandby = "none"\nrestart_base_s = 0.05\n'
    return f"[provider.{name}]\n{engine}" + "".join(f"{key} = {value}\n" for key, value in keys.items())


CONFIG = "[provider.builtin]\nenabled = false\n" + table("noisy")


@pytest.fixture(scope="module")
def noisy_one() -> Iterator[Daemon]:
    with running(CONFIG) as daemon:
        with WireClient(daemon.place) as client:
            assert client.speak(SENTENCE).end["kind"] == "Done"
        yield daemon


@pytest.fixture
def place(noisy_one: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The same daemon, which is where this process's clients go."""
    go_to(noisy_one, monkeypatch)
    return noisy_one


def go_to(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (places.RUNTIME_DIR, places.DATA_DIR, places.CONFIG):
        monkeypatch.setenv(name, daemon.place.environment[name])
    monkeypatch.setenv("VOICEBOX_AUTOSTART", "0")


def used(daemon: Daemon) -> int:
    bytes_used: int = daemon.status()["daemon"]["arena_used_bytes"]
    return bytes_used


def all_is_given_back(daemon: Daemon) -> None:
    eventually(lambda: used(daemon) == 0, "all that was lent is given back", within=PATIENCE)


def right(speech: Speech, seed: int, segments: int) -> int:
    """Read it; every sample is what it should be. Gives how many pieces came in shared memory."""
    expected, shared = whole(seed, segments), 0
    for chunk in speech:
        assert chunk.verify()
        assert np.array_equal(chunk.as_array(), expected[chunk.start : chunk.end])
        shared += chunk.shared
    assert speech.result is not None
    assert speech.result.frames == len(expected)
    return shared


# --- one reader


def test_slots_come_round_and_every_sample_is_right(place: Daemon) -> None:
    with Voicebox() as box:
        # What comes before it has mapped anything comes in the messages.
        box.say(SENTENCE, seed=1).collect()
        shared = right(box.say(SENTENCE * ROUND, seed=5), 5, ROUND)
        assert shared > 8_000_000 // SLOT_BYTES, "more pieces than there are slots, in slots"
        all_is_given_back(place)


def test_a_client_that_knows_no_arenas_is_sent_the_sound(place: Daemon) -> None:
    with WireClient(place.place) as client:
        for seed in (5, 6):
            ending = client.speak(SENTENCE * FEW, seed=seed)
            assert np.array_equal(np.frombuffer(ending.samples, "<f4"), whole(seed, FEW))
    assert used(place) == 0


def test_a_list_of_chunks_is_a_list_of_what_was_lent_once(place: Daemon) -> None:
    """Rather an error than the next sentence."""
    with Voicebox() as box:
        box.say(SENTENCE, seed=1).collect()
        chunks = list(box.say(SENTENCE, seed=2))
        assert any(chunk.shared for chunk in chunks)
        for chunk in chunks:
            with pytest.raises(ValueError, match="released"):
                chunk.as_array()


def test_what_is_kept_beyond_its_chunk_is_warned_of_once_and_stays_what_it_is(place: Daemon) -> None:
    with Voicebox() as box:
        box.say(SENTENCE, seed=1).collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept = [chunk.as_array() for chunk in box.say(SENTENCE * FEW, seed=2)]
        assert [(each.category, each.filename) for each in caught] == [(RuntimeWarning, __file__)]
        assert right(box.say(SENTENCE * ROUND, seed=3), 3, ROUND) > 0
        assert np.array_equal(np.concatenate(kept), whole(2, FEW))
        all_is_given_back(place)


def test_slots_that_show_what_is_kept_are_given_back_as_well(place: Daemon) -> None:
    """A piece that came where an older one is kept is copied, and nobody gave credit for it: in the end no slot was left."""
    with Voicebox() as box, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        box.say(SENTENCE, seed=1).collect()
        kept = [chunk.as_array() for chunk in box.say(SENTENCE * ROUND, seed=2)]
        for seed in range(3, 7):
            kept_too = [chunk.as_array() for chunk in box.say(SENTENCE, seed=seed)]
            assert np.array_equal(np.concatenate(kept_too), whole(seed, 1))
            del kept_too
            all_is_given_back(place)
        assert np.array_equal(np.concatenate(kept), whole(2, ROUND))


def test_what_is_dropped_unread_is_given_back(place: Daemon) -> None:
    """Whether it is still being spoken, or ended long ago."""
    with Voicebox() as box:
        box.say(SENTENCE, seed=1).collect()
        half_way = box.say(SENTENCE * LONG, seed=2)
        for _ in range(12):
            next(half_way)
        last = next(half_way)
        ended = box.say(SENTENCE, seed=3)
        while not ended.ended:
            box.status()
            next(half_way)
        assert used(place) > 0
        last = next(half_way)
        data, expected = last.data, whole(2, LONG)[last.start : last.end].tobytes()
        del half_way, ended
        gc.collect()
        box.status()
        all_is_given_back(place)
        assert right(box.say(SENTENCE * ROUND, seed=4), 4, ROUND) > 0
        assert data == expected, "the one that was being read is its reader's"


def test_a_speech_that_has_ended_gives_back_what_was_not_read_when_it_is_closed(place: Daemon) -> None:
    with Voicebox() as box:
        box.say(SENTENCE, seed=1).collect()
        with box.say(SENTENCE, seed=2) as speech:
            first = next(speech)
            while not speech.ended:
                box.status()
        all_is_given_back(place)
        assert speech.result is not None
        assert bytes(first.data) == whole(2, 1)[: first.frames].tobytes()


def test_speeches_read_in_the_opposite_order_are_all_right(place: Daemon) -> None:
    """What lies here unread is given back for the others, and must stay what it was."""
    with Voicebox() as box:
        box.say(SENTENCE, seed=1).collect()
        speeches = [(box.say(SENTENCE * 10, seed=seed), seed) for seed in range(10, 16)]
        assert sum(right(speech, seed, 10) for speech, seed in reversed(speeches)) > 0
        all_is_given_back(place)


def test_what_was_read_outlives_the_voicebox(place: Daemon) -> None:
    with Voicebox() as box:
        box.say(SENTENCE, seed=1).collect()
        speech = box.say(SENTENCE * 2, seed=2)
        kept = next(speech).as_array()
        while not speech.ended:
            box.status()
    all_is_given_back(place)
    with Voicebox() as other:
        assert right(other.say(SENTENCE * ROUND, seed=3), 3, ROUND) > 0
    assert np.array_equal(kept, whole(2, 1)[: len(kept)])
    with pytest.warns(RuntimeWarning, match="kept"):
        heard = np.concatenate([chunk.as_array().copy() for chunk in speech])
    assert np.array_equal(np.concatenate([kept, heard]), whole(2, 2)), "and what lay here unread can still be read"


# --- in an event loop


def test_the_same_in_an_event_loop(place: Daemon) -> None:
    async def main() -> None:
        async with AsyncVoicebox() as box:
            await (await box.say(SENTENCE, seed=1)).collect()
            speeches = [(await box.say(SENTENCE * 10, seed=seed), seed) for seed in range(10, 14)]
            shared = 0
            for speech, seed in reversed(speeches):
                expected = whole(seed, 10)
                async for chunk in speech:
                    assert chunk.verify()
                    assert np.array_equal(chunk.as_array(), expected[chunk.start : chunk.end])
                    shared += chunk.shared
            assert shared > 0
            dropped = await box.say(SENTENCE * ROUND, seed=3)
            last = await anext(dropped)
            await dropped.aclose()
            assert bytes(last.data) == whole(3, 1)[: last.frames].tobytes()
            await anyio.to_thread.run_sync(all_is_given_back, place)

    anyio.run(main)


def test_two_tasks_that_share_a_speech_do_not_spoil_each_others_chunks(place: Daemon) -> None:
    """The second one's first chunk took the place of the first one's, which was given back while it was being read."""

    async def main() -> None:
        async with AsyncVoicebox() as box:
            await (await box.say(SENTENCE, seed=1)).collect()
            speech = await box.say(SENTENCE * ROUND, seed=2)
            chunks: list[Any] = []

            async def one() -> None:
                chunks.append(await anext(speech))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(one)
            views = [(chunk.data, chunk.start) for chunk in chunks[:-1]]
            async for _ in speech:
                pass
            expected = whole(2, ROUND)
            for data, start in views:
                with contextlib.suppress(ValueError):  # it was released, which is as good
                    assert np.array_equal(np.frombuffer(data, "<f4"), expected[start : start + len(data) // 4])

    anyio.run(main)


# --- many readers


class Reader:
    """A `noise_reader` in a process of its own."""

    def __init__(self, daemon: Daemon, seed: int, how: str, segments: int = ROUND) -> None:
        command = [sys.executable, "-m", noise_reader.__name__, str(seed), str(segments), how]
        self.process = daemon.place.popen(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        self.began = self.process.stdout.readline() == "began\n"

    def said(self) -> str:
        out, err = self.process.communicate(timeout=60)
        return out + err

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def at_rest(daemon: Daemon) -> Belongings:
    """What the daemon has when nobody asks anything and nobody can speak."""
    eventually(lambda: daemon.status()["daemon"]["connections"] == 0, "the clients have left")
    control(daemon, "noisy", "stop")
    eventually(lambda: not daemon.place.providers(), "the providers have left")
    return belongings(daemon.pid)


def test_whoever_is_slow_or_dies_nobody_hears_a_wrong_sample() -> None:
    """Readers that are fast, slow, stopped and killed, and keep what they read; and providers that are killed meanwhile."""
    with running(CONFIG.replace("standby", "workers = 2\nstandby")) as daemon, contextlib.ExitStack() as stack:
        with WireClient(daemon.place) as client:
            assert client.speak(SENTENCE * 3).end["kind"] == "Done"
        before = at_rest(daemon)
        fast = stack.enter_context(Reader(daemon, 100, "fast", 2 * ROUND))
        slow, keeps = (stack.enter_context(Reader(daemon, seed, how)) for seed, how in ((1, "slow"), (2, "keep")))
        stopped, killed = (stack.enter_context(Reader(daemon, seed, "slow")) for seed in (8, 9))
        assert all(reader.began for reader in (fast, slow, keeps, stopped, killed)), fast.said()
        stopped.process.send_signal(signal.SIGSTOP)
        killed.process.kill()
        for _ in range(2):
            time.sleep(0.1)
            for each in daemon.place.providers()[:1]:
                each.kill()
        assert [reader.said()[:6] for reader in (fast, slow, keeps)] == 3 * ["right "]
        stopped.process.send_signal(signal.SIGCONT)
        assert stopped.said().startswith("right "), "it had the sound of a provider that is long dead"
        all_is_given_back(daemon)
        for worker in daemon.place.providers():
            assert belongings(worker.pid).descriptors["/memfd:voicebox-arena (deleted)"] <= 1
        eventually(lambda: not too_much(before, at_rest(daemon)), "the daemon has kept nothing", within=PATIENCE)
        assert daemon.status()["daemon"]["arena_bytes"] == 0


@pytest.mark.parametrize("how", ["scarce", "last", "narrow"])
def test_a_client_that_can_map_nothing_hears_all_the_same(place: Daemon, how: str) -> None:
    with Reader(place, 3, how, 6) as reader:
        said = reader.said()
    assert said == "right 0\n", said
    all_is_given_back(place)


# --- sessions


class MappingClient(WireClient):
    """A stranger that knows of arenas, by docs/protocol.md."""

    def hello(self, **changed: Any) -> dict[str, Any]:
        return super().hello(features=["arena"], **changed)

    def map(self) -> tuple[int, int]:
        """Take the arena that is offered: its number, and its descriptor."""
        assert self.door is not None
        said, descriptors, _, _ = socket.recv_fds(self.door, 64, 1)
        word, number, slots = said.split()
        assert (word, int(slots) > 0) == (b"ARENA", True)
        self.send("Mapped", boot=self.boot, arena=int(number))
        return int(number), descriptors[0]

    def until_lent(self) -> dict[str, Any]:
        """The first chunk that lies in an arena; what came before it is given back."""
        while True:
            message, payload = self.receive()
            if message["kind"] != "Chunk":
                continue
            if message["descriptors"][0][0]:
                assert payload == b""
                return message
            last = message["seq"] + len(message["descriptors"]) - 1
            self.send("Credit", boot=self.boot, req=message["req"], first=message["seq"], last=last)


@contextlib.contextmanager
def borrower(daemon: Daemon) -> Iterator[tuple[MappingClient, str]]:
    """A client that has been lent sound, and its request."""
    with MappingClient(daemon.place) as client:
        req = client.say(SENTENCE * FEW, seed=4)
        os.close(client.map()[1])
        client.until_lent()
        yield client, req


def test_a_session_that_dies_gives_back_what_it_had(place: Daemon) -> None:
    with borrower(place):
        eventually(lambda: used(place) > 0, "it has something")
    all_is_given_back(place)


def test_what_a_living_client_was_lent_is_its_own_until_it_lets_go_of_the_door(place: Daemon) -> None:
    """A session that the daemon closes may be that of a process that only stands still, and reads on what it was lent:
    it heard the next sentence of somebody else."""
    with borrower(place) as (client, _):
        client.send("Bye", boot=client.boot)
        eventually(lambda: place.status()["requests"]["active"] == 0, "its request is over")
        with WireClient(place.place) as other:
            assert other.speak(SENTENCE).end["kind"] == "Done"
        assert used(place) > 0
    all_is_given_back(place)


def test_a_session_that_is_never_told_of_gets_no_arena_twice(place: Daemon) -> None:
    with borrower(place) as (client, _):
        assert client.door is not None
        client.say(SENTENCE, seed=5)
        client.door.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.door.recv(64)
    all_is_given_back(place)


def test_an_arena_is_gone_when_its_provider_is_and_nobody_has_anything_of_it() -> None:
    with running(CONFIG) as daemon, borrower(daemon) as (client, req):
        assert client.door is not None
        client.door.settimeout(PATIENCE)
        while client.receive()[0]["kind"] != "Done":
            pass
        for each in daemon.place.providers():
            each.kill()
        eventually(lambda: not daemon.place.providers(), "it is dead")
        assert used(daemon) > 0
        client.say(SENTENCE, seed=6)
        number, descriptor = client.map()
        os.close(descriptor)
        assert number == 2, "the next incarnation's"
        client.send("Credit", boot=client.boot, req=req, first=0, last=1000)
        assert client.door.recv(64) == b"GONE 1\n"
        assert daemon.status()["daemon"]["arena_bytes"] < 8_100_000


# --- where there is none


def shared_of(speech: Speech) -> tuple[bool, bytes]:
    """Whether any of it came in shared memory, and what it was."""
    heard, shared = b"", False
    for chunk in speech:
        assert chunk.verify()
        heard, shared = heard + chunk.data, shared or chunk.shared
    return shared, heard


@pytest.mark.parametrize(
    ("limits", "arenas"), [("arena_mb = 0", 0), ("arena_mb = 8\naudio_memory_mb = 10", 1), ("arena_mb = 0.01", 0)]
)
def test_what_finds_no_room_travels_in_the_messages(limits: str, arenas: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two providers, and memory for both of them, for one, or for none."""
    with running(CONFIG + table("second") + f"[daemon]\n{limits}\n") as daemon:
        go_to(daemon, monkeypatch)
        shared = []
        with Voicebox() as box:
            for provider in ("noisy", "second"):
                box.say(SENTENCE, provider=provider).collect()
                one, heard = shared_of(box.say(SENTENCE * FEW, seed=7, provider=provider))
                assert heard == whole(7, FEW).tobytes()
                shared.append(one)
            assert shared == [number < arenas for number in range(2)]
            status = daemon.status()["daemon"]
        assert status["arena_bytes"] == arenas * (8_000_000 // SLOT_BYTES) * SLOT_BYTES


def test_a_provider_that_gets_no_memory_says_so_and_speaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sample that is written where there is no memory ends the process; a limit is to be met before that."""
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, os, sys\n"
        "def refuse(*_): raise OSError(errno.ENOSPC, 'no space left')\n"
        "if 'voicebox_provider' in sys.orig_argv: os.posix_fallocate = refuse\n"
    )
    with running(CONFIG, PYTHONPATH=str(tmp_path)) as daemon:
        go_to(daemon, monkeypatch)
        with Voicebox() as box:
            for _ in range(2):
                shared, heard = shared_of(box.say(SENTENCE * FEW, seed=7))
                assert (shared, heard) == (False, whole(7, FEW).tobytes())
        said = (daemon.place.log / "provider-noisy.log").read_text()
        assert "sound travels in the messages, for there is no shared memory: [Errno 28]" in said
        status = daemon.status()
        assert (status["daemon"]["arena_bytes"], status["providers"][-1]["restarts"]) == (0, 0)


def test_what_is_spoken_before_its_turn_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is copied and held, and its slots are given back at once."""
    with running(CONFIG.replace("standby", "workers = 3\nstandby") + "settings = { ms = 5 }\n") as daemon:
        go_to(daemon, monkeypatch)
        with Voicebox() as box:
            for seed in (1, 2):
                assert right(box.say(SENTENCE * 12, seed=seed), seed, 12) >= 0
        assert len(daemon.place.providers()) > 1
        all_is_given_back(daemon)


# --- and what is around it


def test_nothing_that_a_client_starts_inherits_the_memory(place: Daemon) -> None:
    """A descriptor that came through a socket is inherited, unless one asks for another kind."""
    with Voicebox() as box:
        for seed in (1, 2):
            box.say(SENTENCE, seed=seed).collect()
        ours = [name for name in os.listdir("/proc/self/fd") if "voicebox-arena" in target(name)]
        assert ours
        assert not any(os.get_inheritable(int(name)) for name in ours)
    gc.collect()
    assert not [name for name in os.listdir("/proc/self/fd") if "voicebox-arena" in target(name)]
    assert "voicebox-arena" not in Path("/proc/self/maps").read_text()


def target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


def test_what_is_kept_outlives_the_daemon_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next daemon's arena has the same number as the last one's."""
    with running(CONFIG) as daemon:
        go_to(daemon, monkeypatch)
        with Voicebox() as box, warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            box.say(SENTENCE, seed=1).collect()
            speech = box.say(SENTENCE * ROUND, seed=2, resume=True)
            kept = [next(speech).as_array() for _ in range(30)]
            daemon.process.kill()
            daemon.process.wait()
            with contextlib.closing(Successor(daemon)):
                kept += [chunk.as_array() for chunk in speech]
                assert np.array_equal(np.concatenate(kept), whole(2, ROUND))
                assert speech.result is not None
                assert speech.result.resumed == "exact"


class Successor(Daemon):
    """The next daemon in the same place."""

    def __init__(self, former: Daemon) -> None:
        super().__init__(former.place)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
