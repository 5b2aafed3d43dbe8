"""From the start line to the end of the daemon, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING

from voicebox_protocol.errors import VoiceboxError
from voicebox_protocol.startline import StartLine

if TYPE_CHECKING:
    from voicebox_player.player import Output
    from voicebox_player.speaker import Speaker

EXIT_OK = 0
EXIT_LOST = 1
EXIT_USAGE = 2

_STDIN = 0
_START_LINE_S = 10.0
_LONGEST_START_LINE = 1024 * 1024
# So long a device's thread may wait for the interpreter. On two cores, one of them loaded, Python's own 5 ms made twice as many dropouts.
_SWITCH_S = 0.0005


def main() -> int:
    """Play for the daemon that standard input names until it goes; gives the exit code."""
    # A Ctrl-C in a terminal goes to the whole group; it is the daemon's to act upon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_S)
    try:
        start = _read_start_line()
        sink, page = str(start.settings["sink"]), str(start.settings["page"])
    except (EOFError, KeyError, TimeoutError, ValueError) as error:
        sys.stderr.write(f"voicebox_player is started by voiceboxd, not by hand: {type(error).__name__} {error}\n")
        return EXIT_USAGE
    try:
        _play(start, sink, page)
    except (VoiceboxError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return EXIT_LOST
    except Exception:
        traceback.print_exc()
        return EXIT_LOST
    return EXIT_OK


def _play(start: StartLine, sink: str, page_path: str) -> None:
    from voicebox_player.link import Link, wake_pair

    link = Link(start.token)
    # numpy and the rest come after Welcome: the daemon knows by then that we are there. It is to start no threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from voicebox_player.player import Player
    from voicebox_player.speaker import Speaker
    from voicebox_protocol.position import PositionPage

    page = PositionPage(page_path)
    woken, waker = wake_pair()
    position = page.read()
    frames = 0 if position is None or not sink.startswith("wav:") else position.device_frames
    speaker = Speaker(page, lambda: _wake(waker))
    output = _output(speaker, sink, frames, start.settings.get("device"))
    _warm_up()
    Player(link, speaker, output, woken).run()


def _output(speaker: Speaker, sink: str, frames: int, device: str | None) -> Output:
    if sink == "device":
        from voicebox_player.keeper import Keeper

        return Keeper(speaker, device)
    if sink != "null" and not sink.startswith("wav:/"):
        raise ValueError(f"the sink is {sink!r}; it is device, null or wav:/PATH")
    from voicebox_player.recording import Recorder

    return Recorder(speaker, sink, frames)


def _warm_up() -> None:
    """What the first sound would have to wait for."""
    import numpy as np

    from voicebox_player.playback import Playback
    from voicebox_player.speaker import RATE

    trial = Playback(RATE)
    trial.begin("", RATE // 2, 0, 0)
    trial.append("", 0, np.zeros(RATE // 20, np.float32))
    trial.pull(RATE // 100)


def _wake(waker: socket.socket) -> None:
    # One that is full wakes anyhow.
    with contextlib.suppress(BlockingIOError):
        waker.send(b"\0")


def _read_start_line() -> StartLine:
    """Raises `ValueError` for anything else, `EOFError` if the daemon went away first, `TimeoutError`."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _LONGEST_START_LINE:
            raise ValueError(f"no start line within {_LONGEST_START_LINE} bytes")
        # select() takes no pipes on Windows; there the daemon's own deadline for Hello has to do.
        if sys.platform != "win32" and not select.select([_STDIN], [], [], _START_LINE_S)[0]:
            raise TimeoutError(f"no start line within {_START_LINE_S:g} s")
        if not (part := os.read(_STDIN, 65536)):
            raise EOFError("standard input ended before the start line")
        line += part
    return StartLine.decode(line)
