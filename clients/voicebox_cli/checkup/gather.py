"""Gathers the facts, all within seconds: who may be slow is asked first and waited for last."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from voicebox_cli.checkup import cards, sound
from voicebox_cli.checkup.facts import Daemon, Facts, Place
from voicebox_cli.checkup.installed import merged, on_disk
from voicebox_client import Voicebox, door
from voicebox_protocol import __version__, endpoints, places
from voicebox_protocol.errors import BadPlace, VoiceboxError

# Of a daemon that is well, an answer takes milliseconds; the others begin with a process.
_DAEMON_S = 5.0
_OTHERS_S = 8.0
# The longest name that a socket of ours has: that of the providers' door, with the boot's name in it.
_LONGEST_SOCKET = "provider-0123456789abcdef.sock"


def gather() -> Facts:
    """Everything, within about fifteen seconds however little answers. Starts no daemon."""
    searched, heard = cards.Search(), sound.Search()
    began = time.monotonic()
    try:
        daemon, told = _daemon()
        config, problem = on_disk()
        looked_at = tuple(_places(problem))
    finally:
        # Both processes end in any case.
        found = searched.result(_left(began))
        heard_of = heard.result(_left(began))
    return Facts(
        version=__version__,
        python=platform.python_version(),
        platform=platform.platform(terse=True) + " " + platform.machine(),
        cores=os.cpu_count() or 1,
        memory=_memory(),
        places=looked_at,
        daemon=daemon,
        socket=os.path.join(places.runtime_path(), _LONGEST_SOCKET),  # noqa: PTH118
        socket_limit=endpoints.PATH_LIMIT,
        descriptors=_descriptors(),
        sound=heard_of,
        providers=tuple(merged(config, told)),
        cards=found,
    )


def _left(began: float) -> float:
    return max(0.5, began + _OTHERS_S - time.monotonic())


def _memory() -> tuple[int, int]:
    import psutil

    found = psutil.virtual_memory()
    return found.available, found.total


def _descriptors() -> int | None:
    """How many open files a daemon may have: it raises its own limit as far as it may."""
    if sys.platform == "win32":
        return None
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _daemon() -> tuple[Daemon, list[dict[str, Any]]]:
    """How the daemon is, and what it tells of its providers."""
    try:
        door.transport().connect_session(_DAEMON_S).close()
    except VoiceboxError:
        left_behind = Path(places.runtime_path(), "session.sock").exists()
        return Daemon("stale" if left_behind else "absent"), []
    try:
        with Voicebox(autostart=False, timeout=_DAEMON_S) as box:
            status = box.status()
    except VoiceboxError as error:
        return Daemon("mute", said=str(error), pid=_pid()), []
    own = status["daemon"]
    return Daemon("answers", pid=own["pid"], version=own["version"], uptime_s=own["uptime_s"]), status["providers"]


def _pid() -> int | None:
    """Who holds the lock, as it wrote there."""
    try:
        text = Path(places.runtime_path(), "lock").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _places(problem: str | None) -> Iterator[Place]:
    yield _place("sockets", places.runtime_dir, private=True)
    yield _place("data", places.data_dir)
    yield _place("logs", places.log_dir)
    config = places.config_file()
    yield Place("configuration", f"{config}" if config.exists() else f"{config} (none, all as it comes)", None, problem)


def _place(name: str, where: Callable[[], Path], *, private: bool = False) -> Place:
    """Whether we may write there, or make it; and what its disk has left."""
    path = where()
    there = next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
    try:
        free = shutil.disk_usage(there).free
        if private and path.exists():
            places.check_private(path)
    except BadPlace as error:
        return Place(name, str(path), None, str(error))
    except OSError as error:
        return Place(name, str(path), None, f"it cannot be looked at: {error.strerror}")
    if not there.is_dir():
        return Place(name, str(path), free, f"{there} is no directory; remove it, or choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        variable = places.RUNTIME_DIR if private else places.DATA_DIR
        return Place(name, str(path), free, f"you may not write to {there}; set {variable} to a directory of yours")
    return Place(name, str(path), free)
