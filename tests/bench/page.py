"""docs/performance.md: what each part found, when and on which machine, and what is not beaten.

The section of a part lies between comments that bear its name, so that one can be measured anew and the others stay.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
import zmq

from tests.bench.claims import Part, told_claims

PATH = Path(__file__).resolve().parents[2] / "docs" / "performance.md"

_PACKAGES = ("anyio", "msgspec", "psutil", "hibari-tts", "onnxruntime", "numpy")

_SECTION = re.compile(r"<!-- part (\w+) -->\n(.*?)<!-- end \1 -->\n", re.DOTALL)

_OPENING = """# How fast, measured

What a daemon between a program and its voice costs: on the control path, for the hand-off of sound, at start-up, and in memory. And
what its supervision costs and gains: from a provider's death to the listener's next sound, and what everybody else feels of it.
`tox -e bench` measures all of it on your machine and fails if a promise does not hold; `tox -e bench -- --only startup --write`
measures one part and puts it into this page. Each section says what is promised and whether it holds, and ends with the day, the
machine and the versions it was measured with. How it does beside speech-dispatcher stands in [rivals.md](rivals.md).

Everything runs as it does for a user: a daemon, its provider processes and a client, each a process of its own, on whatever
cores there are, unless a section says otherwise. What is compared is measured in one run, in turns, whose order is reversed in
every other round; a ratio is the median of the rounds' own ratios where nothing else is said. The 99th percentile of so few rounds
is nearly the slowest of them, and on a machine with two cores that others use as well it is mostly theirs.

Where ours is compared with the *HTTP design*, that is the same service as two web servers (FastAPI, uvicorn, httpx), which hand JSON
on with the samples in base64 and keep their connections open. `zmq.proxy` is ZeroMQ's own forwarder, written in C, which reads
nothing of what it forwards.
"""

_CLOSING = """## What is not beaten

- **Raw unix sockets.** They are faster than any ZeroMQ: over two hops between three processes, measured apart from this and on another
  machine, a round trip took 28 µs by asyncio and uvloop, and 77 µs through `zmq.proxy`, the fastest that ZeroMQ got. The hand-over
  to its I/O threads costs that. It is there for framing, routing and reconnecting; beside the tens of milliseconds that a voice
  takes for a sentence, either is nothing.
- **A program in C.** It starts far quicker than any Python: there, one that asked a question over a unix socket was done in 0.85 ms,
  where a Python that does nothing took 10 ms. `voicebox status` is held to the libraries it loads, not to that.
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


def write(name: str, parts: Sequence[Part], rounds: int, order: Sequence[str]) -> None:
    """Put what the part `name` found into the page, which is made if it is missing; `order` names every part there is."""
    old = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
    date = datetime.datetime.now(datetime.UTC).date()
    measured = f"{date}, {rounds} rounds. {machine()}. {versions()}."
    PATH.write_text(merged(old, {name: section(parts, measured)}, order), encoding="utf-8")


def section(parts: Sequence[Part], measured: str) -> str:
    """What one part of the bench found, with what is promised of it; `measured` says when, where and how often."""
    return "\n".join([*(with_claims(part) for part in parts), f"> {measured}\n"])


def merged(old: str, new: Mapping[str, str], order: Sequence[str]) -> str:
    """The page with the sections `new` by name, and those of `old` that are not among them; a name outside `order` is dropped."""
    sections = dict(_SECTION.findall(old)) | {name: f"\n{text}\n" for name, text in new.items()}
    told = (f"<!-- part {name} -->\n{sections[name]}<!-- end {name} -->\n" for name in order if name in sections)
    return "\n".join([_OPENING, *told, _CLOSING])


def with_claims(part: Part) -> str:
    """A part, and what is promised of it."""
    claims = f"\nPromised:\n\n{told_claims(part.claims)}" if part.claims else ""
    return f"{part.text()}{claims}"


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
