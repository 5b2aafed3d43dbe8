"""Providers by hand: what is waited for, what is told when it fails, and what is left alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from voicebox_protocol import errors
from voiceboxd.ledger import Ledger
from voiceboxd.provider_control import ProviderControl
from voiceboxd.provider_state import Phase

WAIT_S = 10.0


class Actor:
    """As `ProviderActor` is from outside: it does what it is told when `turn` says so, and notes what that was."""

    def __init__(self, provider: str, phase: Phase = Phase.STOPPED) -> None:
        self.id = provider
        self.retired = False
        self.reason: str | None = None
        self.told: list[str] = []
        self._changed = anyio.Event()
        self.phase = phase

    @property
    def trouble(self) -> str | None:
        return f"{self.phase}: {self.reason}" if self.phase in (Phase.FAILED, Phase.QUARANTINED) else None

    def want(self) -> None:
        self.told.append("want")
        if self.phase is Phase.STOPPED:
            self.turn(Phase.STARTING)

    def stop(self, reason: str) -> None:
        self.told.append("stop")
        self.turn(Phase.STOPPED, reason)

    def turn(self, phase: Phase, reason: str | None = None) -> None:
        self.phase, self.reason = phase, reason
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        await self._changed.wait()

    async def gone(self) -> None:
        await anyio.lowlevel.checkpoint()


class Stage:
    """A control over one actor. `while_waiting` is done once the control has nothing left to do but wait."""

    def __init__(self, directory: Path) -> None:
        self.actor = Actor("mine")
        self.ledger = Ledger("b00t")
        self.log = directory / "provider-mine.log"
        self.control = ProviderControl({"mine": self.actor}, self.ledger, directory)  # type: ignore[dict-item]

    def run(self, work: Callable[[], Awaitable[Any]], while_waiting: Callable[[], None] = lambda: None) -> Any:
        async def scenario() -> Any:
            done: list[Any] = []

            async def working() -> None:
                try:
                    done.append(await work())
                except errors.VoiceboxError as error:
                    done.append(error)

            with anyio.fail_after(WAIT_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(working)
                    await anyio.wait_all_tasks_blocked()
                    while_waiting()
            return done[0]

        return anyio.run(scenario)

    def start(self, *turns: tuple[Phase, str | None]) -> Any:
        """Start it, and let these things happen to it."""
        return self.run(lambda: self.control.start("mine"), lambda: [self.actor.turn(*turn) for turn in turns] and None)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def request(provider: str | None) -> Any:
    assignment = None if provider is None else SimpleNamespace(provider=provider)
    return SimpleNamespace(assignment=assignment, held_back=False, verdict=None)


def test_a_start_is_done_when_it_is_ready_also_after_a_crash_on_the_way(stage: Stage) -> None:
    turns = [(Phase.LOADING, None), (Phase.BACKOFF, "it crashed"), (Phase.LOADING, None), (Phase.READY, None)]
    assert stage.start(*turns) is stage.actor
    assert stage.actor.told == ["want"]


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.QUARANTINED])
def test_trouble_is_cleared_first(stage: Stage, phase: Phase) -> None:
    stage.actor.phase = phase
    assert stage.start((Phase.READY, None)) is stage.actor
    assert stage.actor.told == ["stop", "want"]


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        (Phase.FAILED, "mine is not ready: failed: no model"),
        (Phase.QUARANTINED, "mine is not ready: quarantined: no model"),
        (Phase.STOPPED, "mine is not ready: no model"),
    ],
)
def test_a_start_that_fails_says_why(stage: Stage, phase: Phase, told: str) -> None:
    error = stage.start((Phase.LOADING, None), (phase, "no model"))
    assert isinstance(error, errors.ProviderFailed)
    assert str(error) == told


def test_one_that_is_removed_while_it_starts_says_so(stage: Stage) -> None:
    def remove() -> None:
        stage.actor.retired = True
        stage.actor.turn(Phase.DRAINING)

    error = stage.run(lambda: stage.control.start("mine"), remove)
    assert str(error) == "mine is not ready: it was removed"
    assert isinstance(stage.run(lambda: stage.control.stop("mine")), errors.NoSuchProvider)


def test_the_last_lines_are_of_this_start_and_none_that_the_reason_has_already(stage: Stage) -> None:
    """A log may quote the texts of former lives, which nobody is to read in an error."""
    stage.log.write_text("a text that was spoken\n")

    def fail() -> None:
        with stage.log.open("a") as log:
            log.write("one\n\ntwo\nno model\n" + "x" * 999 + "\n")
        stage.actor.turn(Phase.FAILED, "it said: no model")

    error = stage.run(lambda: stage.control.start("mine"), fail)
    assert str(error).splitlines()[1:] == ["  one", "  two", "  " + "x" * 300]


def test_a_log_that_was_rotated_is_read_from_its_beginning(stage: Stage) -> None:
    stage.log.write_text("a text that was spoken\n")

    def fail() -> None:
        stage.log.write_text("new\n")
        stage.actor.turn(Phase.FAILED, "gone")

    error = stage.run(lambda: stage.control.start("mine"), fail)
    assert str(error).splitlines()[1:] == ["  new"]


def test_a_stop_waits_for_the_requests_of_its_own_that_are_there(stage: Stage) -> None:
    stage.actor.phase = Phase.BUSY
    stage.ledger.requests |= {"a": request("mine"), "b": request("other"), "c": request(None)}

    def end() -> None:
        assert stage.actor.told == []
        stage.ledger.requests["later"] = request("mine")
        # Nothing happens to the provider when a request is cancelled that only waits for it.
        del stage.ledger.requests["a"]

    assert stage.run(lambda: stage.control.stop("mine"), end) is stage.actor
    assert stage.actor.told == ["stop"]


def test_a_restart_waits_for_no_request(stage: Stage) -> None:
    stage.actor.phase = Phase.BUSY
    stage.ledger.requests["a"] = request("mine")
    stage.run(lambda: stage.control.restart("mine"), lambda: stage.actor.turn(Phase.READY))
    assert stage.actor.told == ["stop", "want"]


def test_what_cannot_be_done_says_what_can(stage: Stage) -> None:
    unknown = stage.run(lambda: stage.control.carry_out("stop", "mime"))
    assert isinstance(unknown, errors.NoSuchProvider)
    assert "did you mean 'mine'?" in str(unknown)
    bad = stage.run(lambda: stage.control.carry_out("reload", "mine"))
    assert isinstance(bad, errors.BadRequest)
    assert "it takes start, stop, restart" in str(bad)
    assert stage.actor.told == []
