"""Rounding: the same by either road, halves to even, clipped, and nothing for what is no number."""

from __future__ import annotations

import math
from array import array

from hypothesis import given
from hypothesis import strategies as st

from voicebox_client.pcm import Int16Converter, _in_python, _with_numpy


def samples(*values: float) -> bytes:
    return array("f", values).tobytes()


@given(st.lists(st.floats(width=32)))
def test_both_roads_agree(values: list[float]) -> None:
    assert _in_python(samples(*values)) == _with_numpy(samples(*values))


@given(st.lists(st.floats(-1, 1, width=32)))
def test_each_sample_is_the_nearest_whole_number(values: list[float]) -> None:
    exact = [round(value * 32767) for value in array("f", values)]
    assert list(array("h", Int16Converter()(samples(*values)))) == exact


def test_the_edges() -> None:
    given = samples(0.0, 1.0, -1.0, 1.5, -1.5, math.inf, -math.inf, math.nan)
    expected = [0, 32767, -32767, 32767, -32768, 32767, -32768, 0]
    assert list(array("h", _in_python(given))) == expected
    assert list(array("h", _with_numpy(given))) == expected
