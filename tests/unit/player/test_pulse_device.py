"""The device at a sound server that holds sound and gives it back: a server in virtual time, which records what was heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voicebox_player import pulse_device, speaker
from voicebox_player.device import CLOSE_S, LOST_S, STOP_S
from voicebox_player.playback import Credit, Played
from voicebox_player.pulse_device import PulseDevice
from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice
from voicebox_protocol.position import PositionPage

_NOTHING = np.zeros(0, np.float32)
_BUFFER = RATE // 4
_TICK_S = 0.02
_TICK = round(RATE * _TICK_S)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Server:
    """A stream at a sound server. `heard` is what came out of the loudspeaker, the silence of an empty stream included."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard = _NOTHING
        self.queue = _NOTHING
        self.corked = True
        self.hangs = False
        self.dead = False
        self.closed = False
        self.latency_known = True
        self.sink = b"out"
        self.script: Iterator[Callable[[], None]] = iter(())
        self._underflows = 0
        self._playing = False
        self._draining = False
        self._drained = False

    @property
    def room(self) -> int:
        return max(0, _BUFFER - len(self.queue))

    @property
    def unheard(self) -> int | None:
        return len(self.queue) if self.latency_known else None

    def write(self, samples: Samples, back: int = 0) -> None:
        assert len(samples)
        assert back <= len(self.queue)
        if back:
            assert len(samples) == back
        else:
            self._draining = self._drained = False
        self.queue = np.concatenate([self.queue[: len(self.queue) - back], samples])
        assert len(self.queue) <= _BUFFER

    def cork(self, corked: bool) -> None:
        self.corked = corked

    def flush(self) -> None:
        self.queue = _NOTHING
        self._draining = self._drained = False

    def is_drained(self) -> bool:
        self._draining = True
        if not len(self.queue):
            self._drained = True
        return self._drained

    def held(self) -> int:
        self.corked = True
        return len(self.queue)

    def underflows(self) -> int:
        count, self._underflows = self._underflows, 0
        return count

    def description(self, sink: bytes) -> str | None:
        return {b"out": "Loudspeaker", b"head": "Headphones"}.get(sink)

    def wait(self, seconds: float) -> None:
        """A tick of the loudspeaker, or as long as nothing is to come; in between the script goes on."""
        if self.dead:
            raise NoAudioDevice("it is gone")
        took = min(seconds, _TICK_S) if not self.corked else min(seconds, 10 * _TICK_S)
        self.clock.now += took
        if not self.corked and not self.hangs:
            frames = round(took * RATE)
            sound, self.queue = self.queue[:frames], self.queue[frames:]
            if len(sound) < frames and self._playing and not self._draining:
                self._underflows += 1
            self._playing = len(sound) == frames
            self.heard = np.concatenate([self.heard, sound, np.zeros(frames - len(sound), np.float32)])
            self._drained |= self._draining and not len(self.queue)
        for what in self.script:
            what()
            break

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Room:
    """A speaker, a device, and a server. What a test does comes in between the server's ticks, until it has no more to do."""

    def __init__(self, page: PositionPage, clock: Clock) -> None:
        self.clock = clock
        self.told: list[Any] = []
        self.speaker = Speaker(page, lambda: None)
        self.playback = self.speaker.playback
        self.server = Server(clock)
        self.device = PulseDevice(self.server, clock.monotonic)
        self.over = False
        self.seq = 0

    def play(self, script: Iterator[None] | None = None) -> None:
        """Until the device is not to be open any longer."""
        self.server.script = iter(lambda: lambda: self._go(script), None)
        self.device.play(self.speaker, lambda: self.over)

    def _go(self, script: Iterator[None] | None) -> None:
        if script is not None:
            next(script, None)
        self.told += self.speaker.news()

    def begin(self, req: str = "r", sound: Samples = _NOTHING) -> None:
        with self.speaker.changed:
            self.playback.begin(req, RATE, 0, 0)
            self.seq = 0
            self.speaker.stir()
        if len(sound):
            self.append(sound, req)

    def append(self, sound: Samples, req: str = "r") -> None:
        with self.speaker.changed:
            self.playback.append(req, self.seq, sound)
            self.seq += 1
            self.speaker.stir()

    def finish(self, frames: int, req: str = "r") -> None:
        with self.speaker.changed:
            self.playback.finish(req, frames)
            self.speaker.stir()

    def change(self, **how: Any) -> None:
        with self.speaker.changed:
            for name, value in how.items():
                setattr(self.playback, name, value)
            self.speaker.stir()

    def sound(self) -> Samples:
        """What was heard, without the silence."""
        return self.server.heard[self.server.heard != 0]

    def ends(self, req: str = "r") -> list[Played]:
        return [told for told in self.told if isinstance(told, Played) and told.req == req and told.last]


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
    assert RATE <= over_at[0] <= RATE + 2 * _TICK
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
    assert all(0 <= there - told <= 2 * _TICK for told, there in seen), seen
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
    assert 0 <= len(first) - room.ends()[0].frames <= 2 * _TICK
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
    assert all(0 <= edge - asked <= RATE * 20 // 1000 + _TICK for edge, asked in zip(edges, at, strict=True))
    assert len(room.ends()) == 1


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
    room.begin("r", ramp(RATE))

    def script() -> Iterator[None]:
        yield from ticks(10)
        room.begin("s", ramp(RATE))
        room.server._underflows += 1
        room.finish(RATE, "s")
        yield

    room.play(script())
    assert room.ends("s") == [Played("s", RATE, 0, last=True)]


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
    assert 0 <= len(room.sound()) + 1 - room.playback.read(1)[0] <= _TICK


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
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=_DOINGS)
def test_whatever_happens_every_sample_is_heard_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doings: list[tuple[str, Any]]
) -> None:
    clock = Clock()
    monkeypatch.setattr(speaker.time, "monotonic", clock.monotonic)
    page = PositionPage(str(tmp_path / "page"))
    room = Room(page, clock)
    room.begin()
    drawn, pieces = 0, 0
    heard: list[Samples] = []

    def script() -> Iterator[None]:
        nonlocal drawn, pieces
        for what, how in doings:
            if what == "piece":
                room.append(ramp(how, drawn + 1))
                drawn, pieces = drawn + how, pieces + 1
            elif what == "ticks":
                yield from ticks(how)
            elif what == "pause":
                room.change(paused=how)
            elif what == "volume":
                room.change(volume=how)
            else:
                room.over = True
                yield
        room.change(paused=False)
        room.finish(drawn)
        while True:
            yield

    going = script()
    while not (room.ends() or (heard and room.clock.now > 1500)):
        room.over = False
        room.play(going)
        # While it is closed, too, things happen.
        room._go(going)
        heard.append(room.server.heard)
        room.server = Server(clock)
        room.device = PulseDevice(room.server, clock.monotonic)
    sound = np.concatenate(heard)
    sound = sound[sound != 0]
    assert len(sound) == drawn
    share = sound / ramp(drawn)
    assert set(np.round(share, 4).tolist()) <= {1.0, 0.5, 0.25}
    assert room.ends()[-1].frames == drawn
    credited = [seq for told in room.told if isinstance(told, Credit) for seq in range(told.first, told.last + 1)]
    assert sorted(credited) == list(range(pieces))
    page.close()


def test_the_part_that_cannot_be_changed_any_more_is_short() -> None:
    assert pulse_device._TOO_LATE <= RATE * 20 // 1000
