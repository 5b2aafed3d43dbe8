"""The daemon as a process: starting one that outlives its starter, and waiting until one has gone."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from voicebox_client import door
from voicebox_protocol import places
from voicebox_protocol.errors import BadPlace, DaemonUnreachable

_START_S = 15.0
_LOOK_EVERY_S = 0.005
# A loser of the instance lock leaves quietly, and the winner answers soon; if it does not, it was on its way out.
_WINNER_S = 0.5
_STDERR_MOST = 64 * 1024
_QUOTED_LINES = 5

# What a daemon gets of its starter's environment: nobody's API keys.
_NAMES = frozenset(
    ("PATH", "HOME", "TMPDIR", "LANG", "LANGUAGE", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS")
)
# Nothing starts on Windows without these.
_WINDOWS_NAMES = frozenset(
    (
        "SYSTEMROOT",
        "SYSTEMDRIVE",
        "WINDIR",
        "COMSPEC",
        "PATHEXT",
        "TEMP",
        "TMP",
        "USERPROFILE",
        "APPDATA",
        "LOCALAPPDATA",
    )
)
_PREFIXES = ("VOICEBOX_", "XDG_", "LC_", "PULSE_", "PIPEWIRE_")


def start(mode: str) -> socket.socket:
    """Start a daemon (`mode` is --autostart or --started) and return a connection to its session door.

    Raises `DaemonUnreachable` if none answers within 15 s, at once if it fails, with what it said on standard error.
    """
    until = time.monotonic() + _START_S
    while True:
        child = _Child(mode)
        try:
            if (reached := child.wait_for_door(until)) is not None:
                return reached
        finally:
            child.leave_alone()
        if time.monotonic() >= until:
            raise DaemonUnreachable(f"the daemon was started, but did not answer within {_START_S:g} s{child.said()}")


class _Child:
    """Owns one started process until it is left alone, and what it writes to standard error."""

    def __init__(self, mode: str) -> None:
        self._stderr = _stderr_path()
        with open(self._stderr, "ab", opener=_private) as stderr:
            self._from = stderr.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "voiceboxd", mode],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd="/",
                env=reduced_environment(os.environ),
                start_new_session=True,
                creationflags=_DETACHED,
            )

    def wait_for_door(self, until: float) -> socket.socket | None:
        """A connection to whichever daemon answers; None if this one left because of another, which went as well."""
        left_at: float | None = None
        while (now := time.monotonic()) < until:
            with contextlib.suppress(DaemonUnreachable):
                return door.transport().connect_session(until - now)
            if left_at is None and (status := self._process.poll()) is not None:
                if status != 0:
                    raise DaemonUnreachable(f"the daemon could not start (exit status {status}){self.said()}")
                left_at = now
            if left_at is not None and now - left_at > _WINNER_S:
                return None
            time.sleep(_LOOK_EVERY_S)
        return None

    def leave_alone(self) -> None:
        """Let it live on; a thread takes its exit status whenever it ends, so that no zombie stays."""
        if self._process.poll() is None:
            threading.Thread(target=self._process.wait, name="voicebox-reaper", daemon=True).start()

    def said(self) -> str:
        """The last lines of its standard error, as the end of a sentence."""
        with self._stderr.open("rb") as file:
            file.seek(self._from)
            lines = file.read(_STDERR_MOST).decode(errors="replace").strip().splitlines()
        return ": " + " | ".join(line.strip() for line in lines[-_QUOTED_LINES:]) if lines else ""


def reduced_environment(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What of an environment a daemon inherits."""
    return {
        name: value
        for name, value in environment.items()
        if name in _NAMES or name.upper() in _WINDOWS_NAMES or name.startswith(_PREFIXES)
    }


class Vigil:
    """Watches one process from before it is asked to end, so that its id cannot be taken for another's."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._descriptor: int | None = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._descriptor = os.pidfd_open(pid)

    def wait(self, timeout: float) -> bool:
        """Whether the process has ended within `timeout` seconds."""
        until = time.monotonic() + timeout
        while not self._gone():
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def __enter__(self) -> Vigil:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _gone(self) -> bool:
        if self._descriptor is not None:
            return bool(select.select([self._descriptor], [], [], 0)[0])
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _stderr_path() -> Path:
    """Where a daemon's standard error goes; begun anew when it has grown large."""
    path = places.log_dir() / "voiceboxd.stderr"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _STDERR_MOST:
            path.write_bytes(b"")
    except OSError as error:
        raise BadPlace(
            f"cannot write {path}: {error.strerror}; set {places.DATA_DIR} to a directory of yours"
        ) from None
    return path


if sys.platform == "win32":
    _DETACHED = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _DETACHED = 0
