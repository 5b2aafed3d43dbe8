"""The daemon's log: a line for each event, in a file that never grows beyond its bounds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from voiceboxd import logs

SetUp = Callable[..., None]


@pytest.fixture
def set_up() -> Iterator[SetUp]:
    """Sets the log up; other tests log where they did before."""
    sinks, handlers, level = list(logs.sinks), list(logging.getLogger().handlers), logging.getLogger().level
    opened: list[Callable[[], None]] = []
    yield lambda *arguments, **options: opened.append(logs.set_up(*arguments, **options))
    for close in opened:
        close()
    logs.sinks[:] = sinks
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_event_is_a_line_with_its_fields(set_up: SetUp, tmp_path: Path) -> None:
    set_up(tmp_path, foreground=False)
    logs.log.info("request", req="r", chars=5, odd=tmp_path, lone="\ud800")
    (entry,) = entries(tmp_path / logs.FILE)
    assert (entry["level"], entry["event"], entry["req"], entry["odd"]) == ("info", "request", "r", str(tmp_path))
    assert entry["lone"] == "\\ud800"
    logs.log.warning("slow", seconds=1.5)
    assert entries(tmp_path / logs.FILE)[-1]["seconds"] == 1.5
    assert (tmp_path / logs.FILE).stat().st_mode & 0o777 == 0o600


def test_an_exception_has_its_traceback(set_up: SetUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(tmp_path, foreground=True)
    try:
        raise KeyError("lost")
    except KeyError:
        logs.last_words("it fell over")
    (entry,) = entries(tmp_path / logs.FILE)
    assert entry["level"] == "error"
    assert "KeyError: 'lost'" in entry["exception"]
    assert "KeyError: 'lost'" in capsys.readouterr().err


def test_what_libraries_log_goes_there_too(set_up: SetUp, tmp_path: Path) -> None:
    set_up(tmp_path, foreground=False)
    logging.getLogger("asyncio").error("a task was %s", "destroyed")
    logging.getLogger("asyncio").debug("not this")
    (entry,) = entries(tmp_path / logs.FILE)
    assert (entry["logger"], entry["event"]) == ("asyncio", "a task was destroyed")


def test_a_full_file_makes_room_and_the_last_few_are_kept(
    set_up: SetUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_SIZE", 1000)
    set_up(tmp_path, foreground=False)
    for number in range(200):
        logs.log.info("event", number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [logs.FILE, *(f"{logs.FILE}.{number}" for number in (1, 2, 3))]
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = [entry["number"] for file in reversed(files) for entry in entries(file)]
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 20, "each file is filled before the next is begun"


def test_a_file_that_is_there_is_gone_on_with(set_up: SetUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_SIZE", 1000)
    (tmp_path / logs.FILE).write_text("x" * 950 + "\n")
    set_up(tmp_path, foreground=False)
    logs.log.info("one")
    logs.log.info("two")
    assert (tmp_path / f"{logs.FILE}.1").stat().st_size > 950
    assert [entry["event"] for entry in entries(tmp_path / logs.FILE)] == ["two"]


def test_a_log_that_cannot_be_written_is_done_without(set_up: SetUp, tmp_path: Path) -> None:
    set_up(tmp_path, foreground=False)
    (tmp_path / logs.FILE).mkdir()
    logs.log.info("unheard")
    assert list((tmp_path / logs.FILE).iterdir()) == []
