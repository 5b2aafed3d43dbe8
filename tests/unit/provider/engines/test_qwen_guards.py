"""The guards of Qwen3-TTS: a model that has lost its way is noticed in time, and one that has not is left alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from voicebox_provider.engines.qwen.guards import FRAME_MS, Budget, Degenerate, Watch, budget, derived_seed

CODES = 16
PATIENCE = 63  # the first whole frame at which 5 s are over
QUIET_SAMPLES = 120_000
ENDLESS = Budget(1_000_000, is_runaway=True)
CHECKPOINTS_OWN = 8192

SEEDS = st.integers(0, 2**32 - 1)
CYCLES = st.integers(1, 4)


def drawn(seed: int, count: int, size: int = 2048) -> list[tuple[int, ...]]:
    chance = random.Random(seed)
    return [tuple(chance.randrange(size) for _ in range(CODES)) for _ in range(count)]


def different(seed: int, count: int) -> list[tuple[int, ...]]:
    """Frames no two of which are equal, and none equal to one of `drawn`."""
    return [(5000 + number, *codes[1:]) for number, codes in enumerate(drawn(seed, count))]


def repeated(cycle: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    return [cycle[number % len(cycle)] for number in range(count)]


def fell_at(frames: Sequence[tuple[int, ...]], watch: Watch | None = None) -> int | None:
    """The number of the frame, from 1, at which the watch raised."""
    watch = watch or Watch(ENDLESS)
    for number, codes in enumerate(frames, 1):
        try:
            watch.frame(codes)
        except Degenerate:
            return number
    return None


# --- the budget


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("", 75),  # 6 s
        ("a" * 300, 1763),  # 6 s and 135 s, rounded up
        ("海" * 300, 2325),  # 6 s and 180 s
        ("カ", 83),
        ("안", 83),
        ("7", 94),
    ],
)
def test_the_budget_follows_the_text(text: str, frames: int) -> None:
    assert budget(text, CHECKPOINTS_OWN) == Budget(frames, is_runaway=True)


def test_the_checkpoint_s_own_limit_is_an_end_not_a_runaway() -> None:
    assert budget("Hello.", 64) == Budget(63, is_runaway=False)
    assert budget("", 75) == Budget(74, is_runaway=False)
    assert budget("", 76) == Budget(75, is_runaway=True)
    assert fell_at(different(1, 500), Watch(budget("Hello.", 64))) is None


@given(st.text(max_size=300), st.text(max_size=50), st.integers(0, 300), st.integers(2, 10_000))
def test_a_longer_text_never_has_less(text: str, more: str, place: int, most: int) -> None:
    longer = text[:place] + more + text[place:]
    assert budget(text, most).frames <= budget(longer, most).frames <= most - 1
    assert budget(text + "aa", 10**6).frames > budget(text, 10**6).frames


@given(st.lists(st.sampled_from("aж7海カ안 .😀"), max_size=40), st.randoms())
def test_the_order_of_the_characters_makes_no_difference(letters: list[str], chance: random.Random) -> None:
    before = budget("".join(letters), CHECKPOINTS_OWN)
    chance.shuffle(letters)
    assert budget("".join(letters), CHECKPOINTS_OWN) == before


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("The harbour was quiet that morning, and nine gulls had gone out to sea.", 5.0),
        ("早上的港口很安静，海鸥都飞到海上去了。", 5.0),
        ("777777", 4.2),  # siebenhundertsiebenundsiebzigtausendsiebenhundertsiebenundsiebzig
        ("777777, " * 37, 166.0),
        ("Hm.", 1.0),
    ],
)
def test_speech_at_half_the_speed_is_no_runaway(text: str, seconds: float) -> None:
    assert budget(text, CHECKPOINTS_OWN).frames * FRAME_MS / 1000 >= 2 * seconds


def test_the_frame_beyond_the_budget_is_a_runaway() -> None:
    watch = Watch(Budget(100, is_runaway=True))
    assert fell_at(different(1, 100), watch) is None
    with pytest.raises(Degenerate, match="no end of speech within 8 s"):
        watch.frame(drawn(2, 1)[0])


@given(st.text(max_size=100), st.integers(2, 200))
def test_who_asks_for_the_most_learns_of_a_runaway(text: str, generation_max: int) -> None:
    allowed = budget(text, generation_max)
    fell = fell_at(different(1, allowed.most), Watch(allowed))
    assert fell == (allowed.frames + 1 if allowed.is_runaway else None)


# --- repetition


@given(SEEDS, st.integers(0, 400))
def test_random_codes_are_no_repetition(seed: int, count: int) -> None:
    assert fell_at(drawn(seed, count)) is None


@given(SEEDS, CYCLES, st.integers(0, 80), st.integers(PATIENCE, 200))
def test_a_repetition_of_five_seconds_is_found_at_once(seed: int, cycle: int, before: int, count: int) -> None:
    frames = drawn(seed, before) + repeated(different(seed, cycle), count)
    assert fell_at(frames) == before + PATIENCE


@given(SEEDS, CYCLES, st.integers(0, 80), st.integers(0, PATIENCE - 1))
def test_a_shorter_repetition_never_is(seed: int, cycle: int, before: int, count: int) -> None:
    frames = drawn(seed, before) + repeated(different(seed, cycle), count) + drawn(seed + 1, 80)
    assert fell_at(frames) is None


@given(SEEDS, CYCLES, st.integers(0, PATIENCE - 1), st.integers(0, CODES - 1))
def test_one_other_code_breaks_a_repetition(seed: int, cycle: int, place: int, codebook: int) -> None:
    frames = repeated(different(seed, cycle), PATIENCE)
    codes = list(frames[place])
    codes[codebook] += 10_000
    frames[place] = tuple(codes)
    assert fell_at(frames) is None


@given(SEEDS)
def test_longer_cycles_are_speech(seed: int) -> None:
    assert fell_at(repeated(different(seed, 5), 500)) is None


@given(st.lists(st.integers(0, 1), max_size=300))
def test_it_falls_where_the_definition_says(letters: list[int]) -> None:
    """Over two frames only, where repetitions of every length and cycle happen by themselves."""

    def is_loop(end: int) -> bool:
        last = letters[end - PATIENCE : end]
        return len(last) == PATIENCE and any(last[cycle:] == last[:-cycle] for cycle in (1, 2, 3, 4))

    letters = letters + letters[-3:] * 30
    expected = next((end for end in range(PATIENCE, len(letters) + 1) if is_loop(end)), None)
    assert fell_at([(letter,) * CODES for letter in letters]) == expected


def test_codes_may_come_as_an_array() -> None:
    array = np.tile(np.arange(CODES), (PATIENCE, 1))
    assert fell_at(list(array)) == PATIENCE


def test_it_says_what_is_repeated() -> None:
    *first, last = repeated(different(1, 2), PATIENCE)
    watch = Watch(ENDLESS)
    assert fell_at(first, watch) is None
    with pytest.raises(Degenerate, match="repeated the same 160 ms of sound for 5 s"):
        watch.frame(last)


# --- silence


def is_silent(sound: np.ndarray, cuts: Sequence[int]) -> bool:
    watch = Watch(ENDLESS)
    try:
        for array in np.split(sound, sorted(cuts)):
            watch.samples(array)
    except Degenerate as error:
        return "silent for 5 s" in str(error)
    return False


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 130_000)), max_size=6),
    st.lists(st.integers(0, 400_000), max_size=12),
)
def test_silence_is_found_however_the_samples_are_cut(runs: list[tuple[bool, int]], cuts: list[int]) -> None:
    levels = [np.full(length, 0.01 if loud else 0.0009, np.float32) for loud, length in runs]
    sound = np.concatenate([np.zeros(0, np.float32), *levels])
    quiet = longest = 0
    for loud, length in runs:
        quiet = (0 if length else quiet) if loud else quiet + length
        longest = max(longest, quiet)
    assert is_silent(sound, [min(cut, len(sound)) for cut in cuts]) == (longest >= QUIET_SAMPLES)


@pytest.mark.parametrize(("count", "silent"), [(QUIET_SAMPLES - 1, False), (QUIET_SAMPLES, True)])
@pytest.mark.parametrize("size", [997, 1920, 50_000, QUIET_SAMPLES, 10**6])
def test_five_seconds_to_the_sample(count: int, silent: bool, size: int) -> None:
    sound = np.concatenate([[0.5], np.zeros(count), [-0.5]]).astype(np.float32)
    assert is_silent(sound, range(size, len(sound), size)) is silent


@pytest.mark.parametrize("level", [0.0011, -0.0011, float("nan")])
def test_what_is_louder_is_no_silence(level: float) -> None:
    assert not is_silent(np.full(500_000, level, np.float32), [])


# --- seeds


@given(st.integers(0, 2**64 - 1), st.integers(0, 100))
def test_an_attempt_s_seed_is_its_own_and_always_the_same(seed: int, attempt: int) -> None:
    derived = derived_seed(seed, attempt)
    assert 0 <= derived < 2**63
    assert derived == derived_seed(seed, attempt)
    assert derived != derived_seed(seed, attempt + 1)
    assert derived != seed


@given(SEEDS, SEEDS)
def test_different_seeds_stay_different(one: int, other: int) -> None:
    assume(one != other)
    assert derived_seed(one, 0) != derived_seed(other, 0)


def test_seeds_stay_what_they_were() -> None:
    """Whoever kept a seed gets the same sound from the next version."""
    assert derived_seed(0, 0) == 1760083753844964293
    assert derived_seed(2**64 - 1, 1) == 1076261524182532242
