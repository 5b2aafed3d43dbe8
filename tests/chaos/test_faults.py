"""The tables of docs/supervision.md, played: each fault in each phase, against a real daemon.

By default one cell of each row is played, several at a time, its sound on one of two paths: in shared memory, or in the
messages alone. The long form plays all on both, one after the other, and looks after each whether the daemon has kept anything
of it.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.chaos import table
from tests.chaos.belongings import Belongings, belongings, too_much
from tests.chaos.cell import CALM, Cell, Heard, Outcome, Player, configuration, control, provider_of
from tests.chaos.conftest import LONG
from tests.chaos.storm import errors_of
from tests.integration.daemon import Daemon, eventually, running
from tests.integration.wire_client import WireClient
from voicebox_protocol import wire

pytestmark = pytest.mark.timeout(600)

CELLS = table.whole() if LONG else table.representative()
AT_A_TIME = 1 if LONG else 4
# What sound travels by, and the daemon's configuration for it.
PATHS = {"shared": "", "inline": "[daemon]\narena_mb = 0\n"}
# Played first, so that the daemon has done everything once before what it has is counted.
FIRST = Cell("sigkill", "speaking", always=True)
SETTLES_S = 10.0


def path_of(cell: Cell) -> str:
    """The one that it is played on if it is not played on both."""
    return list(PATHS)[zlib.crc32(cell.provider.encode()) % len(PATHS)]


PLAYED = [(cell, path) for cell in CELLS for path in PATHS if LONG or path == path_of(cell)]


class Stage:
    """Owns the daemon that all cells of a path are played on, and what came of those that were."""

    def __init__(self, daemon: Daemon, directory: Path, path: str) -> None:
        self.daemon = daemon
        self._directory = directory
        self._shares = path == "shared"
        self._played: dict[Cell, Outcome | BaseException] = {}
        self.play(FIRST)
        self.before = self.at_rest()

    def outcome(self, cell: Cell) -> Outcome:
        """What came of a cell; it is played now, if it was not yet."""
        if cell not in self._played:
            self.play(cell)
        found = self._played[cell]
        if isinstance(found, BaseException):
            raise found
        return found

    def play(self, cell: Cell) -> None:
        expected = CELLS.get(cell)
        try:
            player = Player(self.daemon, cell, self._directory, shares=self._shares)
            self._played[cell] = player.play(expected.state if expected else "ready")
        except BaseException as error:
            self._played[cell] = error
        finally:
            control(self.daemon, cell.provider, "stop")

    def at_rest(self) -> Belongings:
        """What the daemon has once only the calm provider is there, and nobody asks anything."""
        with WireClient(self.daemon.place) as client:
            assert client.speak("Still here.", provider=CALM).end["kind"] == "Done"
        eventually(lambda: len(self.daemon.place.processes()) == 2, "only the calm provider is left")
        eventually(lambda: self.daemon.status()["daemon"]["connections"] == 0, "the clients have left")
        time.sleep(0.2)  # the last of them was the one that asked for the status
        return belongings(self.daemon.pid)

    def kept(self) -> list[str]:
        """What it has kept of all that was played, once it has had time to let go."""
        try:
            eventually(lambda: not too_much(self.before, self.at_rest()), "as before", within=SETTLES_S)
        except AssertionError:
            return too_much(self.before, self.at_rest())
        return []


Stages = dict[str, Stage]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    limits = {cell: expected.limits(cell) for cell, expected in CELLS.items()}
    stages: Stages = {}
    with contextlib.ExitStack() as stack:
        for path, memory in PATHS.items():
            directory = tmp_path_factory.mktemp(path)
            cells = list(dict.fromkeys([*(cell for cell, own in PLAYED if own == path), FIRST]))
            daemon = stack.enter_context(running(configuration(cells, directory, limits) + memory))
            stages[path] = Stage(daemon, directory, path)
        if AT_A_TIME > 1:
            play_all(stages)
        yield stages


def play_all(stages: Stages) -> None:
    # The longest first, so that none is waited for alone.
    ordered = sorted(PLAYED, key=lambda played: -CELLS[played[0]].bound_s)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda played: stages[played[1]].play(played[0]), ordered))


@pytest.mark.parametrize(("cell", "path"), PLAYED, ids=[f"{cell.provider}-{path}" for cell, path in PLAYED])
def test_what_the_page_says_is_what_happens(stages: Stages, cell: Cell, path: str) -> None:
    stage = stages[path]
    expected, outcome = CELLS[cell], stage.outcome(cell)
    _check_end(expected, outcome)
    _check_sound(expected, outcome)
    assert (outcome.provider["state"], outcome.provider["restarts"]) == (expected.state, expected.restarts)
    assert outcome.recovery_s <= expected.bound_s, [f"{at:.3f} {m}" for at, m in _timeline(outcome.heard)]
    if outcome.fresh is not None:
        assert outcome.fresh.end["kind"] == "Done"
        assert outcome.fresh.samples == outcome.whole
    if LONG:
        assert not stage.kept()


def test_a_spare_that_was_there_is_who_takes_over(stages: Stages) -> None:
    """At rest nothing tells the two apart, and the fault may meet either: who is left speaks."""
    for cell, path in ((cell, path) for cell, path in PLAYED if cell.standby == "warm"):
        outcome = stages[path].outcome(cell)
        there = {1, outcome.spare} if cell.phase == "idle" else {outcome.spare}
        assert outcome.heard.end["attempts"][-1]["epoch"] in there, cell.provider


def test_no_process_is_started_that_nobody_needs(stages: Stages) -> None:
    """The first, one for each that broke, and one for each that was thought to have. Above all, what only is slow to load is
    not loaded twice at once."""
    needless = {}
    for cell, path in PLAYED:
        expected = CELLS[cell]
        first = cell.always or cell.phase in ("hello", "loading")
        broke = max(expected.restarts, cell.fault == "leak" or cell.phase in ("idle", "finishing", "leaving"))
        doubted = any(name in term for term in expected.within for name in ("probe_s", "suspect_s"))
        if (starts := stages[path].outcome(cell).starts) > first + broke + doubted:
            needless[cell.provider] = f"{starts} where {first + broke + doubted} would do"
    assert not needless


def test_what_swells_makes_room_for_a_fresh_process(stages: Stages) -> None:
    for cell, path in (
        (cell, path)
        for cell, path in PLAYED
        if cell.fault == "leak" and cell.phase in ("idle", "first", "speaking", "last") and not cell.always
    ):
        assert stages[path].outcome(cell).provider["epoch"] > 1, cell.provider


@pytest.mark.parametrize("path", PATHS)
def test_in_the_end_the_daemon_has_kept_nothing_and_takes_everybody_with_it(stages: Stages, path: str) -> None:
    stage = stages[path]
    memory = stage.daemon.status()["daemon"]
    assert (memory["arena_used_bytes"], memory["arena_bytes"] > 0) == (0, path == "shared")
    assert not stage.kept()
    assert not errors_of(stage.daemon)
    assert stage.daemon.terminate() == 0
    assert [process for process in stage.daemon.place.processes() if process.status() != psutil.STATUS_ZOMBIE] == []


def _check_end(expected: table.Expected, outcome: Outcome) -> None:
    heard = outcome.heard
    assert [kind for kind in heard.kinds if kind in wire.TERMINAL] == heard.kinds[-1:]
    assert outcome.silent, "nothing comes after the end"
    assert outcome.ends == 1
    resumed = {"done, exact": "exact", "done, next": "next"}.get(expected.outcome)
    kind = "Failed" if expected.outcome == "failed" else "Done"
    assert (heard.end["kind"], heard.end.get("code")) == (kind, expected.code), heard.end
    assert kind == "Failed" or heard.end.get("resumed") == resumed, heard.end
    assert len(heard.samples) == 4 * heard.end["frames"]


def _check_sound(expected: table.Expected, outcome: Outcome) -> None:
    heard, whole = outcome.heard, outcome.whole
    if expected.outcome in ("done", "done, exact", "done, unproven"):
        assert heard.samples == whole
    elif expected.outcome in ("done, short", "failed"):
        assert whole.startswith(heard.samples)
        assert expected.outcome == "failed" or 0 < len(heard.samples) < len(whole)
    assert all(heard.valid) == (expected.outcome != "done, unproven")


def _timeline(heard: Heard) -> Iterator[tuple[float, str]]:
    began = heard.times[0] if heard.times else 0.0
    return ((at - began, message["kind"]) for at, message in zip(heard.times, heard.messages, strict=True))


@pytest.mark.skipif(not LONG, reason="it takes ten seconds twice")
def test_an_engine_that_holds_the_lock_for_ten_seconds_each_time_speaks_with_the_limits_as_they_come() -> None:
    """Its work moves once, to another that is as slow, and stays there: what is slow is not to be asked for ever anew."""
    engine = 'engine = "voicebox_provider.testing:FakeEngine"\nsettings = { faults = ["gil:10000@first"] }'
    with running(f"[provider.builtin]\nenabled = false\n[provider.slow]\n{engine}\n") as daemon:
        with WireClient(daemon.place) as client:
            ending = client.speak("It takes its time.")
        assert ending.end["kind"] == "Done"
        assert 10_000 <= ending.end["total_ms"] <= 30_000
        assert provider_of(daemon, "slow")["restarts"] == 0
