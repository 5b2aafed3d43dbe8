"""A short storm: whatever comes together, every request ends once and honestly, and the daemon is afterwards as it was."""

from __future__ import annotations

import pytest

from tests.chaos import storm

pytestmark = pytest.mark.timeout(300)


def test_a_storm_passes_and_leaves_nothing() -> None:
    report = storm.run(seconds=4.0, seed=1)
    assert not report.wrong
    assert report.struck > 0
