"""What a recording must be like to be cloned: texts that may be its own, and those that cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol.errors import BadReference
from voicebox_provider import reference_audio
from voicebox_provider.engine import Reference

RATE = 8000
HOUSE = "The harbour was quiet that morning, and nobody had come to see the ship leave."


def recorded(seconds: float, text: str | None, level: float = 0.1) -> Reference:
    return Reference(samples=np.full(int(seconds * RATE), level, np.float32), sample_rate=RATE, text=text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, HOUSE),
        (2.5, HOUSE),
        (12, HOUSE),
        (1, "Yes."),
        (3.5, "Yes."),
        (3, "港口那天早上很安静，没有人来看船离开。"),
        (9, "港口那天早上很安静，没有人来看船离开。"),
        (6, "港の朝は静かだった。誰も船を見送りに来なかった。"),
        (4, "항구는 조용했고 아무도 오지 않았다."),
        (8, "Call 0800 777 666 now."),
        (7, "Порт был тих в то утро, и никто не пришёл."),
        (60, HOUSE * 10),
        (5, None),
    ],
)
def test_what_may_be_is_taken(seconds: float, text: str | None) -> None:
    reference_audio.check(recorded(seconds, text))


@pytest.mark.parametrize(
    ("seconds", "text", "words"),
    [
        (1, HOUSE, "too much to say"),
        (5, HOUSE * 6, "too much to say"),
        (1.5, "港口那天早上很安静，没有人来看船离开。" * 2, "too much to say"),
        (30, HOUSE, "more must have been said"),
        (20, "Yes.", "more must have been said"),
        (60, "港口那天早上很安静，没有人来看船离开。", "more must have been said"),
        (3, "...", "no letter and no digit"),
    ],
)
def test_what_cannot_be_is_refused(seconds: float, text: str, words: str) -> None:
    with pytest.raises(BadReference, match=words):
        reference_audio.check(recorded(seconds, text))


@pytest.mark.parametrize("level", [0.0, 0.0009])
def test_silence_is_nobodys_voice(level: float) -> None:
    with pytest.raises(BadReference, match="silent"):
        reference_audio.check(recorded(3, None, level))


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_takes_no_less_time(one: str, more: str) -> None:
    first, both = reference_audio.span(one), reference_audio.span(one + more)
    assert first.least <= first.most
    assert first.least <= both.least + 1e-9
    assert first.most <= both.most + 1e-9


def test_half_a_second_of_silence_comes_behind() -> None:
    samples: Any = np.ones(3 * RATE, np.float32)
    longer = reference_audio.with_pause(samples, RATE)
    assert len(longer) == 3.5 * RATE
    assert longer.dtype == np.float32
    assert not longer[3 * RATE :].any()
    assert np.array_equal(longer[: 3 * RATE], samples)
