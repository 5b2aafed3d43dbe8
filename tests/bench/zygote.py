"""The spare that was not built, against the one that was: python -m tests.bench.zygote [--rounds 20]

A *zygote* has the engine loaded, runs a single thread and never speaks; when a worker is needed it forks one, which shares its
memory until it writes to it, makes a connection and says Hello. A *standby* is a whole process more that has done all that.
Both run our own runner with the built-in voice, against a ROUTER that plays the daemon, and take turns with a process that is
started anew. The clock runs from the moment at which somebody is needed to the first sound of an ordinary sentence.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import psutil
import zmq

from tests.bench.claims import Part, Row, alone, in_turns, middle_and_late, paired
from tests.bench.texts import SENTENCES
from tests.unit.provider.fake_daemon import Provider, provider
from voicebox_protocol import endpoints
from voicebox_protocol.schema import Chunk, Ready, SegmentDone
from voicebox_protocol.startline import StartLine

ROUNDS = 20
SENTENCE = "Nobody had come down to the boats since the morning, when the wind had gone round to the north."
STANDBY, ZYGOTE, COLD = "standby", "zygote", "neither"
WAYS = (STANDBY, ZYGOTE, COLD)
PAIR, FORKED = "worker, spoken, and standby", "zygote, and worker forked from it, spoken"
_MEBIBYTE = 2**20

_CONCLUSION = """\
**The standby is kept.** A zygote would save {saved:.0f} MiB of {both:.0f}, and would be there for a second death in a
row, which finds the standby's successor still loading: {sooner:.0f} ms sooner than a start. But after every first
death the listener would wait {later:.0f} ms longer, because a forked process has its connection yet to make, and
copies each page that it writes to. And it holds only where forking does:

- Only the thread that forks is there afterwards, and a lock that another one held stays locked. The built-in voice
  runs one thread, but only just: with onnxruntime's telemetry on, or more than one in its setting `threads`, there
  are others, and PyTorch and OpenMP keep pools.
- CUDA does not survive a fork, and neither do Apple's frameworks, Metal among them. So it cannot be had for those
  engines that are too large to be held twice.
- A forked worker is not the daemon's child: the zygote would have to tell how it ended, and the kernel ends it when
  the zygote dies and not when the daemon does. Its lifeline and the page of its death notice would have to be handed
  over through a socket.
- The programs of others would need the standby all the same.

A zygote would be a second way beside the first, for engines of ours on the processor. Where memory is what counts,
`standby = "none"` saves more, and `auto` keeps no standby where a process takes more than a fortieth of what is free."""


class Memory(NamedTuple):
    """Mebibytes of several processes together: each page counted once, and what each has for itself."""

    shared_out: float
    own: tuple[float, ...]


class Round(NamedTuple):
    """One takeover. Milliseconds since it was needed; `states`: the memory at each moment of interest."""

    hello: float
    ready: float
    sound: float
    fork: float
    states: dict[str, Memory]
    crcs: list[int]
    threads: list[str]


def measure(rounds: int) -> list[Part]:
    found: dict[str, list[Round]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in in_turns(WAYS, turn):
            found[way].append(_PLAYED[way]())
    crcs = {tuple(one.crcs) for way in WAYS for one in found[way]}
    assert len(crcs) == 1, "a forked voice does not sound like a loaded one"
    threads = max((one.threads for one in found[ZYGOTE]), key=len)
    assert len(threads) == 1, f"the zygote had threads when it forked: {threads}"
    return [_times(found), _memory(found)]


def _times(found: dict[str, list[Round]]) -> Part:
    forks = middle_and_late([one.fork for one in found[ZYGOTE]])
    return Part(
        "Standby or zygote: how soon",
        "Who takes over, from the moment at which somebody is needed to the first sound of a sentence of 97 characters, whose making is "
        f"most of the standby's time. The zygote's `fork` itself takes {forks[0]} (p99 {forks[1]}). Ratios are to the standby.",
        ("", "Hello", "Ready", "first sound: median", "p99", "ratio"),
        [
            (
                way,
                *(_median(found[way], "hello"), _median(found[way], "ready")),
                *middle_and_late([one.sound for one in found[way]]),
                f"{paired([one.sound for one in found[way]], [one.sound for one in found[STANDBY]]):.2f}",
            )
            for way in WAYS
        ],
    )


def _median(found: list[Round], moment: str) -> str:
    value = statistics.median(getattr(one, moment) for one in found)
    return f"{value:.1f} ms" if value else "before"


def _memory(found: dict[str, list[Round]]) -> Part:
    rows: list[Row] = []
    for way in (COLD, STANDBY, ZYGOTE):
        for state in found[way][0].states:
            memories = [one.states[state] for one in found[way]]
            own = [statistics.median(column) for column in zip(*(memory.own for memory in memories), strict=True)]
            total = statistics.median(memory.shared_out for memory in memories)
            rows.append((state, f"{total:.0f} MiB", " + ".join(f"{each:.0f}" for each in own)))
    return Part(
        "Standby or zygote: how large",
        "Memory of all processes named, each page counted once (PSS), and what each has for itself alone (USS). *Spoken*: ten sentences.",
        ("", "together", "own"),
        rows,
        follows=_conclusion(found),
    )


def _conclusion(found: dict[str, list[Round]]) -> str:
    """Which of them is kept, and why."""

    def sound(way: str) -> float:
        return statistics.median(one.sound for one in found[way])

    def together(way: str, state: str) -> float:
        return statistics.median(one.states[state].shared_out for one in found[way])

    return _CONCLUSION.format(
        both=together(STANDBY, PAIR),
        saved=together(STANDBY, PAIR) - together(ZYGOTE, FORKED),
        sooner=sound(COLD) - sound(ZYGOTE),
        later=sound(ZYGOTE) - sound(STANDBY),
    )


# --- the three ways


def _by_standby() -> Round:
    with ExitStack() as stack:
        worker, standby = _started(stack), _started(stack)
        worker.load()
        standby.load()
        _speak(worker)
        states = {PAIR: memory(worker.process.pid, standby.process.pid)}
        _kill(worker.process.pid)
        worker.process.wait()
        needed = time.perf_counter()
        sound, crcs = _first_sound(standby, needed)
        _speak(standby)
        states["the standby alone, as worker, spoken"] = memory(standby.process.pid)
        return Round(0.0, 0.0, sound, 0.0, states, crcs, [])


def _by_zygote() -> Round:
    with ExitStack() as stack:
        zygote = stack.enter_context(_Zygote.running())
        worker = zygote.fork(stack)
        pid = _greeted(worker)
        worker.expect(Ready)
        _speak(worker)
        states = {FORKED: memory(zygote.pid, pid)}
        _kill(pid)
        needed = time.perf_counter()
        successor = zygote.fork(stack)
        pid = _greeted(successor)
        hello = time.perf_counter() - needed
        successor.expect(Ready)
        ready = time.perf_counter() - needed
        sound, crcs = _first_sound(successor, needed)
        states["zygote, and successor that has spoken one sentence"] = memory(zygote.pid, pid)
        _speak(successor)
        states["zygote, and successor, spoken"] = memory(zygote.pid, pid)
        return Round(hello * 1000, ready * 1000, sound, zygote.fork_ms, states, crcs, zygote.threads)


def _by_nobody() -> Round:
    with ExitStack() as stack:
        needed = time.perf_counter()
        worker = _started(stack)
        worker.greet()
        hello = time.perf_counter() - needed
        worker.expect(Ready)
        ready = time.perf_counter() - needed
        sound, crcs = _first_sound(worker, needed)
        _speak(worker)
        states = {"one worker, spoken": memory(worker.process.pid)}
        return Round(hello * 1000, ready * 1000, sound, 0.0, states, crcs, [])


_PLAYED = {STANDBY: _by_standby, ZYGOTE: _by_zygote, COLD: _by_nobody}


def _started(stack: ExitStack) -> Provider:
    return stack.enter_context(provider(stack.enter_context(_directory()), "builtin"))


def _greeted(peer: Provider) -> int:
    """Hello and Welcome; gives its process id."""
    pid = peer.greet().pid
    assert pid is not None
    return pid


def _first_sound(peer: Provider, needed: float) -> tuple[float, list[int]]:
    """Milliseconds until the first sound of the sentence came; and what it sounds like."""
    peer.ask(SENTENCE)
    chunk = peer.expect(Chunk)
    took = (time.perf_counter() - needed) * 1000
    return took, [*(crc for *_, crc in chunk.descriptors), *peer.answer().crcs()]


def _speak(peer: Provider) -> None:
    for sentence in SENTENCES:
        assert isinstance(peer.speak(sentence).end, SegmentDone)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vb-")


def memory(*pids: int) -> Memory:
    """Of processes that are there now."""
    found = [psutil.Process(pid).memory_full_info() for pid in pids]
    return Memory(sum(one.pss for one in found) / _MEBIBYTE, tuple(one.uss / _MEBIBYTE for one in found))


class _Zygote:
    """Owns the process that forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.fork_ms = 0.0
        self.threads: list[str] = []
        self._read()

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[_Zygote]:
        command = [sys.executable, "-m", "tests.bench.forking"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield cls(process)
            finally:
                process.kill()

    def fork(self, stack: ExitStack) -> Provider:
        """Have a worker forked; it has not said Hello yet."""
        context = stack.enter_context(zmq.Context())
        router = stack.enter_context(context.socket(zmq.ROUTER))
        endpoints.harden(router)
        address = f"ipc://{stack.enter_context(_directory())}/p.sock"
        router.bind(address)
        start = StartLine(address, "zygote", 3, secrets.token_hex(8), self.pid, "builtin")
        assert self._process.stdin is not None
        self._process.stdin.write(start.encode().decode())
        self._process.stdin.flush()
        self._read()
        return Provider(router, self._process, -1, start)  # type: ignore[arg-type]

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.threads, self.fork_ms = json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__, ROUNDS))
