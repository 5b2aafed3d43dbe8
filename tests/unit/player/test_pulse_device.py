"""The device at a sound server that holds sound and gives it back: a server in virtual time, which records what was heard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.player.simulated_pulse import NOTHING, TICK, Clock, Room, Server
from voicebox_player import pulse_device, speaker
from voicebox_player.device import CLOSE_S, LOST_S, STOP_S
from voicebox_player.playback import Credit, Played
from voicebox_player.pulse_device import PulseDevice
from voicebox_player.speaker import RATE, Opened
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice
from voicebox_protocol.position import PositionPage


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    clock = Clock()
    monkeypatch.setattr(speaker.time, "monotonic", clock.monotonic)
    page = PositionPage(str(tmp_path / "page"))
    yield Room(page, clock)
    page.close()


def ramp(frames: int, begin: int = 1) -> Samples:
    return np.arange(begin, begin + frames, dtype=np.float32)


def ticks(count: int) -> Iterator[None]:
    yield from [None] * count


def test_a_request_is_heard_to_its_last_sample_and_only_then_over(room: Room) -> None:
    sound = ramp(RATE)
    room.begin("r", sound)
    room.finish(RATE)
    over_at: list[int] = []

    def script() -> Iterator[None]:
        while True:
            if room.ends() and not over_at:
                over_at.append(len(room.server.heard))
            yield

    room.play(script())
    assert np.array_equal(room.sound(), sound)
    assert [end.frames for end in room.ends()] == [RATE]
    assert RATE <= over_at[0] <= RATE + 5 * TICK
    assert [told for told in room.told if isinstance(told, Opened)] == [Opened("Loudspeaker")]
    assert room.ends()[0].underruns == 0
    assert room.server.corked


def test_what_is_told_as_heard_is_what_was_heard(room: Room) -> None:
    room.begin("r", ramp(2 * RATE))
    seen = []

    def script() -> Iterator[None]:
        for _ in range(40):
            yield
            heard = room.speaker.playback.position
            seen.append((heard[1] if heard else 0, len(room.server.heard)))
        room.over = True

    room.play(script())
    assert all(0 <= there - told <= 2 * TICK for told, there in seen), seen
    assert seen[-1][0] > RATE // 2
    # What the server held was taken back.
    assert room.playback.read(10)[0] == len(room.server.heard) + 1


def test_a_hush_is_silent_at_once_and_says_what_was_heard(room: Room) -> None:
    room.begin("r", ramp(2 * RATE))

    def script() -> Iterator[None]:
        yield from ticks(20)
        with room.speaker.changed:
            room.playback.hush("r")
            room.speaker.stir()
        yield
        room.begin("s", -ramp(RATE))
        room.finish(RATE, "s")
        yield

    room.play(script())
    heard = room.sound()
    first = heard[heard > 0]
    assert np.array_equal(first, ramp(len(first)))
    assert 0 <= len(first) - room.ends()[0].frames <= 2 * TICK
    assert np.array_equal(heard[heard < 0], -ramp(RATE))
    assert room.ends("s")[0] == Played("s", RATE, 0, last=True)


@pytest.mark.parametrize("seconds", [0.5, 2 * CLOSE_S])
def test_a_pause_loses_no_sample_however_long_it_is(room: Room, seconds: float) -> None:
    sound = ramp(2 * RATE)
    room.begin("r", sound)
    room.finish(len(sound))

    def script() -> Iterator[None]:
        yield from ticks(25)
        room.change(paused=True)
        yield
        before, end = len(room.sound()), room.clock.now + seconds
        while room.clock.now < end:
            assert len(room.sound()) == before
            yield
        room.change(paused=False)

    going = script()
    room.play(going)
    if seconds > CLOSE_S:
        # The device was closed meanwhile, and the keeper opens another.
        assert 0 < len(room.sound()) < len(sound)
        heard = room.server.heard
        room.change(paused=False)
        room.server = Server(room.clock)
        room.device = PulseDevice(room.server, room.clock.monotonic)
        room.play()
        room.server.heard = np.concatenate([heard, room.server.heard])
    assert np.array_equal(room.sound(), sound)
    assert room.ends() == [Played("r", len(sound), 0, last=True)]


def test_the_volume_acts_within_20_ms_and_neither_repeats_nor_skips_a_sample(room: Room) -> None:
    sound = ramp(2 * RATE)
    room.begin("r", sound)
    room.finish(len(sound))
    at: list[int] = []

    def script() -> Iterator[None]:
        yield from ticks(10)
        at.append(len(room.server.heard))
        room.change(volume=0.5)
        yield from ticks(10)
        at.append(len(room.server.heard))
        room.change(muted=True)
        yield from ticks(10)
        at.append(len(room.server.heard))
        room.change(muted=False, volume=1.0)
        yield

    room.play(script())
    heard = room.server.heard[: len(sound)]
    share = heard / sound
    edges = np.flatnonzero(np.diff(share)) + 1
    assert [round(float(share[edge]), 3) for edge in edges] == [0.5, 0, 1]
    assert all(0 <= edge - asked <= RATE * 20 // 1000 + TICK for edge, asked in zip(edges, at, strict=True))
    assert len(room.ends()) == 1
    assert room.server.rewritten == 3


def test_sound_that_comes_too_late_is_an_underrun_and_loses_nothing(room: Room) -> None:
    room.begin("r", ramp(RATE // 2))

    def script() -> Iterator[None]:
        yield from ticks(32)
        room.append(ramp(RATE // 2, RATE // 2 + 1))
        room.finish(RATE)
        yield

    room.play(script())
    assert np.array_equal(room.sound(), ramp(RATE))
    assert room.ends() == [Played("r", RATE, 1, last=True)]


def test_a_server_that_ran_dry_before_the_sound_came_is_no_underrun(room: Room) -> None:
    room.begin("r", ramp(RATE // 2))

    def script() -> Iterator[None]:
        while len(room.sound()) < RATE // 2:
            yield
        room.begin("s", ramp(RATE))
        room.finish(RATE, "s")
        yield

    room.play(script())
    assert room.ends("s") == [Played("s", RATE, 0, last=True)]


@pytest.mark.parametrize("late", range(6))
def test_sound_that_comes_as_the_server_runs_dry_is_not_heard_before_its_time(room: Room, late: int) -> None:
    """What the server says of its end is about what it had by then."""
    room.begin("r", ramp(RATE // 2))
    told: list[int] = []

    def script() -> Iterator[None]:
        while len(room.sound()) < RATE // 2:
            yield
        yield from ticks(late)
        room.append(ramp(RATE // 2, RATE // 2 + 1))
        room.finish(RATE)
        while not room.ends():
            yield
        told.append(len(room.sound()))

    room.play(script())
    assert told == [RATE]
    assert np.array_equal(room.sound(), ramp(RATE))


@pytest.mark.parametrize("whole", [False, True])
def test_a_device_that_waits_for_more_sound_is_silent_and_closed_after_a_while(room: Room, *, whole: bool) -> None:
    sound = ramp(RATE // 2 + 100)
    room.server = Server(room.clock, whole=whole)
    room.device = PulseDevice(room.server, room.clock.monotonic)
    room.begin("r", sound)
    began = room.clock.now
    room.play()
    assert room.server.corked
    assert room.clock.now - began < 0.5 + CLOSE_S + 0.6
    heard, room.server = room.server.heard, Server(room.clock, whole=whole)
    room.device = PulseDevice(room.server, room.clock.monotonic)
    room.finish(len(sound))
    room.play()
    heard = np.concatenate([heard, room.server.heard])
    assert np.array_equal(heard[heard != 0], sound)
    assert len(room.ends()) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_requests_one_after_another_are_each_heard_whole(room: Room, *, whole: bool) -> None:
    room.server = Server(room.clock, whole=whole)
    room.device = PulseDevice(room.server, room.clock.monotonic)

    def script() -> Iterator[None]:
        for number in range(3):
            room.begin(f"r{number}", ramp(RATE // 3, 1 + number * RATE // 3))
            yield from ticks(3)
            room.finish(RATE // 3, f"r{number}")
            while not room.ends(f"r{number}"):
                yield

    room.begin("first")
    room.play(script())
    assert np.array_equal(room.sound(), ramp(RATE))
    assert not any(room.ends(f"r{number}")[0].underruns for number in range(3))


def test_what_the_server_keeps_for_it_is_too_short_is_heard_once_there_is_no_more(room: Room) -> None:
    sound = ramp(RATE // 2 + 100)
    room.server = Server(room.clock, whole=True)
    room.device = PulseDevice(room.server, room.clock.monotonic)
    room.begin("r", sound)

    def script() -> Iterator[None]:
        while not (room.server.corked and len(room.sound())):
            yield
        assert len(room.sound()) == RATE // 2
        room.finish(len(sound))
        yield

    room.play(script())
    assert np.array_equal(room.sound(), sound)
    assert [end.frames for end in room.ends()] == [len(sound)]


def test_a_reset_takes_back_what_is_not_to_be_heard(room: Room) -> None:
    room.begin("r", ramp(RATE))
    kept: list[int] = []

    def script() -> Iterator[None]:
        yield from ticks(10)
        with room.speaker.changed:
            assert room.playback.position is not None
            kept.append(room.playback.position[1] + RATE // 10)
            room.playback.reset("r", kept[0])
            room.speaker.stir()
        room.append(-ramp(RATE))
        room.finish(kept[0] + RATE)
        yield

    room.play(script())
    heard = room.sound()
    # What stood is heard once, to the sample; a flush may cost what the server had on its way.
    assert np.array_equal(heard[heard < 0], -ramp(RATE))
    assert np.array_equal(np.unique(heard[heard > 0]), ramp(kept[0]))
    assert room.ends()[0].frames == kept[0] + RATE


def test_it_is_closed_when_nothing_was_to_be_heard_for_a_while(room: Room) -> None:
    room.begin("r", ramp(RATE // 10))
    room.finish(RATE // 10)
    corked_at: list[float] = []

    def script() -> Iterator[None]:
        while True:
            if room.ends() and room.server.corked and not corked_at:
                corked_at.append(room.clock.now)
            yield

    began = room.clock.now
    room.play(script())
    assert corked_at
    assert corked_at[0] - began < 0.1 + STOP_S + 0.3
    assert CLOSE_S <= room.clock.now - began < CLOSE_S + 0.6


def test_a_server_that_plays_nothing_any_more_is_given_up_and_what_it_had_comes_again(room: Room) -> None:
    room.begin("r", ramp(RATE))

    def script() -> Iterator[None]:
        yield from ticks(10)
        room.server.hangs = True
        yield

    began = room.clock.now
    with pytest.raises(NoAudioDevice, match="the sound device has gone; plug it in again"):
        room.play(script())
    assert room.clock.now - began < LOST_S + 1
    assert room.playback.read(1)[0] == len(room.sound()) + 1


def test_a_server_that_dies_loses_nothing(room: Room) -> None:
    room.begin("r", ramp(RATE))

    def script() -> Iterator[None]:
        yield from ticks(10)
        room.server.dead = True
        yield

    with pytest.raises(NoAudioDevice, match="it is gone"):
        room.play(script())
    assert 0 <= len(room.sound()) + 1 - room.playback.read(1)[0] <= TICK


def test_a_stream_that_the_server_moves_is_told(room: Room) -> None:
    room.begin("r", ramp(RATE))
    room.finish(RATE)

    def script() -> Iterator[None]:
        yield from ticks(10)
        room.server.sink = b"head"
        yield

    room.play(script())
    assert [told.name for told in room.told if isinstance(told, Opened)] == ["Loudspeaker", "Headphones"]


def test_while_the_latency_is_not_known_nothing_is_guessed(room: Room) -> None:
    room.begin("r", ramp(RATE))
    room.finish(RATE)
    room.server.latency_known = False
    seen: list[int] = []

    def script() -> Iterator[None]:
        for _ in range(5):
            yield
            seen.append(room.playback.position[1] if room.playback.position else 0)
        room.change(volume=0.5)
        yield
        room.server.latency_known = True

    room.play(script())
    assert seen == [0] * 5
    assert room.ends() == [Played("r", RATE, 0, last=True)]
    # And the volume was not forgotten over it.
    assert room.server.heard[RATE // 2] == (RATE // 2 + 1) / 2


_DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("piece"), st.integers(1, RATE // 3)),
        st.tuples(st.just("ticks"), st.integers(1, 12)),
        st.tuples(st.just("pause"), st.booleans()),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("volume"), st.sampled_from([1.0, 0.5, 0.25])),
        st.tuples(st.just("next"), st.none()),
    ),
    min_size=6,
    max_size=30,
)


class Doer:
    """Does what hypothesis thought of, with requests that follow one another as the daemon has them follow."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.said: list[Samples] = []
        self.done = False
        self._drawn = self._pieces = self._turns = 0
        self._frames = 0

    @property
    def req(self) -> str:
        return f"r{self._turns}"

    def script(self, doings: list[tuple[str, Any]]) -> Iterator[None]:
        self.room.begin(self.req)
        for what, how in doings:
            yield from self._do(what, how)
        yield from self._end()
        self.done = True
        self.room.over = True
        yield

    def _do(self, what: str, how: Any) -> Iterator[None]:
        if what == "piece":
            self.said.append(ramp(how, self._drawn + 1))
            self.room.append(self.said[-1], self.req)
            self._drawn += how
            self._frames += how
            self._pieces += 1
        elif what == "ticks":
            yield from ticks(how)
        elif what == "pause":
            self.room.change(paused=how)
        elif what == "volume":
            self.room.change(volume=how)
        elif what == "next":
            yield from self._end()
            self._turns += 1
            self._frames = self._pieces = 0
            self.room.begin(self.req)
        else:
            self.room.over = True
            yield

    def _end(self) -> Iterator[None]:
        self.room.change(paused=False)
        self.room.finish(self._frames, self.req)
        while not self.room.ends(self.req):
            yield
        assert [end.frames for end in self.room.ends(self.req)] == [self._frames]
        credited = [
            seq
            for told in self.room.told
            if isinstance(told, Credit) and told.req == self.req
            for seq in range(told.first, told.last + 1)
        ]
        assert sorted(credited) == list(range(self._pieces))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=_DOINGS, whole=st.booleans())
def test_whatever_happens_every_sample_is_heard_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doings: list[tuple[str, Any]], *, whole: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr(speaker.time, "monotonic", clock.monotonic)
    with contextlib.closing(PositionPage(str(tmp_path / "page"))) as page:
        _do_all(Room(page, clock), doings, whole=whole)


def _do_all(room: Room, doings: list[tuple[str, Any]], *, whole: bool) -> None:
    clock = room.clock
    doer = Doer(room)
    going = doer.script(doings)
    heard: list[Samples] = []
    while not doer.done:
        assert clock.now < 3000
        room.server = Server(clock, whole=whole)
        room.device = PulseDevice(room.server, clock.monotonic)
        room.over = False
        room.play(going)
        heard.append(room.server.heard)
        # While it is closed, too, things happen.
        room._go(going)
        clock.now += 0.01
    sound = np.concatenate(heard)
    sound = sound[sound != 0]
    said = np.concatenate([NOTHING, *doer.said])
    assert len(sound) == len(said)
    assert set(np.round(sound / said, 4).tolist()) <= {1.0, 0.5, 0.25}


def test_the_part_that_cannot_be_changed_any_more_is_short() -> None:
    assert pulse_device._TOO_LATE <= RATE * 20 // 1000
