"""`python -m voicebox_provider`: the provider process. The order matters and is told where it does."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from voicebox_provider import lifeline

if TYPE_CHECKING:
    from voicebox_protocol.startline import StartLine

EXIT_USAGE = 2

_START_LINE_S = 10.0


def main() -> int:
    """Run the engine that standard input names until the daemon is done with it; gives the exit code."""
    # First of all, so that no daemon that dies from here on leaves us behind.
    lifeline.die_with_parent()
    # A Ctrl-C in a terminal goes to the whole group; it is the daemon's to act upon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start = lifeline.read_start_line(_START_LINE_S)
    except (EOFError, TimeoutError, ValueError) as error:
        sys.stderr.write(f"voicebox_provider is started by voiceboxd, not by hand: {error}\n")
        return EXIT_USAGE
    if lifeline.is_orphan(start.parent_pid):
        return EXIT_USAGE
    return _serve(start)


def _serve(start: StartLine) -> int:
    from voicebox_provider.arena import open_arena
    from voicebox_provider.greeting import greet
    from voicebox_provider.link import Link

    # The engine is asked before the link is made, whose patience for Welcome counts from then on.
    arena = open_arena(start)
    greeting = greet(start, shares=arena is not None)
    link = Link(start, arena)
    link.open(greeting.hello)
    # numpy comes in with the runner: Hello has left by now, and the thread counts are fixed.
    from voicebox_provider.runner import Runner, report_fault
    from voicebox_provider.segment import Desk

    if isinstance(greeting.engine, Exception):
        return report_fault(link, start.epoch, greeting.engine)
    desk = Desk(start.provider, greeting.engine, greeting.own, greeting.offered, link, arena)
    return Runner(link, start.epoch, desk).run()


if __name__ == "__main__":
    sys.exit(main())
