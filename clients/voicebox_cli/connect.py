"""A connection to the daemon, as every command makes it: one older than this command line is told of, and replaced if idle."""

from __future__ import annotations

from voicebox_cli.main import complain
from voicebox_client import Daemon, Voicebox
from voicebox_client.door import autostart_allowed
from voicebox_protocol import __version__
from voicebox_protocol.errors import VoiceboxError

GONE_S = 10.0


def connect(*, autostart: bool, timeout: float = 10.0) -> Voicebox:
    """A connected Voicebox. With `autostart`, a daemon is started where none runs. `timeout` bounds each answer, in seconds."""
    box = Voicebox(autostart=autostart, timeout=timeout)
    try:
        daemon = box.connect()
        if daemon.version != __version__ and _is_older(daemon.version):
            complain(f"the running daemon is version {daemon.version}, older than this command line ({__version__})")
            if autostart and autostart_allowed() and daemon.mode in ("auto", "start"):
                _replace(box, daemon)
    except BaseException:
        box.close()
        raise
    return box


def _is_older(version: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(__version__)
    except InvalidVersion:
        return False


def _replace(box: Voicebox, daemon: Daemon) -> None:
    """Have an idle daemon end and start the installed one; a busy one stays and is worked with."""
    from voicebox_client import daemon_process

    with daemon_process.Vigil(daemon.pid) as vigil:
        try:
            box.shutdown(if_idle=True)
        except VoiceboxError as error:
            complain(f"it goes on as it is ({error})")
            return
        box.close()
        vigil.wait(GONE_S)
    daemon_process.start("--autostart" if daemon.mode == "auto" else "--started").close()
    complain(f"it was idle, and is now version {box.connect().version}")
