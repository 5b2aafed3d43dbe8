"""What a session holds: the sum of what was lent and not given back, whatever is claimed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceboxd.window import PATIENCE, WINDOW_BYTES, WINDOW_SECONDS, Window, longest_idle

RATE = 24_000
LENT = st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 12_000), min_size=1, max_size=4)), max_size=8)
CREDITS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 20)), max_size=12)


@given(LENT, CREDITS, st.sampled_from("abc"))
def test_the_sums_are_those_of_what_is_out(lent, returned, forgotten) -> None:
    window, model, numbers = Window(0.0), {}, {"a": 0, "b": 0, "c": 0}
    for req, frames in lent:
        window.lend(req, numbers[req], frames, RATE, 0.0)
        model |= {(req, numbers[req] + i): count for i, count in enumerate(frames)}
        numbers[req] += len(frames)
    for req, first, last in returned:
        window.credit(req, first, last, 0.0)
        model = {(r, n): count for (r, n), count in model.items() if r != req or not first <= n <= last}
        assert window.held_bytes == 4 * sum(model.values())
        assert window.held_seconds == pytest.approx(sum(model.values()) / RATE)
        assert all(window.holds(req) == any(r == req for r, _ in model) for req in "abc")
    window.forget(forgotten)
    model = {key: count for key, count in model.items() if key[0] != forgotten}
    assert window.held_bytes == 4 * sum(model.values())
    window.forget_all()
    assert (window.held_bytes, window.held_seconds) == (0, 0.0)


def test_giving_back_twice_counts_once() -> None:
    window = Window(0.0)
    window.lend("a", 0, [100, 100], RATE, 0.0)
    for _ in range(3):
        window.credit("a", 0, 0, 0.0)
    assert window.held_bytes == 400


@pytest.mark.parametrize(
    ("frames", "rate"), [(int(WINDOW_SECONDS * 8000), 8000), (WINDOW_BYTES // 4, 192_000)], ids=["seconds", "bytes"]
)
def test_it_closes_when_full_and_opens_when_a_piece_comes_back(frames: int, rate: int) -> None:
    window = Window(0.0)
    window.lend("a", 0, [frames - 1], rate, 0.0)
    assert window.open
    window.lend("a", 1, [1], rate, 0.0)
    assert not window.open
    window.credit("a", 1, 1, 0.0)
    assert window.open


def test_the_stalled_one_is_who_holds_sound_and_gave_no_credit_for_longest() -> None:
    windows = {name: Window(0.0) for name in ("idle", "slow", "dead", "empty")}
    for name, at in (("idle", 50.0), ("slow", 10.0), ("dead", 20.0)):
        windows[name].lend("a", 0, [10, 10], RATE, at)
    windows["slow"].credit("a", 0, 0, 60.0)
    assert longest_idle(windows, 19.9 + PATIENCE) is None
    assert longest_idle(windows, 20.0 + PATIENCE) == "dead"
    assert longest_idle({"empty": Window(0.0)}, 1e9) is None


def test_the_patience_begins_when_there_is_something_to_hold() -> None:
    window = Window(0.0)
    window.lend("a", 0, [10], RATE, 500.0)
    window.lend("a", 1, [10], RATE, 550.0)
    assert window.credited_at == 500.0


def test_credit_for_what_was_never_lent_is_no_sign_of_life() -> None:
    window = Window(0.0)
    window.lend("a", 0, [10], RATE, 1.0)
    window.credit("b", 0, 5, 100.0)
    assert window.credited_at == 1.0
