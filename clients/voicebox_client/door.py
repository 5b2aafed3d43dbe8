"""Finding the daemon: the session door, which a daemon opens last, so that whoever passes it finds the others open."""

from __future__ import annotations

import os
import socket

from voicebox_protocol import endpoints, places
from voicebox_protocol.errors import DaemonUnreachable

AUTOSTART = "VOICEBOX_AUTOSTART"


def transport() -> endpoints.Transport:
    """The way to the daemon of this user, as the environment stands now."""
    return endpoints.transport(places.runtime_path())


def is_running(timeout: float = 2.0) -> bool:
    """Whether a daemon answers at its door; never starts one."""
    try:
        transport().connect_session(timeout).close()
    except DaemonUnreachable:
        return False
    return True


def reach(*, autostart: bool, timeout: float) -> socket.socket:
    """A connection to the session door, behind a daemon that was started for it if there was none.

    Raises `DaemonUnreachable` where no daemon answers and none may or can be started.
    """
    try:
        return transport().connect_session(timeout)
    except DaemonUnreachable as error:
        if autostart and autostart_allowed():
            from voicebox_client import daemon_process

            return daemon_process.start("--autostart")
        raise DaemonUnreachable(f"{error}; start one with: voicebox daemon start{_forbidden(autostart)}") from None


def autostart_allowed() -> bool:
    """Whether the environment lets clients start a daemon."""
    return os.environ.get(AUTOSTART, "1").lower() not in ("0", "no", "off", "false")


def _forbidden(autostart: bool) -> str:
    wanted = autostart and not autostart_allowed()
    return f" ({AUTOSTART}={os.environ[AUTOSTART]} forbids starting one from here)" if wanted else ""
