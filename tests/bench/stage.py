"""A daemon with providers that have a standby and others that have none, and clients in the middle of a request."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import bulky
from tests.bench.listener import Onlooker, Speech
from tests.integration.daemon import Daemon, eventually, running
from tests.integration.wire_client import WireClient

SEED = 5
PROCESSES = {"warm": 2, "none": 1}
# Ten arrays of a tenth of a second. Two of them are given before the first process that speaks it stops.
SENTENCE = "Ten arrays"
GIVEN = 2

# A provider may die as often as the bench likes, and a process is never recycled for having spoken much.
KEPT = "keep_alive = -1\nrestart_budget = 1000\nrecycle_jobs = 0"
# After a start is over; the processors are to be at rest.
_SETTLE_S = 0.15


class Stage:
    """Owns a daemon's clients: one that listens and one that looks on."""

    def __init__(self, daemon: Daemon, flags: Path) -> None:
        self.place = daemon.place
        self.client = WireClient(daemon.place)
        self.onlooker = Onlooker(daemon)
        self._flags = flags
        self._whole: dict[tuple[str, str], bytes] = {}

    def close(self) -> None:
        self.client.close()
        self.onlooker.close()

    def say(self, provider: str, text: str) -> Speech:
        return Speech(self.client, text, provider=provider, seed=SEED)

    def prepare(self, provider: str, text: str) -> None:
        """Have the text said undisturbed, and by a process that has spoken before."""
        (self._flags / provider).touch()
        for _ in range(2):
            speech = self.say(provider, text)
            speech.rest()
        self._whole[provider, text] = speech.samples

    def at_rest(self, provider: str, processes: int) -> dict[str, Any]:
        """Wait until it has all the processes that it should have, and they rest."""
        entry = self.onlooker.at_rest(provider, processes)
        time.sleep(_SETTLE_S)
        return entry

    def stuck(self, provider: str) -> tuple[Speech, int]:
        """A request whose process has stopped giving sound in mid-sentence, when all that it gave has arrived; and that
        process."""
        flag = self._flags / provider
        flag.unlink()
        speech = self.say(provider, SENTENCE)
        while speech.pieces < GIVEN:
            speech.next_sound()
        eventually(flag.exists, "it has stopped")
        pid = self.onlooker.busy(provider)
        assert pid is not None
        speech.drain()
        assert speech.pieces == GIVEN
        return speech, pid

    def check(self, provider: str, text: str, speech: Speech) -> dict[str, Any]:
        """To the end: one process failed, another went on, and every sample is there; gives the end."""
        end = speech.rest()
        assert [run["outcome"] for run in end["attempts"]] == ["failed", "done"], end
        assert speech.samples == self._whole[provider, text], "it does not sound as it did undisturbed"
        return end


@contextmanager
def stage(fakes: Sequence[tuple[str, str, int]] = (), more: str = "") -> Iterator[Stage]:
    """`fakes`: id, standby and resident megabytes of providers that need no time to speak, and stop in mid-sentence when
    `Stage.stuck` says so. `more`: other tables of the configuration."""
    with tempfile.TemporaryDirectory(prefix="vb-") as flags:
        tables = [_table(provider, standby, megabytes, flags) for provider, standby, megabytes in fakes]
        with running("\n".join([*tables, more])) as daemon:
            made = Stage(daemon, Path(flags))
            try:
                yield made
            finally:
                made.close()


def halt(pid: int) -> None:
    """Stop a process, and wait until it has: it takes the signal only when a thread of it next gets a processor."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: _states(pid) == {"T"}, "it has stopped")


def _states(pid: int) -> set[str]:
    """Of its threads."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return {stat[stat.rindex(")") + 2] for stat in stats}


def _table(provider: str, standby: str, megabytes: int, flags: str) -> str:
    settings = {
        "resident_mb": megabytes,
        "ms_per_char": 100,
        "faults": [f"hang@speaking:{GIVEN}"],
        "fault_once": f"{flags}/{provider}",
    }
    inner = ", ".join(f"{name} = {value!r}" for name, value in settings.items())
    return (
        f'[provider.{provider}]\nengine = "{bulky.__file__}"\nstandby = "{standby}"\n{KEPT}\nsettings = {{ {inner} }}\n'
    )
