"""CRC-32, as zlib computes it, of samples in pieces: by isal where its wheel exists (ten times faster), else by zlib."""

from __future__ import annotations

import zlib
from collections.abc import Callable

_POLYNOMIAL = 0xEDB88320


def combine_slowly(first: int, second: int, length: int) -> int:
    """The CRC of A + B from those of A and B and B's `length` in bytes: A's is shifted by that many zero bytes."""
    shifted, power, bits = first, 1 << 30, length * 8
    while bits:
        if bits & 1:
            shifted = _multiply(power, shifted)
        power = _multiply(power, power)
        bits >>= 1
    return shifted ^ second


def _multiply(a: int, b: int) -> int:
    """Product of two polynomials modulo the CRC's, bits reflected."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


crc32: Callable[..., int] = zlib.crc32
combine: Callable[[int, int, int], int] = combine_slowly
try:
    from isal import isal_zlib

    crc32, combine = isal_zlib.crc32, isal_zlib.crc32_combine
except ImportError:
    pass
