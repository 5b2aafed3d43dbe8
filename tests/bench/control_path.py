"""What a small question costs on its way: python -m tests.bench.control_path [--rounds 50]

Client, daemon and provider are a process each and share one core: where the scheduler puts them otherwise changes the price of
a message by more than is measured. In turns, a hundred at a time by a client that waits for each answer: a message of 96 bytes
through `zmq.proxy` to an echo and back; a small JSON question with a deadline by the HTTP design; `status`, which our daemon
answers itself; and `say`, to an engine that has its tenth of a second of sound already: until that is there, and until the end.
And what nothing on ZeroMQ can be: the same 96 bytes by plain unix sockets.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from tests.bench import prepared
from tests.bench.children import Child, child, cores, on_one_core
from tests.bench.claims import Claim, Part, Row, alone, in_turns, middle_and_late, paired
from tests.bench.rivals import PROVIDER, http_design, ours, unix_sockets, voice_client, zmq_proxy

MOST_QUERY = 2.6
LEAST_HTTP_QUERY = 8.0
MOST_FIRST = 4.0

UNIX, PROXY, HTTP, STATUS, QUERY, SAY = "unix", "proxy", "http", "status", "query", "say"
FIRST, DONE = "first", "done"
NAMES = {
    UNIX: "plain unix sockets and an echo",
    PROXY: "`zmq.proxy` and an echo",
    HTTP: "HTTP design, a small question",
    STATUS: "ours, `status`: the daemon answers",
    QUERY: "ours, a typed query with a deadline: the provider answers",
    FIRST: "ours, `say` to the first 0.1 s of sound",
    DONE: "ours, `say` to its end",
}
SENTENCE = prepared.text(100)

_COUNT = 100
_WARM_UPS = 3

Ask = Callable[[], dict[str, list[float]]]
# Of each round, the microseconds of every single answer.
Found = dict[str, list[list[float]]]


def measure(rounds: int) -> list[Part]:
    found: Found = {}
    with on_one_core(), _askers() as askers:
        names = list(askers)
        for _ in range(_WARM_UPS):
            for name in names:
                askers[name]()
        for turn in range(rounds):
            for name in in_turns(names, turn):
                for what, times in askers[name]().items():
                    found.setdefault(what, []).append([1000 * one for one in times])
    return [
        Part(
            "The control path",
            f"Round trips of small messages, {_COUNT} at a time in turns, every process on the same core; ratios are those of each "
            "turn's medians. What cannot be beaten on ZeroMQ is its own forwarder, and plain unix sockets take "
            f"{_ratio(found, UNIX, PROXY):.2f} times as long as that: they frame nothing, queue nothing and serve one peer. Both are "
            "little beside the time in which an engine makes its first sound.",
            ("", "round trips", "median", "p99", f"to {NAMES[PROXY]}", "HTTP design to it"),
            [_row(found, what) for what in NAMES if what in found],
            _claims(found),
        )
    ]


def _claims(found: Found) -> list[Claim]:
    first = _ratio(found, FIRST, PROXY)
    return [
        Claim("`say` to the first 0.1 s of sound, to a message through `zmq.proxy`: medians", first, MOST_FIRST, "×"),
        Claim("a query to a provider, to a message through `zmq.proxy`", _ratio(found, QUERY, PROXY), MOST_QUERY, "×"),
        Claim(
            "the HTTP design's question, to a query to a provider",
            _ratio(found, HTTP, QUERY),
            LEAST_HTTP_QUERY,
            "×",
            at_least=True,
        ),
    ]


def _row(found: Found, what: str) -> Row:
    times = [one for turn in found[what] for one in turn]
    ratios = f"{_ratio(found, what, PROXY):.2f}", f"{_ratio(found, HTTP, what):.2f}"
    return NAMES[what], str(len(times)), *middle_and_late(times, "µs"), *ratios


def _ratio(found: Found, of: str, to: str) -> float:
    return paired(*([statistics.median(turn) for turn in found[what]] for what in (of, to)))


@contextmanager
def _askers() -> Iterator[dict[str, Ask]]:
    """Who asks a hundred times, one after the other, and tells the milliseconds of each."""
    with ExitStack() as stack:
        enter = stack.enter_context
        proxy, http, daemon = enter(zmq_proxy()), enter(http_design()), enter(ours())
        sockets = enter(unix_sockets())
        through_sockets = enter(child("unix_forwarder", "client", sockets.where))
        through_proxy = enter(child("zmq_forwarder", "client", proxy.where))
        web, voice = enter(child("http_client", http.where)), enter(voice_client(daemon))
        askers: dict[str, Ask] = {
            UNIX: partial(_asked, UNIX, through_sockets, "questions"),
            PROXY: partial(_asked, PROXY, through_proxy, "questions"),
            HTTP: partial(_asked, HTTP, web, "questions"),
            STATUS: partial(_asked, STATUS, voice, "status"),
            QUERY: partial(_query, voice),
            SAY: partial(_said, voice),
        }
        for ask in askers.values():
            ask()
        children = [one.pid for one in (through_sockets, through_proxy, web, voice)]
        assert len(cores([*sockets.pids, *proxy.pids, *http.pids, *daemon.pids, *children])) == 1, (
            "somebody has a core of his own"
        )
        yield askers


def _asked(name: str, client: Child, what: str) -> dict[str, list[float]]:
    return {name: client.ask(what, count=_COUNT)}


def _said(client: Child) -> dict[str, list[float]]:
    first, done = zip(*client.ask("first", provider=PROVIDER, said=SENTENCE, count=_COUNT), strict=True)
    return {FIRST: list(first), DONE: list(done)}


def _query(client: Child) -> dict[str, list[float]]:
    return {QUERY: client.ask("ping", provider=PROVIDER, count=_COUNT)}


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
