"""Names and secrets that nobody can guess, from the system's own random numbers.

As `secrets` and `hmac` have them, but those two bring OpenSSL in, which takes 10 ms of a start and a megabyte.
"""

from __future__ import annotations

import os
from _operator import _compare_digest


def token(size: int) -> str:
    """`size` random bytes in hexadecimal digits."""
    return os.urandom(size).hex()


def seed() -> int:
    """A random number below 2^63."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def same(one: str, other: str) -> bool:
    """Whether two tokens are equal; how long that takes does not tell where they differ."""
    return _compare_digest(one.encode(), other.encode())
