"""Descriptors: as many as are useful, never fewer than we can live with."""

from __future__ import annotations

import sys

import pytest

from voicebox_protocol.errors import BadPlace
from voiceboxd import limits

resource = pytest.importorskip("resource")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch):
    """A system with limits that can be tried without changing this process's."""
    known = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: known["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: known.update(now=limit))
    return known


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, resource.RLIM_INFINITY), (limits.WANTED, resource.RLIM_INFINITY)),
        ((1024, 1_000_000), (limits.WANTED, 1_000_000)),
        ((500_000, 1_000_000), (500_000, 1_000_000)),
        ((limits.LEAST, limits.LEAST), (limits.LEAST, limits.LEAST)),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_is_useful(system, before, after) -> None:
    system["now"] = before
    assert limits.raise_descriptor_limit() == after[0]
    assert system["now"] == after


def test_too_few_are_refused_with_what_to_do(system) -> None:
    system["now"] = (256, 256)
    with pytest.raises(BadPlace, match="ulimit -n 512"):
        limits.raise_descriptor_limit()


def test_where_there_is_no_such_limit_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert limits.raise_descriptor_limit() == limits.WANTED


def test_clients_leave_descriptors_for_ourselves() -> None:
    assert 0 < 2 * limits.most_clients(limits.LEAST) < limits.LEAST
