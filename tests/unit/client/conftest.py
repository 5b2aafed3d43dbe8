from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.client.fake_daemon import FakeDaemon
from voicebox_protocol import places


@pytest.fixture
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory whose path leaves room for a socket's name, and where nobody starts a real daemon."""
    with tempfile.TemporaryDirectory(prefix="vb") as path:
        monkeypatch.setenv(places.RUNTIME_DIR, path)
        monkeypatch.setenv(places.DATA_DIR, path + "/data")
        monkeypatch.setenv("VOICEBOX_AUTOSTART", "0")
        yield Path(path)


@pytest.fixture
def daemon(runtime_dir: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(runtime_dir) as running:
        yield running
