"""File descriptors: libzmq aborts the whole process when it runs out of them, so there must be enough from the start."""

from __future__ import annotations

import sys

from voicebox_protocol.endpoints import DESCRIPTORS_LEAST as LEAST
from voicebox_protocol.errors import BadPlace

WANTED = 16_384
_OURS = 128
_PER_CLIENT = 2


def raise_descriptor_limit() -> int:
    """Raise the soft limit as far as is useful; give it. Raises `BadPlace` if it is too low to live with."""
    if sys.platform == "win32":
        return WANTED
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
        soft = ceiling
    if soft < LEAST:
        raise BadPlace(f"only {soft} open files are allowed and {LEAST} are needed; raise it with: ulimit -n {LEAST}")
    return soft


def most_clients(descriptors: int) -> int:
    """How many clients may be connected: each takes one descriptor at either door, and we need some ourselves."""
    return (descriptors - _OURS) // _PER_CLIENT
