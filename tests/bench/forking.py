"""The process that forks, for tests.bench.zygote: python -m tests.bench.forking

It loads the built-in voice, and forks a worker for each start line that comes on standard input. On standard output it says, as
soon as it is loaded and after each fork, which threads it had before and how many milliseconds the fork took.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from voicebox_protocol.startline import StartLine
from voicebox_provider import lifeline
from voicebox_provider.engine import Engine, Extend
from voicebox_provider.greeting import Greeting, greet


def main() -> int:
    """Gives the exit code, once standard input has ended."""
    lifeline.die_with_parent()
    greeting = greet(StartLine("", "zygote", 0, "", 0, "builtin"))
    loaded(greeting).load(lambda *_: None)
    # All that a worker needs is to be there, and the collector is to leave it alone: it would write to every page.
    import voicebox_provider.link
    import voicebox_provider.runner  # noqa: F401

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    lifelines: list[int] = []
    tell(threads(), 0.0)
    for line in sys.stdin:
        reading, writing = os.pipe()
        before, begun = threads(), time.perf_counter()
        if os.fork() == 0:
            os.dup2(reading, lifeline.STDIN)
            os.close(writing)
            os._exit(work(StartLine.decode(line.encode()), greeting))
        tell(before, (time.perf_counter() - begun) * 1000)
        os.close(reading)
        lifelines.append(writing)
    return 0


def work(start: StartLine, greeting: Greeting) -> int:
    """In the worker: what `voicebox_provider.__main__` does, with an engine that is loaded already."""
    from voicebox_provider.link import Link
    from voicebox_provider.runner import Runner
    from voicebox_provider.segment import Desk

    # With the zygote, which dies with the daemon: of that it is no child.
    lifeline.die_with_parent()
    engine = loaded(greeting)
    engine.load = nothing_left_to_load  # type: ignore[method-assign]
    link = Link(start)
    link.open(msgspec.structs.replace(greeting.hello, token=start.token, epoch=start.epoch, pid=os.getpid()))
    return Runner(link, start.epoch, Desk(start.provider, engine, greeting.own, greeting.offered, link)).run()


def loaded(greeting: Greeting) -> Engine:
    """The engine; raises what kept it from being made."""
    if isinstance(greeting.engine, Exception):
        raise greeting.engine
    return greeting.engine


def nothing_left_to_load(extend: Extend) -> None:
    """The forked engine's `load`."""


def threads() -> list[str]:
    """The names of this process's threads, those of native libraries among them."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def tell(before: list[str], milliseconds: float) -> None:
    print(json.dumps([before, milliseconds]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
