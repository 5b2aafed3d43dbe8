from __future__ import annotations

import os

import pytest

from voicebox_provider.engine import PermanentFault
from voicebox_provider.native_threads import pin, thread_count


def test_one_thread_unless_the_settings_say_otherwise() -> None:
    assert thread_count({}) == 1
    assert thread_count({"threads": 4}) == 4


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, None, 10**6])
def test_what_is_no_count_is_refused(threads: object) -> None:
    with pytest.raises(PermanentFault, match="threads"):
        thread_count({"threads": threads})


def test_every_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"OMP_NUM_THREADS": "64"}
    monkeypatch.setattr(os, "environ", environment)
    pin(2)
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} <= environment.keys()
    assert set(environment.values()) == {"2"}
