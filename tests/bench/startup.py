"""How soon a program is there, and how large it is at rest: python -m tests.bench.startup [--rounds 50]

Starts are told as multiples of what Python itself takes, in turns: `voicebox status` of a daemon that runs, to a Python that
imports the three libraries that it cannot do without; and a daemon, from its start to the answer to its first question, to a
Python that does nothing. Memory is what a process has for itself (USS), of all of them at once because they share libraries: our
daemon, the daemon of the HTTP design, and a process that has what ours stands on, and does nothing with it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.bench.children import child
from tests.bench.claims import Claim, Part, Row, alone, in_turns, middle_and_late, paired, told
from tests.bench.rivals import AS_A_SERVICE, http_design
from tests.integration.daemon import DEADLINE, Place, running
from tests.integration.wire_client import WireClient

MOST_STATUS = 1.25
MOST_READY = 14.0
MOST_OF_BARE = 1.35
MOST_OF_HTTP = 0.5

STATUS, LIBRARIES, READY, NOTHING = "status", "libraries", "ready", "nothing"
NAMES = {
    STATUS: "`voicebox status`",
    LIBRARIES: "`python -c 'import click, zmq, msgpack'`",
    READY: "`voiceboxd`, until its first answer",
    NOTHING: "`python -c pass`",
}
# What each start is measured by.
UNITS = {STATUS: LIBRARIES, LIBRARIES: LIBRARIES, READY: NOTHING, NOTHING: NOTHING}

DAEMON, BARE, HTTP = "daemon", "bare", "http"
_PROCESSES = {
    DAEMON: "`voiceboxd`",
    BARE: "anyio, zmq, msgpack and msgspec, two ROUTERs bound",
    HTTP: "FastAPI, uvicorn, httpx and numpy: the daemon of the HTTP design",
}
_VOICEBOX = Path(sys.executable).with_name("voicebox")
_LOOK_S = 0.001
# What a start leaves to do later is done by then.
_REST_S = 2.0
_LOOKS = 5
_MEBIBYTE = 2**20


def measure(rounds: int) -> list[Part]:
    return [_starts(rounds), _memory()]


# --- starts


def _starts(rounds: int) -> Part:
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    with running(how=AS_A_SERVICE) as daemon:
        ways: dict[str, Callable[[], float]] = {
            STATUS: lambda: _command(daemon.place, str(_VOICEBOX), "status"),
            LIBRARIES: lambda: _command(daemon.place, sys.executable, "-c", "import click, zmq, msgpack"),
            READY: _ready,
            NOTHING: lambda: _command(daemon.place, sys.executable, "-c", "pass"),
        }
        for way in ways.values():
            way()
        for turn in range(rounds):
            for name in in_turns(list(ways), turn):
                found[name].append(ways[name]())
    ratio = {name: paired(found[name], found[unit]) for name, unit in UNITS.items()}
    return Part(
        "Starts",
        "From the start of the process to its end; of the daemon to the answer to a `Status` that waits at its door.",
        ("", "median", "p99", "to", "ratio"),
        [_start_row(name, found[name], ratio[name]) for name in NAMES],
        [
            Claim(f"{NAMES[STATUS]}, to {NAMES[LIBRARIES]}", ratio[STATUS], MOST_STATUS, "×"),
            Claim(f"{NAMES[READY]}, to {NAMES[NOTHING]}", ratio[READY], MOST_READY, "×"),
        ],
    )


def _start_row(name: str, times: list[float], ratio: float) -> Row:
    return NAMES[name], *middle_and_late(times), NAMES[UNITS[name]], f"{ratio:.2f}"


def _command(place: Place, *command: str) -> float:
    """Milliseconds from its start to its end."""
    begun = time.perf_counter()
    subprocess.run(command, env=place.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1000


def _ready() -> float:
    """Milliseconds from a daemon's start until it has answered."""
    place = Place()
    try:
        begun = time.perf_counter()
        process = place.popen(
            sys.executable, "-m", "voiceboxd", AS_A_SERVICE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return (_answered(place, process) - begun) * 1000
        finally:
            process.kill()
            process.wait()
    finally:
        place.remove()


def _answered(place: Place, process: subprocess.Popen[str]) -> float:
    """When it has answered."""
    until = time.monotonic() + DEADLINE
    while not place.answers():
        assert process.poll() is None, f"the daemon ended with {process.returncode}"
        assert time.monotonic() < until, f"no daemon within {DEADLINE:g} s"
        time.sleep(_LOOK_S)
    with WireClient(place, attach=False) as client:
        client.send("Status", query=1)
        assert client.receive()[0]["kind"] == "StatusReply"
        return time.perf_counter()


# --- memory


def _memory() -> Part:
    own = _own_memory()
    daemon = own[DAEMON]
    return Part(
        "Memory at rest",
        "What each process has for itself alone (USS), with nothing asked of it yet, while all of them are there; the median of "
        f"{_LOOKS} looks.",
        ("", "its own", "ours to it"),
        [(what, told(own[name], "MiB"), f"{daemon / own[name]:.2f}") for name, what in _PROCESSES.items()],
        [
            Claim("memory of the daemon at rest, to what it stands on", daemon / own[BARE], MOST_OF_BARE, "×"),
            Claim("memory of the daemon at rest, to the HTTP design's", daemon / own[HTTP], MOST_OF_HTTP, "×"),
        ],
    )


def _own_memory() -> dict[str, float]:
    """Mebibytes."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="vb-"))
        bare = stack.enter_context(child("bare", directory))
        assert bare.line()
        pids = {
            DAEMON: stack.enter_context(running(how=AS_A_SERVICE)).pid,
            BARE: bare.pid,
            HTTP: stack.enter_context(http_design()).pids[0],
        }
        looks = []
        for _ in range(_LOOKS):
            time.sleep(_REST_S)
            looks.append({name: psutil.Process(pid).memory_full_info().uss for name, pid in pids.items()})
        return {name: statistics.median(look[name] for look in looks) / _MEBIBYTE for name in pids}


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
