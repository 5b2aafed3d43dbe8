"""What an utterance leaves with its sound, so that a successor need not think it up again: the codes of its frames, 32 bytes each.

The first part also says which attempt they are of. Loads neither numpy nor torch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_BOOKS = 16
_FRAME = struct.Struct(f"<{_BOOKS}H")
_ATTEMPT = struct.Struct("<B")


def first_part(attempt: int) -> bytes:
    """What comes before the first frame's codes; `attempt` counts from 0."""
    return _ATTEMPT.pack(attempt)


def part(frames: Iterable[Sequence[int]]) -> bytes:
    """The codes of further frames, 16 each."""
    return b"".join(_FRAME.pack(*codes) for codes in frames)


def read(kept: bytes) -> tuple[int, list[tuple[int, ...]]]:
    """The attempt and the frames of all parts, joined. Raises `ValueError` for anything else."""
    codes = memoryview(kept)[_ATTEMPT.size :]
    if not kept or len(codes) % _FRAME.size:
        raise ValueError(f"{len(kept)} bytes are no frames of {_BOOKS} codes")
    return kept[0], list(_FRAME.iter_unpack(codes))
