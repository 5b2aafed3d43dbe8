"""What is heard: a sound server of its own with a loudspeaker that nobody hears, and an ear at it.

The loudspeaker is PulseAudio's null sink, which plays in real time into nothing; what it plays can be recorded at its monitor.
Both daemons play there by their own means, so that "heard" is the same for both. What the server and the recorder add (a few
milliseconds) is in every figure of either.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

RATE = 44100
# An espeak voice is a hundred times as loud, and a null sink's silence is exactly nothing.
_LOUD = 32
# Between two loud samples of one sound there are never so many seconds.
_APART_S = 0.03
# A second or two of them.
_BLOCKS = 200
_LOOK_S = 0.001
_START_S = 10.0


class Span(NamedTuple):
    """Sound without a pause, in seconds of `time.perf_counter`."""

    begin: float
    end: float


def extended(spans: Sequence[Span], loud: Sequence[float]) -> list[Span]:
    """The spans, and what follows from the times of further loud samples, which are in order."""
    found = list(spans)
    for at in loud:
        if found and at - found[-1].end <= _APART_S:
            found[-1] = Span(found[-1].begin, max(at, found[-1].end))
        else:
            found.append(Span(at, at))
    return found


def first_after(spans: Sequence[Span], since: float) -> float | None:
    """When the first sound after that moment was heard; one that had begun before does not count."""
    return next((span.begin for span in spans if span.begin >= since), None)


def sounding(spans: Sequence[Span], since: float) -> float:
    """For how many seconds there was sound."""
    return sum(max(0.0, span.end - max(span.begin, since)) for span in spans)


def longest_silence(spans: Sequence[Span], since: float, until: float) -> float:
    """The longest time between the two moments in which nothing was heard, in seconds."""
    heard = [Span(max(span.begin, since), min(span.end, until)) for span in spans if span.end > since]
    edges = [since, *(edge for span in heard if span.begin < until for edge in span), until]
    return max(after - before for before, after in zip(edges[::2], edges[1::2], strict=True))


class SampleClock:
    """Tells when a sample was played, by counting: a block that its reader came late to has not been played later.

    Owns how far the last blocks' arrivals were behind their count; the one that was least behind counts. Only the last ones,
    because a recorder that had to drop samples counts too few from then on.
    """

    def __init__(self) -> None:
        self._counted = 0
        self._behind: deque[float] = deque(maxlen=_BLOCKS)

    def begin(self, arrived: float, samples: int) -> float:
        """When the first sample of the block was played that arrived now."""
        begun = self._counted / RATE
        self._counted += samples
        self._behind.append(arrived - self._counted / RATE)
        return begun + min(self._behind)


class Ear:
    """Owns the spans that were heard so far; a thread of its own listens."""

    def __init__(self, recorder: subprocess.Popen[bytes]) -> None:
        assert recorder.stdout is not None
        self._pipe = recorder.stdout.fileno()
        self._spans: list[Span] = []
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def spans(self) -> list[Span]:
        return self._spans

    def since(self, moment: float) -> list[Span]:
        """What was heard after that moment."""
        return [span for span in self._spans if span.end >= moment]

    def first(self, since: float, within: float) -> float | None:
        """When the first sound after `since` is heard, or None if that takes longer than `within` seconds."""
        patiently(lambda: first_after(self._spans, since) is not None, since + within)
        return first_after(self._spans, since)

    def quiet_for(self, since: float) -> float:
        """For how long nothing has been heard; before `since` there was sound."""
        return time.perf_counter() - max(since, self._spans[-1].end if self._spans else since)

    def quiet(self, for_s: float = 0.3) -> None:
        """Wait until nothing has been heard for a while."""
        patiently(lambda: self.quiet_for(0.0) > for_s, time.perf_counter() + 60.0)

    def _listen(self) -> None:
        clock, odd = SampleClock(), b""
        while read := os.read(self._pipe, 1 << 16):
            block = odd + read
            samples = np.frombuffer(block[: len(block) // 2 * 2], np.int16)
            odd = block[2 * len(samples) :]
            begun = clock.begin(time.perf_counter(), len(samples))
            (loud,) = np.nonzero(np.abs(samples.astype(np.int32)) >= _LOUD)
            # One of each millisecond is enough.
            kept = loud[np.diff(loud // (RATE // 1000), prepend=-1) != 0] if len(loud) else loud
            self._spans = extended(self._spans, [begun + index / RATE for index in kept.tolist()])


class Server(NamedTuple):
    """A sound server: what a program's environment must say to play there, and its process."""

    environment: dict[str, str]
    pid: int


class Sink(NamedTuple):
    """A loudspeaker: what a program's environment must say to play there, and who hears it."""

    environment: dict[str, str]
    ear: Ear


@contextlib.contextmanager
def server(rate: int = RATE, form: str = "s16le") -> Iterator[Server]:
    """A sound server of its own, whose loudspeaker takes samples of this rate and form; ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="vb-") as directory, _ended(_server(directory, rate, form)) as process:
        patiently(Path(directory, "socket").exists, time.perf_counter() + _START_S)
        yield Server({"PULSE_SERVER": f"unix:{directory}/socket", "PULSE_RUNTIME_PATH": directory}, process.pid)


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    """A sound server of its own, and an ear at it."""
    with server() as made, ear(made) as listening:
        yield Sink(made.environment, listening)


@contextlib.contextmanager
def ear(at: Server) -> Iterator[Ear]:
    """Hears what a server of the usual rate and form plays."""
    with recorder(at) as process:
        yield Ear(process)


@contextlib.contextmanager
def recorder(at: Server, rate: int = RATE, form: str = "s16le") -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes what is played to its standard output, as it comes."""
    with _ended(_recorder(at.environment, rate, form)) as process:
        yield process


def patiently(what: Callable[[], bool], until: float) -> bool:
    """Look again and again until it is so; gives whether it was in time."""
    while not what():
        if time.perf_counter() >= until:
            return False
        time.sleep(_LOOK_S)
    return True


def _server(directory: str, rate: int, form: str) -> subprocess.Popen[bytes]:
    modules = (
        f"module-null-sink sink_name=out rate={rate} format={form} channels=1",
        f"module-native-protocol-unix socket={directory}/socket auth-anonymous=1",
    )
    loaded = [word for module in modules for word in ("-L", module)]
    alone = ("-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1")
    return subprocess.Popen(
        ["pulseaudio", *alone, *loaded],
        env={**os.environ, "HOME": directory, "XDG_RUNTIME_DIR": directory, "XDG_CONFIG_HOME": directory},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _recorder(environment: dict[str, str], rate: int, form: str) -> subprocess.Popen[bytes]:
    options = ("--raw", f"--format={form}", f"--rate={rate}", "--channels=1", "--latency-msec=5")
    return subprocess.Popen(
        ["parec", "-d", "out.monitor", *options],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
