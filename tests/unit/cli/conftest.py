from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.unit.client.conftest import daemon, runtime_dir

__all__ = ["daemon", "runtime_dir"]

WAIT_S = 60.0

Voicebox = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def voicebox() -> Voicebox:
    """The command line in a process of its own, as users have it."""

    def run(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from voicebox_cli.main import run; run()", *arguments]
        known = {"stdin": subprocess.DEVNULL} if "input" not in how else {}
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, **{**known, **how})  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture(autouse=True)
def kept_signals() -> Iterator[None]:
    """`say` takes SIGTERM for itself; tests that run it in this process give it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
