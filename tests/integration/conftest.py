"""Real daemons for tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.daemon import Daemon, running


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """One daemon with the built-in voice for the tests of a module that leave it as it was."""
    with running() as daemon:
        yield daemon


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon with the built-in voice for one test alone."""
    with running() as daemon:
        yield daemon
