"""What a process has open, counted from outside: descriptors, threads, mappings, children. What it is too much of afterwards."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

# The allocator maps what it needs in pieces, and one for each thread that was ever there: so many more are no leak.
ALLOCATOR = 40
_SHARED = re.compile(r"memfd:|/dev/shm|/dev/zero|\(deleted\)")


class Belongings(NamedTuple):
    """Each thing by what it is, and how often. `anonymous` counts mappings of memory that is nobody else's."""

    descriptors: Counter[str]
    threads: Counter[str]
    shared: Counter[str]
    files: Counter[str]
    children: Counter[str]
    anonymous: int


def belongings(pid: int) -> Belongings:
    """What a process has now."""
    named = list(_mappings(pid))
    shared = Counter(name for name in named if _SHARED.search(name))
    files = Counter(dict.fromkeys((name for name in named if name.startswith("/") and name not in shared), 1))
    return Belongings(
        Counter(_descriptors(pid)),
        Counter(_threads(pid)),
        shared,
        files,
        Counter(f"process {child.pid}" for child in psutil.Process(pid).children(recursive=True)),
        sum(not name for name in named),
    )


def too_much(before: Belongings, after: Belongings) -> list[str]:
    """What there is more of than before, in words; nothing if it is as it was."""
    kinds = ("descriptors", "threads", "shared", "files", "children")
    more = [
        f"{kind}: {count} more {name}"
        for kind in kinds
        for name, count in (getattr(after, kind) - getattr(before, kind)).items()
    ]
    if after.anonymous > before.anonymous + ALLOCATOR:
        more.append(f"anonymous mappings: {after.anonymous} where {before.anonymous} were")
    return more


def _descriptors(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        yield re.sub(r":\[\d+\]$", "", target)


def _threads(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/task").iterdir():
        try:
            yield (entry / "comm").read_text().strip()
        except OSError:
            continue


def _mappings(pid: int) -> Iterator[str]:
    """The name of each mapping, empty for memory that has none."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        yield fields[5] if len(fields) > 5 else ""
