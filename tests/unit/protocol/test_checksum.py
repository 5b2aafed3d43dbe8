"""CRC-32 of sound in pieces: the same from either implementation as of the whole at once."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol import checksum

COMBINE = pytest.mark.parametrize("combine", [checksum.combine, checksum.combine_slowly])


@given(st.binary(max_size=5000))
def test_it_is_the_crc_of_zlib(data: bytes) -> None:
    assert checksum.crc32(data) == zlib.crc32(data)
    assert checksum.crc32(memoryview(data)) == zlib.crc32(data)


@COMBINE
@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_combining_gives_the_crc_of_both(combine: Callable[[int, int, int], int], first: bytes, second: bytes) -> None:
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@COMBINE
@given(st.lists(st.binary(max_size=300), max_size=12))
def test_any_number_of_pieces_begins_at_zero(combine: Callable[[int, int, int], int], pieces: list[bytes]) -> None:
    crc = 0
    for piece in pieces:
        crc = combine(crc, zlib.crc32(piece), len(piece))
    assert crc == zlib.crc32(b"".join(pieces))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**34))
def test_both_implementations_agree_on_lengths_that_no_test_could_hold(first: int, second: int, length: int) -> None:
    assert checksum.combine(first, second, length) == checksum.combine_slowly(first, second, length)
