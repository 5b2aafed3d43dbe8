"""Many clients at once: python -m tests.bench.crowd [--rounds 20]

Sixty-four clients, in one process with a poller, each of which asks again as soon as it has its answer, in windows that take turns:
a question to a provider of our daemon, typed and with a deadline, and one to an echo behind `zmq.proxy`; and speech, from an engine
that has its tenth of a second of sound already, which takes eight messages through the daemon where a question takes four. And in
windows of their own, what the others feel of one client that has asked for a lot and was stopped, and one that reads very slowly.
Everybody runs on whatever cores there are.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench import hindrance
from tests.bench.children import Child, child
from tests.bench.claims import Claim, Part, alone, in_turns, middle_and_late, p99, paired, told
from tests.bench.crowd_load import Window
from tests.bench.rivals import Service, ours, zmq_proxy
from voicebox_protocol.configuration import DaemonConfig

ROUNDS = 20
CLIENTS = 64
OTHERS = CLIENTS - len(hindrance.WAYS)
LEAST_OF_PROXY = 0.30
MOST_LATE_MS = 1000.0
MOST_HINDERED = 1.2

QUERY, SAY, PROXY = "query", "say", "proxy"
FREE, HINDERED = "free", "hindered"
NAMES = {
    PROXY: f"`zmq.proxy` and an echo, {CLIENTS} clients",
    QUERY: f"ours, a typed query with a deadline: the provider answers, {CLIENTS} clients",
    SAY: f"ours, `say`, {CLIENTS} clients",
    FREE: f"ours, `say`, {OTHERS} clients",
    HINDERED: f"ours, `say`, {OTHERS} clients, besides one that was stopped and a slow one",
}

_WINDOW_S = 1.5
_WARM_UP_S = 0.5
# Until what the stopped one may still have has been sent.
_SETTLE_S = 0.3
# As many as the clients may have asked for at once, the stopped one included.
_CONFIG = f"[daemon]\nmax_requests = {2 * DaemonConfig().max_requests}"

Found = dict[str, list[Window]]


def measure(rounds: int) -> list[Part]:
    found: Found = {name: [] for name in NAMES}
    with ours(_CONFIG, concurrency=CLIENTS) as daemon, zmq_proxy() as proxy, ExitStack() as stack:
        ask = {
            QUERY: stack.enter_context(child("crowd_load", QUERY, environment=daemon.environment)),
            SAY: stack.enter_context(child("crowd_load", SAY, environment=daemon.environment)),
            PROXY: stack.enter_context(child("crowd_load", PROXY, proxy.where)),
        }
        for one in ask.values():
            _window(one, CLIENTS, _WARM_UP_S)
        for turn in range(rounds):
            for name in in_turns(list(ask), turn):
                found[name].append(_window(ask[name], CLIENTS, _WINDOW_S))
            for name in in_turns((FREE, HINDERED), turn):
                with _bad_listeners(daemon if name == HINDERED else None):
                    found[name].append(_window(ask[SAY], OTHERS, _WINDOW_S))
    return [
        Part(
            "A crowd",
            f"Clients that ask again as soon as they have their answer, in windows of {_WINDOW_S:g} s in turns. The process that asks "
            "has the same cores as those that answer.",
            ("", "answers a second", "first message: median", "p99", "slowest", "whole answer: slowest"),
            [_row(name, windows) for name, windows in found.items()],
            _claims(found),
        )
    ]


def _row(name: str, windows: list[Window]) -> tuple[str, ...]:
    first = [one for window in windows for one in window.first]
    slowest = told(max(first), "ms"), told(max(one for window in windows for one in window.done), "ms")
    rate = statistics.median(window.rate for window in windows)
    return NAMES[name], f"{rate:.0f}", *middle_and_late(first), *slowest


def _claims(found: Found) -> list[Claim]:
    rate = paired([window.rate for window in found[QUERY]], [window.rate for window in found[PROXY]])
    late = max(one for name in (QUERY, SAY, FREE, HINDERED) for window in found[name] for one in window.done)
    hindered = paired([p99(window.first) for window in found[HINDERED]], [p99(window.first) for window in found[FREE]])
    return [
        Claim(
            f"{CLIENTS} clients: queries to a provider a second, to those of `zmq.proxy`",
            rate,
            LEAST_OF_PROXY,
            "×",
            at_least=True,
        ),
        Claim(f"{CLIENTS} clients: the latest message of all", late, MOST_LATE_MS, "ms"),
        Claim(
            "one client stopped and one slow: the others' first sound, p99, to that without them",
            hindered,
            MOST_HINDERED,
            "×",
        ),
    ]


def _window(crowd: Child, clients: int, seconds: float) -> Window:
    return Window(*crowd.ask("window", clients=clients, seconds=seconds))


@contextmanager
def _bad_listeners(daemon: Service | None) -> Iterator[None]:
    """Both of them are there meanwhile, if there is a daemon."""
    with ExitStack() as stack:
        for way in hindrance.WAYS if daemon else ():
            one = stack.enter_context(child("hindrance", way, environment=daemon.environment if daemon else None))
            assert one.line()
            if way == "stopped":
                os.kill(one.pid, signal.SIGSTOP)
        time.sleep(_SETTLE_S)
        yield


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__, ROUNDS))
