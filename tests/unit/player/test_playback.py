"""What is heard, against a model of it: the samples in their order, with nothing but silence in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from voicebox_player.playback import Credit, Playback, Played
from voicebox_player.turn import Samples

RATE = 48_000


def ramp(frames: int, begin: int = 1) -> Samples:
    return np.arange(begin, begin + frames, dtype=np.float32)


def begun(rate: int = RATE, frame: int = 0, at: int = 0) -> Playback:
    playback = Playback(RATE)
    playback.begin("r", rate, frame, at)
    return playback


def played(playback: Playback) -> list[Played]:
    return [news for news in playback.news() if isinstance(news, Played)]


def test_the_first_sound_is_told_at_once_and_then_ten_times_a_second() -> None:
    playback = begun()
    playback.append("r", 0, ramp(RATE))
    playback.finish("r", RATE)
    told = []
    for _ in range(100):
        playback.pull(480)
        told += played(playback)
    assert [news.frames for news in told] == [480, *range(5280, RATE, 4800), RATE]
    assert [news.last for news in told] == [False] * 10 + [True]


def test_a_piece_is_credited_when_it_was_heard_to_its_end() -> None:
    playback = begun()
    for seq in range(3):
        playback.append("r", seq, ramp(1000))
    playback.pull(1999)
    assert playback.news() == [Credit("r", 0, 0), Played("r", 1999, 0)]
    playback.pull(1001)
    assert playback.news() == [Credit("r", 1, 2)]


def test_it_waits_for_30_ms_of_a_beginning_but_not_for_more_of_a_whole() -> None:
    playback = begun()
    playback.append("r", 0, ramp(1439))
    assert not playback.is_wanted
    assert not playback.pull(480).any()
    playback.append("r", 1, ramp(1))
    assert playback.is_wanted
    short = begun()
    short.append("r", 0, ramp(10))
    short.finish("r", 10)
    assert np.array_equal(short.pull(480)[:11], [*range(1, 11), 0])
    assert played(short) == [Played("r", 10, 0, last=True)]


def test_sound_that_is_late_is_an_underrun_once() -> None:
    playback = begun()
    playback.pull(480)
    playback.append("r", 0, ramp(2400))
    for _ in range(9):
        playback.pull(480)
    playback.append("r", 1, ramp(2400))
    playback.finish("r", 4800)
    for _ in range(9):
        playback.pull(480)
    assert played(playback)[-1] == Played("r", 4800, 1, last=True)


def test_neither_a_pause_nor_an_end_is_an_underrun() -> None:
    playback = begun()
    playback.append("r", 0, ramp(2400))
    playback.pull(480)
    playback.paused = True
    for _ in range(9):
        assert not playback.pull(480).any()
    playback.paused = False
    playback.finish("r", 2400)
    for _ in range(9):
        playback.pull(480)
    assert played(playback)[-1] == Played("r", 2400, 0, last=True)


def test_volume_and_mute_act_on_what_is_heard_and_change_no_position() -> None:
    playback = begun()
    playback.append("r", 0, np.ones(4800, np.float32))
    playback.volume = 0.5
    assert (playback.pull(480) == 0.5).all()
    playback.muted = True
    assert not playback.pull(480).any()
    playback.muted, playback.volume = False, 1.0
    assert (playback.pull(480) == 1).all()
    assert playback.position == ("r", 1440)


def test_hush_drops_all_and_says_what_was_heard() -> None:
    playback = begun()
    for seq in range(4):
        playback.append("r", seq, ramp(1000))
    playback.pull(1500)
    playback.hush("r")
    assert not playback.pull(480).any()
    assert playback.news()[-2:] == [Credit("r", 1, 3), Played("r", 1500, 0, last=True)]
    playback.append("r", 4, ramp(1000))
    playback.finish("r", 5000)
    playback.hush("r")
    assert playback.news() == [Credit("r", 4, 4)]
    assert not playback.has_turn


def test_a_turn_of_which_nothing_is_left_ends_without_a_device() -> None:
    playback = begun(frame=700, at=700)
    playback.finish("r", 700)
    assert playback.news() == [Played("r", 700, 0, last=True)]


def test_a_turn_that_another_takes_over_ends() -> None:
    playback = begun()
    playback.append("r", 0, ramp(4800))
    playback.begin("s", RATE, 0, 0)
    assert playback.news() == [Credit("r", 0, 0), Played("r", 0, 0, last=True)]
    playback.append("s", 0, ramp(4800, 5))
    assert np.array_equal(playback.pull(480), ramp(480, 5))


def test_a_finish_that_knows_of_more_is_refused() -> None:
    playback = begun()
    playback.append("r", 0, ramp(10))
    with pytest.raises(ValueError, match="Finish after 11 frames, of which 10"):
        playback.finish("r", 11)


@settings(max_examples=30)
@given(st.integers(4000, 50_000), st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.integers(1, 2000))
def test_at_any_rate_all_frames_are_heard_and_all_pieces_credited(rate: int, pieces: list[int], block: int) -> None:
    playback = begun(rate)
    for seq, frames in enumerate(pieces):
        playback.append("r", seq, ramp(frames))
    playback.finish("r", sum(pieces))
    pulled, heard = 0, 0
    while playback.has_turn:
        playback.pull(block)
        assert playback.position is not None
        pulled, before, heard = pulled + block, heard, playback.position[1]
        assert heard >= before
        assert abs(min(pulled, sum(pieces) * RATE // rate) / RATE - heard / rate) < 0.001 + block / RATE
    news = playback.news()
    credited = [seq for told in news if isinstance(told, Credit) for seq in range(told.first, told.last + 1)]
    assert credited == list(range(len(pieces)))
    assert news[-1] == Played("r", sum(pieces), 0, last=True)


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of pieces, pulls, pauses, resets and hushes: what is heard are the samples, one after another."""

    @initialize(skip=st.integers(0, 3000))
    def begin(self, skip: int) -> None:
        self.playback = Playback(RATE)
        self.playback.begin("r", RATE, skip, 0)
        # The timeline as the daemon has it, and how much of it was heard.
        self.timeline = np.zeros(0, np.float32)
        self.heard = self.told = skip
        self.seq, self.drawn = 0, 1
        self.over = self.finished = False
        self.credited: list[int] = []
        self.last = 0

    @precondition(lambda self: not self.finished)
    @rule(frames=st.integers(0, 4000))
    def piece(self, frames: int) -> None:
        samples = ramp(frames, self.drawn)
        self.drawn += frames
        self.playback.append("r", self.seq, samples)
        self.seq += 1
        if not self.over:
            self.timeline = np.concatenate([self.timeline, samples])

    @rule(frames=st.integers(1, 3000))
    def pull(self, frames: int) -> None:
        out = self.playback.pull(frames)
        sound = out[out != 0]
        assert np.array_equal(out[: len(sound)], sound)
        assert np.array_equal(sound, self.timeline[self.heard : self.heard + len(sound)])
        assert not (len(sound) and (self.over or self.playback.paused))
        self.heard += len(sound)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.playback.paused = paused

    @precondition(lambda self: not self.over and not self.finished)
    @rule(share=st.floats(0, 1))
    def reset(self, share: float) -> None:
        frames = round(share * len(self.timeline))
        self.playback.reset("r", frames)
        self.timeline = self.timeline[:frames]
        self.heard = self.told = min(self.heard, frames)

    @precondition(lambda self: not self.finished and self.heard <= len(self.timeline))
    @rule()
    def finish(self) -> None:
        self.finished = True
        self.playback.finish("r", len(self.timeline))

    @rule()
    def hush(self) -> None:
        self.over = True
        self.playback.hush("r")

    @invariant()
    def news_add_up(self) -> None:
        for told in self.playback.news():
            if isinstance(told, Credit):
                self.credited += range(told.first, told.last + 1)
            else:
                assert told.frames >= self.told
                self.told = told.frames
                self.last += told.last
        assert len(set(self.credited)) == len(self.credited)
        assert self.last <= 1
        if not self.over and self.playback.has_turn and self.playback.position is not None:
            assert self.playback.position == ("r", self.heard)

    def teardown(self) -> None:
        if not hasattr(self, "playback"):
            return
        self.playback.paused = False
        if not self.finished and self.heard > len(self.timeline):
            self.hush()
        elif not self.finished:
            self.finish()
        while self.playback.has_turn:
            self.pull(1000)
        self.news_add_up()
        assert sorted(self.credited) == list(range(self.seq))
        assert self.last == 1
        assert self.over or self.heard >= len(self.timeline)


TestAnyOrder = AnyOrder.TestCase


class Buffering(AnyOrder):
    """The same for a device that takes sound long before it is heard, and gives back what it is told to."""

    @initialize(skip=st.integers(0, 3000))
    def begin(self, skip: int) -> None:
        super().begin(skip)
        self.held = np.zeros(0, np.float32)

    @rule(frames=st.integers(1, 5000))
    def take(self, frames: int) -> None:
        self.give_back_what_is_stale()
        sound = self.playback.read(frames)
        assert not (len(sound) and (self.over or self.playback.paused))
        self.held = np.concatenate([self.held, sound])

    @rule(share=st.floats(0, 1))
    def hear(self, share: float) -> None:
        self.give_back_what_is_stale()
        frames = round(share * len(self.held))
        sound, self.held = self.held[:frames], self.held[frames:]
        assert np.array_equal(sound, self.timeline[self.heard : self.heard + frames])
        self.heard += frames
        self.playback.hear(frames)

    @rule(share=st.floats(0, 1))
    def take_again(self, share: float) -> None:
        self.give_back_what_is_stale()
        frames = round(share * len(self.held))
        assert np.array_equal(self.playback.read_again(frames), self.held[len(self.held) - frames :])

    @rule()
    def give_all_back(self) -> None:
        self.playback.take_all_back()
        self.held = self.held[:0]

    @rule(frames=st.integers(1, 3000))
    def pull(self, frames: int) -> None:
        self.take(frames)
        self.hear(1.0)

    def give_back_what_is_stale(self) -> None:
        if self.playback.stale:
            self.give_all_back()
        assert not self.playback.stale


TestBuffering = Buffering.TestCase


def test_what_was_taken_is_credited_and_told_when_it_was_heard() -> None:
    playback = begun()
    for seq in range(3):
        playback.append("r", seq, ramp(1000, 1 + 1000 * seq))
    playback.finish("r", 3000)
    assert np.array_equal(playback.read(9999), ramp(3000))
    assert playback.is_taken
    assert (playback.news(), playback.position) == ([], None)
    playback.hear(1500)
    assert playback.news() == [Credit("r", 0, 0), Played("r", 1500, 0)]
    playback.hear(1500)
    assert playback.news() == [Credit("r", 1, 2), Played("r", 3000, 0, last=True)]


def test_what_was_taken_can_be_had_again_as_loud_as_it_is_to_be_by_then() -> None:
    playback = begun()
    playback.append("r", 0, np.ones(4800, np.float32))
    assert (playback.read(4000) == 1).all()
    playback.volume = 0.5
    assert (playback.read_again(1000) == 0.5).all()
    assert len(playback.read(9999)) == 800
    assert len(playback.read_again(9999)) == 4800


def test_what_was_heard_of_one_who_was_hushed_is_nothing_of_the_next() -> None:
    playback = begun()
    playback.append("r", 0, ramp(4800))
    playback.read(2000)
    playback.begin("s", RATE, 0, 0)
    playback.news()
    playback.hear(500)
    assert (playback.news(), playback.position) == ([], None)


def test_a_device_that_waits_for_the_end_is_told_when_it_was_none() -> None:
    playback = begun()
    playback.append("r", 0, ramp(2000))
    playback.finish("r", 2000)
    playback.read(2000)
    playback.reset("r", 2000)
    assert playback.stale


def test_who_gave_all_back_waits_for_a_beginning_again() -> None:
    playback = begun()
    playback.append("r", 0, ramp(2000))
    playback.read(2000)
    playback.hear(2000)
    assert playback.is_wanted
    playback.take_all_back()
    assert not playback.is_wanted


def test_what_a_device_holds_of_one_who_is_hushed_or_goes_back_is_stale() -> None:
    playback = begun()
    playback.append("r", 0, ramp(4800))
    playback.read(2000)
    playback.reset("r", 3000)
    assert not playback.stale
    playback.reset("r", 1500)
    assert playback.stale
    playback.take_all_back()
    assert not playback.stale
    playback.hush("r")
    assert not playback.stale
    playback.begin("s", RATE, 0, 0)
    playback.append("s", 0, ramp(4800))
    playback.read(2000)
    playback.hush("s")
    assert playback.stale
    assert playback.news()[-1] == Played("s", 0, 0, last=True)
