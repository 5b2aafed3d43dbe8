from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory whose path leaves room for a socket's name; pytest's own may be too long."""
    with tempfile.TemporaryDirectory(prefix="vb") as path:
        yield Path(path)
