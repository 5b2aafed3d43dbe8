"""What Qwen3-TTS leaves for a successor: read back as it was written, however it was cut, and nothing else taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_provider.engines.qwen import kept

FRAMES = st.lists(st.tuples(*[st.integers(0, 2**16 - 1)] * 16), max_size=20)


@given(st.integers(0, 255), st.lists(FRAMES, max_size=4))
def test_the_parts_joined_are_the_frames_in_order(attempt: int, portions: list[list[tuple[int, ...]]]) -> None:
    state = kept.first_part(attempt) + b"".join(map(kept.part, portions))
    assert kept.read(state) == (attempt, [frame for portion in portions for frame in portion])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frames_are_refused(state: bytes) -> None:
    if len(state) % 32 == 1:
        attempt, frames = kept.read(state)
        assert kept.first_part(attempt) + kept.part(frames) == state
    else:
        with pytest.raises(ValueError, match="no frames"):
            kept.read(state)
