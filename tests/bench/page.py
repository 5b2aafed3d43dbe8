"""docs/performance.md: what was found, on which machine, and what is not beaten."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
import zmq

from tests.bench.claims import Part, told_claims

PATH = Path(__file__).resolve().parents[2] / "docs" / "performance.md"

_PACKAGES = ("anyio", "msgspec", "psutil", "hibari-tts", "onnxruntime", "numpy")

_OPENING = """# How fast, measured

What supervision costs and what it gains: from a provider's death to the listener's next sound, and what everybody else feels of
it. `tox -e bench` measures it on your machine and fails if a promise does not hold. This page is what
`tox -e bench -- --write` wrote:

> {date}, {rounds} rounds. {machine}. {versions}.

Everything runs as it does for a user: a daemon, its provider processes and a client, each a process of its own, on whatever
cores there are. What is compared is measured in one run, in turns, whose order is reversed in every other round; a ratio is the
median of the rounds' own ratios where nothing else is said. The 99th percentile of so few rounds is nearly the slowest of them,
and on a machine with two cores that others use as well it is mostly theirs.

## Promised

{claims}"""

_CLOSING = """## What is not beaten

- **The voice itself.** A sentence that breaks off is said again, unheard as far as it had been heard. Only an engine that hands its
  state over could do with less. One that streams waits less for its first new sound than one that gives a sentence at once.
- **A start.** Two deaths within the time that a start takes find one standby. The second waits as if there had been none.
- **The kernel.** It frees a dead process's memory, which takes a tenth of a second of a processor for each gigabyte, before it says
  that the process is gone. The notice comes sooner; the memory does not, nor does that of an accelerator.
- **Silence.** A process whose engine holds the interpreter's lock is as silent as one that was stopped, and may come back. So its
  work moves after three seconds; who knows the engine better may set `suspect_s`.
- **Two cores.** The sound that goes on, the successor's start and the dead process's memory want them at the same time, and two
  workers share them with the daemon and the client.

Not measured: accelerators, macOS, Windows, engines of many gigabytes.
"""


def write(parts: Sequence[Part], rounds: int) -> None:
    """Replace the page."""
    claims = told_claims([claim for part in parts for claim in part.claims])
    opening = _OPENING.format(
        date=datetime.datetime.now(datetime.UTC).date(),
        machine=machine(),
        versions=versions(),
        rounds=rounds,
        claims=claims,
    )
    PATH.write_text("\n".join([opening, *(part.text() for part in parts), _CLOSING]), encoding="utf-8")


def machine() -> str:
    """The machine in words."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.system()} {platform.release()}, {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def versions() -> str:
    """What ran."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    sockets = f"pyzmq {zmq.__version__} with libzmq {zmq.zmq_version()}"
    return f"voiceboxd {version('voiceboxd')}, Python {platform.python_version()}, {sockets}, {packages}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
