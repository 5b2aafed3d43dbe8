"""The player's process, with programs in its place that die."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from voicebox_protocol import errors
from voiceboxd import player_host
from voiceboxd.effects import ToClient
from voiceboxd.player_host import PlayerHost
from voiceboxd.process import Children
from voiceboxd.timers import Timers

PATIENCE = 60.0


class Listener:
    def __init__(self) -> None:
        self.failed: list[str] = []
        self.over = anyio.Event()

    def player_up(self) -> None:
        raise AssertionError("it never said Hello")

    def player_lost(self, reason: str) -> None:
        raise AssertionError("it never said Hello")

    def player_failed(self, reason: str) -> None:
        self.failed.append(reason)
        self.over.set()

    def send(self, effect: ToClient) -> None:
        raise AssertionError("nobody is there to be told")


async def until(met: Callable[[], bool]) -> None:
    while not met():  # noqa: ASYNC110 (nothing tells)
        await anyio.sleep(0.01)


def played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, scenario: Callable[[PlayerHost, Listener], object]
) -> None:
    """Run `program` where the player would be, and let the scenario, an async function, go on beside it."""
    monkeypatch.setattr(player_host, "leashed", lambda _: [sys.executable, "-c", program])

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            timers, listener = Timers(), Listener()
            tasks.start_soon(timers.run)
            children = Children(tmp_path / "children.json")
            host = PlayerHost(tmp_path / "page", tmp_path / "player.log", "null", children, timers, tasks)
            host.serve(listener, listener)
            with anyio.fail_after(PATIENCE):
                await scenario(host, listener)  # type: ignore[misc]
                await host.stop("the test is over")
                assert host.pid is None
            tasks.cancel_scope.cancel()

    anyio.run(run)


def test_one_that_always_dies_is_given_up_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(host: PlayerHost, listener: Listener) -> None:
        host.want()
        await listener.over.wait()
        assert len(listener.failed) == 1
        assert "no such library" in listener.failed[0]
        assert "-o FILE" in listener.failed[0]
        # Whoever asks next has it tried anew.
        listener.over = anyio.Event()
        host.want()
        await listener.over.wait()

    played(tmp_path, monkeypatch, "raise SystemExit('no such library')", scenario)


def test_one_that_is_not_wanted_any_more_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(host: PlayerHost, listener: Listener) -> None:
        host.want()
        await until(lambda: host.pid is not None)
        host.rest()
        host.kill("it was idle")
        await until(lambda: not host._living)
        assert host.pid is None
        assert not listener.failed

    played(tmp_path, monkeypatch, "import time; time.sleep(600)", scenario)


def test_nobody_is_the_player_who_does_not_know_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(host: PlayerHost, _: Listener) -> None:
        with pytest.raises(errors.Refused):
            host.admit("", "session")
        host.want()
        await until(lambda: host.pid is not None)
        for secret in ("", "x", "ü"):
            with pytest.raises(errors.Refused):
                host.admit(secret, "session")
        assert not host.up

    played(tmp_path, monkeypatch, "import time; time.sleep(600)", scenario)
