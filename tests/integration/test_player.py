"""The loudspeaker's process over the real wire: what it plays, to the last sample, and what it tells of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.integration.player_stand import BLOCK, BOOT, RATE, TOKEN, Samples, Stand, noise, patiently, sounding, stand


@pytest.fixture
def player() -> Iterator[Stand]:
    with stand() as made:
        made.start()
        yield made


def test_it_introduces_itself_with_the_secret_of_its_start_line() -> None:
    with stand() as made:
        hello = made.start()
        assert (hello["player"], hello["features"]) == (TOKEN, ["player"])
        assert hello["agent"].startswith("voicebox_player/")
        assert made.process is not None
        assert hello["pid"] == made.process.pid


def test_a_request_is_heard_to_the_last_sample_and_the_recording_is_whole_all_along(player: Stand) -> None:
    sound = noise(1.0)
    player.say("r", sound)
    player.until(lambda message: message["kind"] == "Played" and message["frames"] > RATE // 3)
    halfway = player.recorded()
    assert player.last("r")["frames"] == len(sound)
    assert len(sounding(halfway)) > RATE // 3
    assert np.array_equal(sounding(halfway), sound[: len(sounding(halfway))])
    assert np.array_equal(sounding(player.recorded()), sound)
    assert player.credited("r") == list(range(10))
    told = [message["frames"] for message in player.of("Played", "r")]
    assert told == sorted(told)
    # At the first sound, ten times a second, and at the end.
    assert told[0] <= RATE // 10
    assert len(told) <= 12
    assert next(m for m in player.heard if m["kind"] == "Device")["name"].startswith("wav:")


def test_another_rate_is_put_into_the_recording_s(player: Stand) -> None:
    tone = (np.sin(np.arange(12_000) * 0.1) / 2).astype(np.float32)
    player.say("r", tone, 24_000, 2400)
    assert player.last("r")["frames"] == 12_000
    assert player.credited("r") == [0, 1, 2, 3, 4]
    heard = sounding(player.recorded())
    assert np.allclose(heard[1000:23_000], (np.sin(np.arange(24_000) * 0.05) / 2)[1001:23_001], atol=0.03)


def test_pauses_change_no_sample_wherever_they_fall(player: Stand) -> None:
    sound = noise(2.0)
    player.say("r", sound)
    player.until(lambda message: message["kind"] == "Played")
    for number in range(20):
        time.sleep(random.uniform(0.0, 0.07))
        player.speaker(paused=True)
        stood = _settled(player, number)
        time.sleep(random.uniform(0.0, 0.03))
        assert _frames(player) == stood
        player.speaker(paused=False)
    assert player.last("r")["frames"] == len(sound)
    assert np.array_equal(sounding(player.recorded()), sound)


def test_a_request_that_is_hushed_is_heard_no_longer(player: Stand) -> None:
    """What was heard after Hush was sent is no more than what the time until the answer explains."""
    for number in range(10):
        req = f"r{number}"
        sound = noise(2.0, seed=number)
        before = len(sounding(player.recorded())) if number else 0
        player.say(req, sound)
        player.until(lambda message: message["kind"] == "Played" and message["frames"] > 100 * random.randrange(60))
        position, asked = player.page.read(), time.monotonic()
        player.hush(req)
        last = player.last(req)
        waited = time.monotonic() - asked
        assert position is not None
        assert last["frames"] - position.frames <= (waited * RATE // BLOCK + 4) * BLOCK
        assert np.array_equal(sounding(player.recorded())[before:], sound[: last["frames"]])
        assert player.credited(req) == list(range(20))


def test_one_that_was_killed_goes_on_with_nothing_missing_and_nothing_twice() -> None:
    pieces = [noise(0.1, seed=seed) for seed in range(60)]
    sound = np.concatenate(pieces)
    with stand() as made:
        for _ in range(20):
            made.start()
            _take_up(made, pieces)
            made.until(lambda message: message["kind"] == "Played")
            time.sleep(random.uniform(0.0, 0.1))
            position = made.kill()
            assert position is not None
            assert np.array_equal(sounding(made.recorded())[: position.frames], sound[: position.frames])
        made.start()
        # Enough of it: the rest would only take its time.
        rest = pieces[: _frames(made) // len(pieces[0]) + 3]
        _take_up(made, rest)
        frames = sum(len(piece) for piece in rest)
        assert made.last("r")["frames"] == frames
        assert np.array_equal(sounding(made.recorded()), sound[:frames])


def test_a_recording_goes_on_after_an_orderly_end_and_tells_the_silence(player: Stand) -> None:
    first, second = noise(0.2, seed=1), noise(0.2, seed=2)
    player.say("a", first)
    player.last("a")
    assert player.process is not None
    ended = time.monotonic()
    player.process.stdin.close()
    assert player.ended() == 0
    player.start()
    player.say("b", second)
    rest = time.monotonic() - ended
    player.last("b")
    recorded = player.recorded()
    assert np.array_equal(sounding(recorded), np.concatenate([first, second]))
    (second_begins,) = np.flatnonzero(recorded == second[0])
    assert (second_begins - len(first)) / RATE == pytest.approx(rest, abs=60)
    assert (second_begins - len(first)) / RATE >= rest - 0.1


def test_a_recording_of_a_daemon_before_this_one_is_begun_anew() -> None:
    with stand() as made:
        made.recording.write_bytes(b"RIFF something older" * 100_000)
        made.start()
        sound = noise(0.1)
        made.say("r", sound)
        made.last("r")
        assert np.array_equal(sounding(made.recorded()), sound)


def test_volume_and_mute_act_on_what_is_heard_alone() -> None:
    with stand() as made:
        made.start(volume=0.5)
        sound = noise(0.2)
        made.say("r", sound)
        made.last("r")
        assert np.array_equal(sounding(made.recorded()), sound * np.float32(0.5))
        made.speaker(muted=True)
        made.say("s", sound)
        assert made.last("s")["frames"] == len(sound)
        assert np.array_equal(sounding(made.recorded()), sound * np.float32(0.5))


def test_a_segment_that_begins_again_replaces_what_was_not_heard(player: Stand) -> None:
    stands, dropped, instead = noise(0.2, seed=1), noise(5.0, seed=2), noise(0.2, seed=3)
    player.play("r")
    seq = player.chunk("r", 0, stands, *np.array_split(dropped, 10))
    player.until(lambda message: message["kind"] == "Played")
    player.speaker(paused=True)
    heard = _settled(player, 1)
    player.reset("r", len(stands))
    player.chunk("r", seq, instead)
    player.finish("r", len(stands) + len(instead))
    player.speaker(paused=False)
    assert player.last("r")["frames"] == len(stands) + len(instead)
    whole = np.concatenate([stands, dropped])[: max(heard, len(stands))]
    assert np.array_equal(sounding(player.recorded()), np.concatenate([whole, instead]))
    assert sorted(player.credited("r")) == list(range(12))


def test_requests_are_heard_in_turn_with_the_rest_between_them(player: Stand) -> None:
    first, second = noise(0.15, seed=1), noise(0.15, seed=2)
    player.say("a", first)
    player.last("a")
    ended = time.monotonic()
    time.sleep(0.3)
    rest = time.monotonic() - ended
    player.say("b", second)
    player.last("b")
    recorded = player.recorded()
    assert np.array_equal(sounding(recorded), np.concatenate([first, second]))
    (second_begins,) = np.flatnonzero(recorded == second[0])
    assert (second_begins - len(first)) / RATE >= rest - 0.1


def test_sound_that_comes_late_is_an_underrun_and_a_rest_in_the_recording(player: Stand) -> None:
    sound = noise(0.2)
    player.play("r")
    player.chunk("r", 0, sound[:4800])
    patiently(lambda: _frames(player) == 4800, "the first piece is heard")
    # The block after the last one finds nothing.
    time.sleep(0.05)
    player.chunk("r", 1, sound[4800:])
    player.finish("r", len(sound))
    last = player.last("r")
    assert (last["frames"], last["underruns"] >= 1) == (len(sound), True)
    assert np.array_equal(sounding(player.recorded()), sound)


def test_sound_for_nobody_is_credited_and_not_heard(player: Stand) -> None:
    player.chunk("nobody", 7, noise(0.1), noise(0.1))
    player.until(lambda message: message["kind"] == "Credit" and message["last"] == 8)
    player.finish("nobody", 1)
    player.hush("nobody")
    player.say("r", noise(0.1))
    player.last("r")
    assert player.of("Played", "nobody") == []
    assert np.array_equal(sounding(player.recorded()), noise(0.1))


def test_null_takes_as_long_and_keeps_nothing() -> None:
    with stand("null") as made:
        made.start()
        sound = noise(0.4)
        begun = time.monotonic()
        made.say("r", sound)
        assert made.last("r")["frames"] == len(sound)
        assert time.monotonic() - begun >= 0.38
        assert not made.recording.exists()
        made.send("Devices", query=3)
        assert made.receive()["devices"] == [{"name": "null", "default": True, "backend": "null"}]


def test_a_recording_that_cannot_be_written_is_said_and_tried_again(tmp_path: Path) -> None:
    target = tmp_path / "not yet" / "heard.wav"
    with stand(f"wav:{target}") as made:
        made.start()
        sound = noise(0.1)
        made.say("r", sound)
        device = made.until(lambda message: message["kind"] == "Device")
        assert device.get("name") is None
        assert f"cannot write {target}" in device["message"]
        target.parent.mkdir()
        made.last("r")
        assert target.stat().st_size > 4 * len(sound)


@pytest.mark.skipif(not Path("/proc").exists(), reason="counts in /proc")
def test_nothing_wakes_it_while_nothing_is_to_be_played(player: Stand) -> None:
    player.say("r", noise(0.1))
    player.last("r")
    player.play("s")
    player.chunk("s", 0, noise(0.5))
    player.speaker(paused=True)
    _settled(player, 1)
    before = _switches(player)
    time.sleep(0.5)
    assert _switches(player) - before <= 3


@pytest.mark.parametrize("tie", ["door", "lifeline"])
def test_it_ends_with_its_daemon(player: Stand, tie: str) -> None:
    player.say("r", noise(1.0))
    player.until(lambda message: message["kind"] == "Played")
    assert player.process is not None
    (player.door if tie == "door" else player.process.stdin).close()
    assert player.ended() == 0
    heard = sounding(player.recorded())
    assert np.array_equal(heard, noise(1.0)[: len(heard)])


def test_what_the_daemon_cannot_have_meant_ends_it_with_a_word(player: Stand) -> None:
    player.play("r")
    player.send("Chunk", b"", boot=BOOT, req="r", attempt=0, segment=0, seq=0, descriptors=[[0, 0, 99, 0]])
    assert player.ended() == 1
    assert "a piece of 99 frames at byte 0 of 0" in player.log.read_text()


def test_kinds_that_it_does_not_know_and_another_boot_s_are_passed_over(player: Stand) -> None:
    player.send("Sing", boot=BOOT)
    player.send("Play", boot="another", req="r", sample_rate=RATE, frame=0, at=0)
    player.say("r", noise(0.1))
    assert player.last("r")["frames"] == RATE // 10


def _frames(player: Stand) -> int:
    position = player.page.read()
    return 0 if position is None else position.frames


def _settled(player: Stand, number: int) -> int:
    """How many frames were heard once all that was sent has been done."""
    player.send("Devices", query=number)
    player.until(lambda message: message["kind"] == "DevicesReply" and message["query"] == number)
    return _frames(player)


def _take_up(made: Stand, pieces: list[Samples]) -> None:
    """What a daemon sends to a player that is to go on: the pieces that were not credited, from the page's position on."""
    first = max(made.credited("r"), default=-1) + 1
    made.play("r", frame=_frames(made), at=sum(len(piece) for piece in pieces[:first]))
    if first < len(pieces):
        made.chunk("r", first, *pieces[first:])
    made.finish("r", sum(len(piece) for piece in pieces))


def _switches(player: Stand) -> int:
    assert player.process is not None
    tasks = Path(f"/proc/{psutil.Process(player.process.pid).pid}/task")
    lines = [line for task in tasks.iterdir() for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
