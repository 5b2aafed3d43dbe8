"""A request's timeline counted in frames of a device that has another rate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_player.turn import Samples, Turn, ranges

DEVICE = 48_000


def ramp(frames: int, begin: int = 1) -> Samples:
    """Every sample is another, and none is silence."""
    return np.arange(begin, begin + frames, dtype=np.float32)


def read(turn: Turn, frames: int) -> Samples:
    """What is heard next."""
    out = np.zeros(frames, np.float32)
    out = out[: turn.read(out)]
    turn.hear(len(out))
    return out


def test_sound_of_the_device_s_own_rate_is_not_touched() -> None:
    turn = Turn("r", DEVICE, DEVICE, 0, 0)
    turn.append(0, ramp(2000))
    turn.append(1, ramp(1000, 2001))
    assert turn.finish() == 3000
    heard = [read(turn, 700) for _ in range(5)]
    assert np.array_equal(np.concatenate(heard), ramp(3000))
    assert (turn.heard, turn.is_over) == (3000, True)


def test_what_comes_before_the_first_frame_is_skipped_and_credited() -> None:
    turn = Turn("r", DEVICE, DEVICE, 2500, 1000)
    for seq in range(3):
        turn.append(seq, ramp(1000, 1001 + 1000 * seq))
    assert (turn.heard, turn.credits()) == (2500, [0])
    assert np.array_equal(read(turn, 9999), ramp(1500, 2501))
    assert (turn.heard, turn.credits()) == (4000, [1, 2])


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 96000])
def test_positions_are_those_of_the_samples_at_every_rate(rate: int) -> None:
    """A click in the middle is counted where it is heard, to 5 ms."""
    sound = np.zeros(rate, np.float32)
    sound[rate // 2] = 1
    turn = Turn("r", rate, DEVICE, 0, 0)
    for seq, piece in enumerate(np.array_split(sound, 10)):
        turn.append(seq, piece)
    turn.finish()
    before, loudest = 0, (0.0, 0)
    while not turn.is_over:
        loudest = max(loudest, (float(np.abs(read(turn, 96)).max(initial=0)), turn.heard))
        assert turn.heard >= before
        before = turn.heard
    assert abs(loudest[1] - rate // 2) <= 0.005 * rate
    assert (turn.heard, turn.credits()) == (rate, list(range(10)))


@pytest.mark.parametrize("rate", [22050, 24000, 44100])
def test_a_turn_taken_up_in_the_middle_sounds_as_if_it_had_not_been_cut(rate: int) -> None:
    sound = np.sin(np.arange(rate, dtype=np.float32) * (2000 / rate)).astype(np.float32)
    whole, rest = Turn("r", rate, DEVICE, 0, 0), Turn("r", rate, DEVICE, rate // 2, rate // 4)
    whole.append(0, sound)
    rest.append(1, sound[rate // 4 :])
    whole.finish()
    rest.finish()
    most = DEVICE // 3
    assert np.allclose(read(rest, DEVICE)[:most], read(whole, DEVICE)[DEVICE // 2 :][:most], atol=0.1)
    assert rest.heard == rate


@pytest.mark.parametrize("rate", [24000, DEVICE])
def test_silence_at_the_beginning_is_skipped_and_counts_as_heard(rate: int) -> None:
    sound = np.concatenate([np.full(rate // 4, 0.0005, np.float32), ramp(rate // 4), np.zeros(rate // 4, np.float32)])
    turn = Turn("r", rate, DEVICE, 0, 0)
    for seq, piece in enumerate(np.array_split(sound, 10)):
        turn.append(seq, piece)
    assert turn.credits() == [0, 1, 2]
    assert abs(turn.heard - rate // 4) <= 0.005 * rate
    turn.finish()
    assert abs(len(read(turn, DEVICE)) - DEVICE // 2) <= 0.005 * DEVICE
    assert (turn.heard, turn.credits(), turn.is_over) == (len(sound), list(range(3, 10)), True)


def test_nothing_but_silence_is_over_at_once() -> None:
    turn = Turn("r", 24000, DEVICE, 0, 0)
    turn.append(0, np.zeros(5000, np.float32))
    assert not turn.is_ready
    turn.finish()
    assert (turn.heard, turn.credits(), turn.is_over) == (5000, [0], True)


def test_silence_where_a_turn_is_taken_up_again_is_heard() -> None:
    turn = Turn("r", DEVICE, DEVICE, 1000, 1000)
    turn.append(0, np.zeros(2000, np.float32))
    turn.append(1, ramp(2000))
    assert (turn.heard, turn.credits()) == (1000, [])
    assert len(read(turn, 9999)) == 4000


def test_after_a_reset_to_the_beginning_it_may_be_silent_again() -> None:
    turn = Turn("r", DEVICE, DEVICE, 0, 0)
    turn.append(0, ramp(2000))
    turn.reset(0)
    turn.append(1, np.zeros(2000, np.float32))
    turn.append(2, ramp(2000))
    assert np.array_equal(read(turn, 9999), ramp(2000))


def test_a_reset_drops_what_follows_and_keeps_what_stands() -> None:
    turn = Turn("r", DEVICE, DEVICE, 0, 0)
    for seq in range(3):
        turn.append(seq, ramp(1000, 1 + 1000 * seq))
    assert np.array_equal(read(turn, 500), ramp(500))
    turn.reset(1000)
    assert (turn.heard, turn.credits()) == (500, [1, 2])
    turn.append(3, ramp(100, 9001))
    assert turn.finish() == 1100
    assert np.array_equal(read(turn, 9999), np.concatenate([ramp(500, 501), ramp(100, 9001)]))
    assert (turn.heard, turn.credits(), turn.is_over) == (1100, [0, 3], True)


def test_a_reset_to_before_what_was_heard_takes_the_position_back() -> None:
    turn = Turn("r", 24_000, DEVICE, 0, 0)
    turn.append(0, ramp(4800))
    read(turn, 4000)
    turn.reset(100)
    assert (turn.heard, turn.credits()) == (100, [0])
    assert len(read(turn, 999)) == 0
    turn.append(1, ramp(2400))
    assert turn.finish() == 2500
    assert len(read(turn, 9999)) == 4800
    assert (turn.heard, turn.credits()) == (2500, [1])


def test_a_reset_to_what_has_not_come_is_refused() -> None:
    with pytest.raises(ValueError, match="Reset to frame 11"):
        Turn("r", DEVICE, DEVICE, 0, 0).reset(11)


def test_a_turn_that_begins_after_its_first_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="Play from frame 5"):
        Turn("r", DEVICE, DEVICE, 5, 6)


@given(st.sets(st.integers(0, 30)))
def test_ranges_hold_each_number_once(numbers: set[int]) -> None:
    told = list(ranges(list(numbers)))
    assert [n for first, last in told for n in range(first, last + 1)] == sorted(numbers)
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(told))
