"""The start line: what is written is read, and what is none is said not to be one."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol.startline import StartLine

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.builds(
        StartLine,
        address=st.text(),
        provider=st.text(),
        epoch=st.integers(0, 2**32 - 1),
        token=st.text(),
        parent_pid=st.integers(1),
        engine=st.text(),
        server_key=st.none() | st.text(),
        settings=st.dictionaries(st.text(max_size=4), JSON, max_size=4),
    )
)
def test_what_is_written_is_read_and_is_one_line(start: StartLine) -> None:
    line = start.encode()
    assert StartLine.decode(line) == start
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()


def test_keys_of_a_newer_daemon_are_ignored_and_optional_ones_may_be_missing() -> None:
    line = {"address": "a", "provider": "p", "epoch": 1, "token": "t", "parent_pid": 2, "colour": "red"}
    assert StartLine.decode(json.dumps(line).encode()) == StartLine("a", "p", 1, "t", 2)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"5", b"null", b'"address"', b'{"address": 1', b"\xff", b'{"epoch": 1}']
)
def test_another_line_is_no_start_line(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a start line"):
        StartLine.decode(line)


DEEP = 100_000


@pytest.mark.parametrize(
    "line",
    [
        b"[" * DEEP,
        b'{"address":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"address": "a", "provider": "p", "epoch": 1, "token": "t", "parent_pid": 2, "settings": {"deep": '
        + b"[" * DEEP
        + b"]" * DEEP
        + b"}}\n",
    ],
    ids=["open lists", "open maps", "lists", "lists in the settings"],
)
def test_a_line_nested_too_deep_is_no_start_line_either(line: bytes) -> None:
    """A RecursionError is no ValueError: it would end whoever reads the line without a word of why."""
    with pytest.raises(ValueError, match="not a start line"):
        StartLine.decode(line)


def test_dates_of_the_users_configuration_go_as_text() -> None:
    born = {"day": datetime.date(1970, 1, 1), "moment": datetime.datetime(1970, 1, 1, 12, 30)}
    start = StartLine("a", "p", 1, "t", 2, settings=born)
    assert StartLine.decode(start.encode()).settings == {"day": "1970-01-01", "moment": "1970-01-01 12:30:00"}
