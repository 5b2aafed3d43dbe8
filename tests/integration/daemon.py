"""A real daemon in places of its own, started and ended by a test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.integration.wire_client import WireClient
from voicebox_protocol import endpoints
from voicebox_protocol.errors import DaemonUnreachable

DEADLINE = 60.0


def eventually(what: Callable[[], Any], why: str, within: float = DEADLINE) -> Any:
    """The first true value of `what`; fails after `within` seconds, which only ever bounds a failure."""
    end = time.monotonic() + within
    while not (value := what()):
        assert time.monotonic() < end, f"not within {within} s: {why}"
        time.sleep(0.02)
    return value


class Place:
    """Directories of its own for one daemon, and the environment that leads there."""

    def __init__(self, config: str = "", **environment: str) -> None:
        # Not below pytest's directory: a socket's path has at most 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="vb-"))
        self.runtime = self.root / "run"
        self.log = self.root / "data" / "state" / "log"
        (self.root / "config.toml").write_text(config)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.environment = {
            **kept,
            # The commands of the environment that the tests run in, activated or not.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
            "VOICEBOX_RUNTIME_DIR": str(self.runtime),
            "VOICEBOX_DATA_DIR": str(self.root / "data"),
            "VOICEBOX_CONFIG": str(self.root / "config.toml"),
            **environment,
        }

    def run(self, *command: str, timeout: float = DEADLINE, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in this place's environment."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False, **options
        )

    def voicebox(self, *arguments: str, timeout: float = DEADLINE, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run(sys.executable, "-m", "voicebox_cli", *arguments, timeout=timeout, **options)

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program that the test ends itself."""
        return subprocess.Popen(command, env=self.environment, text=True, **options)

    def answers(self) -> bool:
        """Whether a daemon listens here."""
        try:
            with self.transport().connect_session(1.0):
                return True
        except (DaemonUnreachable, OSError):
            return False

    def transport(self) -> endpoints.Transport:
        if self.environment.get(endpoints.TRANSPORT) == "curve":
            return endpoints.CurveTransport(self.runtime)
        return endpoints.IpcTransport(self.runtime)

    def processes(self) -> list[psutil.Process]:
        """Every process of this place, daemons and providers, found by their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environment = process.environ()
                if environment.get("VOICEBOX_RUNTIME_DIR") == str(self.runtime) and process.pid != os.getpid():
                    found.append(process)
        return found

    def daemons(self) -> list[psutil.Process]:
        return [p for p in self.processes() if _runs(p, "voiceboxd")]

    def providers(self) -> list[psutil.Process]:
        return [p for p in self.processes() if _runs(p, "voicebox_provider")]

    def remove(self) -> None:
        """End what still runs here and remove the directories."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)


class Daemon:
    """One `voiceboxd`, in the foreground unless `how` it is started says otherwise."""

    def __init__(self, place: Place, how: str = "--foreground") -> None:
        self.place = place
        self.output = place.root / "voiceboxd.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "voiceboxd", how],
                env=place.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: self.place.answers() or self.process.poll() is not None, "the daemon answers")
        assert self.process.poll() is None, self.output.read_text()

    @property
    def pid(self) -> int:
        return self.process.pid

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with WireClient(self.place, attach=False) as client:
            client.send("Status", query=1)
            status: dict[str, Any] = client.receive()[0]["status"]
            return status

    def log(self) -> list[dict[str, Any]]:
        """Its log so far."""
        lines = (self.place.log / "voiceboxd.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def terminate(self, within: float = 15.0) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


@contextlib.contextmanager
def running(config: str = "", *, how: str = "--foreground", **environment: str) -> Iterator[Daemon]:
    """A daemon in a place of its own, ended and removed afterwards."""
    place = Place(config, **environment)
    daemon = Daemon(place, how)
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        place.remove()


def _runs(process: psutil.Process, module: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return module in process.cmdline()
    return False
