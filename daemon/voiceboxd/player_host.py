"""The player's process: started when there is something to hear, started again when it dies, ended when nobody has needed it for long."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.abc

from voicebox_protocol import errors, schema
from voicebox_protocol.position import Position, PositionPage
from voicebox_protocol.startline import StartLine
from voiceboxd import clock, tokens
from voiceboxd.effects import ToClient
from voiceboxd.logs import log
from voiceboxd.process import Children, ProviderProcess, describe_exit, leashed
from voiceboxd.timers import Timers

_IDLE_S = 300.0
_CONNECT_S = 30.0
_MOST_FAILURES = 5
_ANSWER_S = 8.0
_GONE_S = 5.0
_MOST_DEVICES = 64


class Listener(Protocol):
    """What is done when there is a player, and when there is none."""

    def player_up(self) -> None:
        """There is one, which knows nothing."""

    def player_lost(self, reason: str) -> None:
        """It is gone."""

    def player_failed(self, reason: str) -> None:
        """There will be none."""


class Outbox(Protocol):
    """Where messages to clients go."""

    def send(self, effect: ToClient) -> None:
        """Send, or notice that the client is gone."""


class PlayerHost:
    """Owns the process and the page in which it says how far it came. A session is the player's if it knows the secret of its start."""

    def __init__(
        self, page: Path, log_file: Path, sink: str, children: Children, timers: Timers, tasks: anyio.abc.TaskGroup
    ) -> None:
        with contextlib.suppress(OSError):  # a survivor of another system's may still have it
            page.unlink()
        self.sink = sink
        self._place = page
        self._page: PositionPage | None = None
        self._log_file = log_file
        self._children = children
        self._tasks = tasks
        self._idle = timers.timer(self._idle_for_long)
        self._late = timers.timer(lambda: self.kill(f"it did not connect within {_CONNECT_S:g} s"))
        self._process: ProviderProcess | None = None
        self._living = False
        self._gone = anyio.Event()
        self._wanted = False
        self._secret = ""
        self._session: str | None = None
        self._greeted = anyio.Event()
        self._why: str | None = None
        self._failures = 0
        self._from = 0
        self._query = 0
        self._answered = anyio.Event()
        self._devices: list[dict[str, Any]] = []
        self._asking = 0
        self._listener: Listener
        self._outbox: Outbox

    def serve(self, listener: Listener, outbox: Outbox) -> None:
        """Whom it plays for, and how it is reached."""
        self._listener, self._outbox = listener, outbox

    # --- wanted, or not

    @property
    def up(self) -> bool:
        """Whether a player can be told something."""
        return self._session is not None

    @property
    def pid(self) -> int | None:
        """The player's process, None if there is none."""
        return self._process.pid if self._process else None

    def want(self) -> None:
        """Have one."""
        self._wanted = True
        self._idle.set(None)
        self._start()

    def _start(self) -> None:
        if not self._living:
            self._living, self._gone = True, anyio.Event()
            self._tasks.start_soon(self._live)

    def rest(self) -> None:
        """Nobody needs it for now."""
        self._wanted = False
        self._idle.set(clock.now() + _IDLE_S)

    def _idle_for_long(self) -> None:
        if not self._wanted:
            self.kill("it was idle")

    def kill(self, reason: str) -> None:
        """End it. If it is wanted, another takes its place."""
        self._why = reason
        if self._process is not None:
            self._process.kill()

    async def stop(self, reason: str) -> None:
        """End it for good, and wait until it is gone; no longer than a killed process takes."""
        self._wanted = False
        self._idle.set(None)
        with anyio.move_on_after(_GONE_S):
            while self._living:
                self.kill(reason)
                with anyio.move_on_after(0.1):
                    await self._gone.wait()

    # --- the conversation

    def admit(self, secret: str, session: str) -> None:
        """Somebody says that it is the player. Raises `Refused`."""
        if not self._secret or not tokens.same(secret, self._secret) or self._session is not None:
            raise errors.Refused("only the daemon's own player may say so")
        self._session = session
        self._late.set(None)

    def greeted(self) -> None:
        """The player has had its Welcome."""
        self._greeted.set()
        self._greeted = anyio.Event()
        self._listener.player_up()

    def plays(self, session: str) -> bool:
        """Whether this session is the player's."""
        return session == self._session

    def session_closed(self, session: str) -> None:
        """A session has ended; if it was the player's, its process is to."""
        if self.plays(session):
            self._lost("it let go of its session")
            if self._process is not None:
                self._process.kill()

    def send(self, message: schema.Message, payload: bytes | None = None) -> None:
        """Tell it."""
        if self._session is not None:
            self._outbox.send(ToClient(self._session, message, payload))

    def position(self) -> Position | None:
        """How far it came, by the page that it shares."""
        try:
            self._page = self._page or PositionPage(str(self._place))
        except OSError:
            return None
        return self._page.read()

    async def devices(self) -> list[dict[str, Any]]:
        """Which devices it sees. Raises `OutputFailed`."""
        self._start()
        self._asking += 1
        answered = self._answered
        try:
            with anyio.fail_after(_ANSWER_S):
                if not self.up:
                    await self._greeted.wait()
                if self._asking == 1:
                    # Whoever asks meanwhile waits for the same answer.
                    self._query += 1
                    self.send(schema.Devices(query=self._query))
                await answered.wait()
            return self._devices
        except TimeoutError:
            raise errors.OutputFailed("the loudspeaker's process does not say which devices there are") from None
        finally:
            self._asking -= 1
            if not self._wanted:
                self.rest()

    def devices_told(self, message: schema.DevicesReply) -> None:
        """The player has answered."""
        if message.query == self._query:
            self._devices = message.devices[:_MOST_DEVICES]
            self._answered.set()
            self._answered = anyio.Event()

    # --- the process

    async def _live(self) -> None:
        """One process after another, as long as somebody wants to hear something."""
        try:
            while True:
                reason = await self._run()
                try:
                    self._note(reason)
                except Exception:
                    # The last line of defence: what goes wrong with one request is not to end the daemon.
                    log.exception("the end of a player could not be handled")
                if not self._wanted:
                    return
                if self._failures > 1:
                    await anyio.sleep(0.1 * 2**self._failures)
        finally:
            self._living = False
            self._gone.set()

    def _note(self, reason: str) -> None:
        """One is gone. Those that played something do not count as failed."""
        position = self.position()
        played = position.device_frames if position else 0
        self._failures = 0 if played != self._from or not self._wanted else self._failures + 1
        self._from = played
        self._lost(reason)
        if self._failures >= _MOST_FAILURES:
            self._wanted, self._failures = False, 0
            self._listener.player_failed(
                f"the loudspeaker's process cannot be kept alive: {reason}; its log is {self._log_file}, "
                "and -o FILE needs no loudspeaker"
            )

    def _lost(self, reason: str) -> None:
        if self._session is not None:
            self._session = None
            log.info("player", phase="gone", reason=reason)
            self._listener.player_lost(reason)

    async def _run(self) -> str:
        """A process from start to end; gives why it ended."""
        self._secret, self._why = tokens.token(16), None
        start = StartLine(
            address="",
            provider="player",
            epoch=0,
            token=self._secret,
            parent_pid=os.getpid(),
            settings={"sink": self.sink, "page": str(self._place)},
        )
        try:
            command = leashed([sys.executable, "-m", "voicebox_player"])
            process = await ProviderProcess.spawn(command, start, self._log_file)
        except (OSError, ValueError) as error:
            return f"it could not be started: {error}"
        self._process = process
        log.info("player", phase="started", pid=process.pid)
        self._late.set(clock.now() + _CONNECT_S)
        try:
            self._children.add(process.pid)
            code = await process.wait()
        finally:
            process.kill()
            self._late.set(None)
            self._children.remove(process.pid)
            self._process, self._secret = None, ""
        words = process.last_words()
        return self._killed_for() or describe_exit(code) + (f" ({words})" if words else "")

    def _killed_for(self) -> str | None:
        return self._why
