"""When a worker that works well is replaced all the same: native libraries leak; a pure function."""

from __future__ import annotations

from typing import NamedTuple


class RecyclePolicy(NamedTuple):
    """`jobs` segments, 0 for no limit; `growth` bytes of memory, of the process or on its accelerator, over what it had after its
    first segment; 0 for no limit."""

    jobs: int = 0
    growth: int = 0


class Wear(NamedTuple):
    """What a worker has done and grown to. Bytes; None where unknown."""

    jobs: int
    memory_at_first: int | None = None
    memory: int | None = None
    vram_at_first: int | None = None
    vram: int | None = None


def worn(policy: RecyclePolicy, wear: Wear) -> str | None:
    """Why it should make room for a fresh one, or None."""
    if policy.jobs and wear.jobs >= policy.jobs:
        return f"recycled after {wear.jobs} segments"
    for what, first, last in (
        ("memory", wear.memory_at_first, wear.memory),
        ("accelerator memory", wear.vram_at_first, wear.vram),
    ):
        if policy.growth and first is not None and last is not None and last - first >= policy.growth:
            return f"recycled: its {what} grew by {(last - first) / 1e6:.0f} MB"
    return None
