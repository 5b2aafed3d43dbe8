"""How much memory this process may still take: what the machine can spare, and what the control groups it runs in allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")


class Room(NamedTuple):
    """Bytes of memory: free now without swapping, and in all."""

    free: int
    total: int


def room(proc: Path = _PROC, groups: Path = _GROUPS) -> Room | None:
    """The least of what machine and groups have; None where nobody tells, as anywhere but on Linux."""
    machine = _numbers(proc / "meminfo")
    if not {"MemAvailable:", "MemTotal:"} <= machine.keys():
        return None
    all_of_them = [
        Room(machine["MemAvailable:"] * 1024, machine["MemTotal:"] * 1024),
        *_groups(proc / "self" / "cgroup", groups),
    ]
    return Room(min(each.free for each in all_of_them), min(each.total for each in all_of_them))


def _groups(own: Path, groups: Path) -> Iterator[Room]:
    """Each group around us that has a limit.

    A line of /proc/self/cgroup is number:controllers:path; in version 2 there is but one, which names no controllers. In a
    container the path may be that outside of it, and only its beginning be there.
    """
    for line in _text(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            yield from _limits(groups, path, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _limits(groups / "memory", path, names)


def _limits(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[Room]:
    limit_file, usage_file, reclaimable = names
    own = root / path.strip("/")
    for group in (own, *own.parents):
        limit, usage = (_text(group / name).strip() for name in (limit_file, usage_file))
        if limit.isdecimal() and usage.isdecimal():
            # Pages of files count as used, and are given up when they are needed.
            kept = _numbers(group / "memory.stat").get(reclaimable, 0)
            yield Room(max(0, int(limit) - int(usage) + kept), int(limit))
        if group == root:
            return


def _numbers(path: Path) -> dict[str, int]:
    """The first number on each line, by the line's first word."""
    words = (line.split() for line in _text(path).splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
