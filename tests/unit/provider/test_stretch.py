"""Stretched samples: of the right length and pitch, in place, and the same however the engine cut them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("python_stretch", reason="python-stretch has no wheel for this machine")

from voicebox_provider.stretch import Stretcher

RATE = 24000

Floats = npt.NDArray[np.float32]


def tone(seconds: float, hertz: float = 220.0) -> Floats:
    when = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * hertz * when)).astype(np.float32)


def stretched(pieces: list[Floats], speed: float = 1.0, pitch: float = 1.0) -> Floats:
    stretcher = Stretcher(RATE, speed, pitch)
    for piece in pieces:
        stretcher.write(piece)
    return stretcher.finish()


def hertz(sound: Floats) -> float:
    middle = sound[len(sound) // 4 : -len(sound) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.argmax(spectrum)) * RATE / len(middle)


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 9000), max_size=6), speed=st.sampled_from([0.25, 0.37, 1.3, 3.0, 4.0]))
def test_the_output_does_not_depend_on_the_engine_s_cuts(sizes: list[int], speed: float) -> None:
    whole = np.random.default_rng(1).uniform(-0.5, 0.5, sum(sizes)).astype(np.float32)
    ends = np.cumsum([0, *sizes])
    pieces = [whole[start:end] for start, end in pairwise(ends)]
    out = stretched(pieces, speed)
    assert np.array_equal(out, stretched([whole], speed))
    assert len(out) == round(len(whole) / speed)


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_leaves_the_pitch(speed: float) -> None:
    assert hertz(stretched([tone(2.0)], speed)) == pytest.approx(220, rel=0.03)


@pytest.mark.parametrize("pitch", [0.5, 0.8, 1.5, 2.0])
def test_pitch_leaves_the_length(pitch: float) -> None:
    out = stretched([tone(2.0)], pitch=pitch)
    assert len(out) == 2 * RATE
    assert hertz(out) == pytest.approx(220 * pitch, rel=0.03)


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_sound_stays_where_it_belongs(speed: float) -> None:
    """A burst after one second of silence begins after 1/speed of it, to some hundredths of a second of the source."""
    whole = np.concatenate((np.zeros(RATE, np.float32), tone(0.5), np.zeros(RATE, np.float32)))
    loud = np.flatnonzero(np.abs(stretched([whole], speed)) > 0.1)
    assert loud[0] / RATE == pytest.approx(1.0 / speed, abs=0.03 / min(speed, 1.0))
    assert loud[-1] / RATE == pytest.approx(1.5 / speed, abs=0.03 / min(speed, 1.0))


def test_the_engine_may_use_its_array_again() -> None:
    array = tone(0.5)
    stretcher = Stretcher(RATE, 2.0, 1.0)
    stretcher.write(array)
    array[:] = 0
    assert np.abs(stretcher.finish()).max() > 0.3


def test_nothing_stays_nothing() -> None:
    assert len(stretched([])) == 0
