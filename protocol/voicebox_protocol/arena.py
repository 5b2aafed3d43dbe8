"""Where samples lie in shared memory, and what the session door says of it. Only samples lie there; who may read or write
a slot is the daemon's to know, and travels in messages.

An arena belongs to one incarnation of a provider, which alone writes in it: a run of slots of `SLOT_BYTES`, each of which
holds one piece of sound. A piece begins where its slot begins.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

# In Hello.features and Welcome.features: the sender can do with arenas.
FEATURE = "arena"

# Half a second at 24 kHz and a little more; a whole number of memory pages, for a client detaches a slot page by page.
SLOT_BYTES = 48 * 1024
SLOT_FRAMES = SLOT_BYTES // 4

_OFFER = b"ARENA"
_GONE = b"GONE"


def supported() -> bool:
    """Whether this system has what an arena takes: memory without a name that can be sealed."""
    return sys.platform == "linux" and SLOT_BYTES % os.sysconf("SC_PAGESIZE") == 0


class Offer(NamedTuple):
    """An arena that may be mapped; its descriptor travels beside this line."""

    arena: int
    slots: int

    def encode(self) -> bytes:
        return b"%s %d %d\n" % (_OFFER, self.arena, self.slots)


class Gone(NamedTuple):
    """An arena that is of no use any more, and of which nothing is lent to anybody."""

    arena: int

    def encode(self) -> bytes:
        return b"%s %d\n" % (_GONE, self.arena)


def decode(line: bytes) -> Offer | Gone | None:
    """A line of the session door; None for what a newer daemon may say. Raises `ValueError` if it cannot be read."""
    match line.split():
        case [word, arena, slots] if word == _OFFER:
            return Offer(int(arena), int(slots))
        case [word, arena] if word == _GONE:
            return Gone(int(arena))
        case _:
            return None
