"""The daemon as a whole: what there is, who knows whom, and in which order it all ends."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec
import zmq

from voicebox_protocol import __version__
from voicebox_protocol.configuration import Config
from voiceboxd import clock
from voiceboxd.arenas import Arenas
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.client_gateway import ClientGateway
from voiceboxd.dispatcher import Dispatcher
from voiceboxd.installer import Installer
from voiceboxd.ledger import Ledger
from voiceboxd.limits import most_clients
from voiceboxd.link import Link
from voiceboxd.logs import log
from voiceboxd.pings import Pings
from voiceboxd.player_host import PlayerHost
from voiceboxd.process import Children
from voiceboxd.provider_actor import ProviderActor, description_of, status_of
from voiceboxd.provider_control import ProviderControl
from voiceboxd.provider_gateway import ProviderGateway, stop_all
from voiceboxd.registry import Installed
from voiceboxd.session import Sessions
from voiceboxd.session_server import SessionServer
from voiceboxd.tally import Tally
from voiceboxd.timers import Timers
from voiceboxd.worker import Door, Workshop

_LAST_WORDS = 0.5


class Doors(msgspec.Struct, frozen=True):
    """What was opened before the rest of the daemon was loaded."""

    control: zmq.Socket[bytes]
    providers: zmq.Socket[bytes]
    session: socket.socket
    provider_door: Door
    name: str
    token: str | None


class Setting(msgspec.Struct, frozen=True):
    """How this daemon was started. `mode` is auto, start or run."""

    boot: str
    mode: str
    runtime_dir: Path
    log_dir: Path
    providers_dir: Path
    state_dir: Path
    audio_sink: str
    descriptors: int
    started: float


class App:
    """Owns the task group, and with it everybody else."""

    def __init__(self, setting: Setting, doors: Doors, config: Config) -> None:
        self._setting = setting
        self._doors = doors
        self._config = config
        self._tally = Tally()
        self._timers = Timers()
        self._sessions = Sessions()
        self._children = Children(
            setting.runtime_dir / "children.json", lambda: self.shut_down("its runtime directory is gone")
        )
        self._control = Link(doors.control)
        self._provider_link = Link(doors.providers)
        self._providers = ProviderGateway(self._provider_link, setting.boot, self._tally)
        memory = config.daemon
        self._arenas = Arenas(int(memory.arena_mb * 1_000_000), int(memory.audio_memory_mb * 1_000_000))
        self._dispatcher = Dispatcher(
            Ledger(setting.boot, config.speech.resume_patience_s),
            self._providers,
            self._arenas,
            config=config,
            timers=self._timers,
            tally=self._tally,
            audio=AudioSettings(setting.state_dir / "audio.json"),
        )
        self._idle = self._timers.timer(self._idle_for_long)
        self._ending = anyio.Event()
        self._urgent = anyio.Event()
        self._idle_event = anyio.Event()
        self._dispatcher.on_idle = self._became_idle

    async def run(self) -> None:
        """Lives until it is told to end, and ends in order."""
        survivors = self._children.reap_survivors()
        log.info("started", version=__version__, pid=os.getpid(), mode=self._setting.mode, survivors=survivors)
        async with anyio.create_task_group() as tasks:
            self._wire_up(tasks)
            tasks.start_soon(self._watch_signals)
            await self._ending.wait()
            await self._end()
            tasks.cancel_scope.cancel()
        log.info("ended")

    def _wire_up(self, tasks: anyio.abc.TaskGroup) -> None:
        installer = self._installer(tasks)
        installer.load()
        player = PlayerHost(
            self._setting.runtime_dir / "player.page",
            self._setting.log_dir / "player.log",
            self._setting.audio_sink,
            self._children,
            self._timers,
            tasks,
        )
        self._player = player
        clients = self._clients(tasks, installer, player)
        player.serve(self._dispatcher.loudspeaker, clients)
        self._dispatcher.loudspeaker.play_through(player)
        self._dispatcher.speak_through(clients)
        self._arenas.on_gone = clients.arena_gone
        self._session_server = SessionServer(
            self._doors.session, self._sessions, clients.left, most_clients(self._setting.descriptors)
        )
        self._became_idle()
        for task in (
            self._timers.run,
            clients.serve,
            self._session_server.serve,
        ):
            tasks.start_soon(task)
        tasks.start_soon(self._providers.serve, self._dispatcher)

    def _installer(self, tasks: anyio.abc.TaskGroup) -> Installer:
        workshop = Workshop(
            self._doors.provider_door, self._children, self._timers, tasks, self._setting.log_dir, self._arenas
        )

        def actor(entry: Installed) -> ProviderActor:
            return ProviderActor(entry, workshop, listener=self._dispatcher)

        return Installer(self._config, self._setting.providers_dir, self._providers, self._dispatcher, actor)

    def _clients(self, tasks: anyio.abc.TaskGroup, installer: Installer, player: PlayerHost) -> ClientGateway:
        pings = Pings(self._providers.actors, self._providers.send, self._tally, self._setting.boot)
        self._providers.on_pong = pings.answered
        return ClientGateway(
            self._control,
            self._dispatcher,
            self._sessions,
            boot=self._setting.boot,
            mode=self._setting.mode,
            token=self._doors.token,
            tally=self._tally,
            tasks=tasks,
            status=self.status,
            providers=self.providers,
            installer=installer,
            control=ProviderControl(self._providers.actors, self._dispatcher.ledger, self._setting.log_dir),
            pings=pings,
            player=player,
            shutdown=self.shut_down,
        )

    # --- ending

    def shut_down(self, reason: str) -> None:
        """End, in order; a second call: at once."""
        if self._ending.is_set():
            self._urgent.set()
        else:
            log.info("ending", reason=reason)
            self._ending.set()

    async def _watch_signals(self) -> None:
        if sys.platform == "win32":
            # asyncio has no signals there; `voicebox daemon stop` asks over the wire.
            return
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for received in signals:
                self.shut_down(signal.Signals(received).name)

    async def _end(self) -> None:
        self._dispatcher.refuse_more()
        await self._let_finish()
        self._dispatcher.fail_all()
        with anyio.move_on_after(_LAST_WORDS):
            await self._dispatcher.acknowledged()
        if self._urgent.is_set():
            return
        await self._player.stop("the daemon is ending")
        with anyio.move_on_after(2 * _LAST_WORDS + 5):
            await stop_all(self._providers.actors, "the daemon is ending")

    async def _let_finish(self) -> None:
        """Give what is being spoken a moment to end by itself."""
        if self._dispatcher.idle:
            return
        with anyio.move_on_after(self._config.daemon.shutdown_grace_s):
            async with anyio.create_task_group() as waiting:

                async def first(event: anyio.Event) -> None:
                    await event.wait()
                    waiting.cancel_scope.cancel()

                waiting.start_soon(first, self._idle_event)
                waiting.start_soon(first, self._urgent)

    def _idle_for_long(self) -> None:
        if self._dispatcher.loudspeaker.paused:
            # Its user may come back to it, and finds it as it was left.
            self._became_idle()
        elif self._dispatcher.idle:
            self.shut_down("idle")

    def _became_idle(self) -> None:
        self._idle_event.set()
        self._idle_event = anyio.Event()
        minutes = self._config.daemon.idle_minutes if self._setting.mode == "auto" else math.inf
        self._idle.set(clock.now() + minutes * 60)

    def close(self) -> None:
        """Close the doors; the session door first, so that clients learn of it at once."""
        self._doors.session.close()
        self._control.close()
        self._provider_link.close()
        self._arenas.close_all()

    # --- what it says of itself

    def status(self) -> dict[str, Any]:
        """`status --json`, from the actors' snapshots."""
        counts = self._dispatcher.ledger.counts()
        return {
            "daemon": {
                "pid": os.getpid(),
                "version": __version__,
                "uptime_s": round(time.monotonic() - self._setting.started, 3),
                "rss_bytes": _resident_bytes(),
                "arena_bytes": self._arenas.size,
                "arena_used_bytes": self._arenas.used,
                "socket": self._doors.name,
                "connections": self._sessions.attached,
                "boot": self._setting.boot,
                "mode": self._setting.mode,
            },
            "providers": [status_of(actor.statistics()) for actor in self._providers.actors.values()],
            "requests": counts._asdict(),
            "audio": self._dispatcher.loudspeaker.describe(),
            "dropped": self._tally.snapshot(),
        }

    def providers(self) -> list[dict[str, Any]]:
        """`provider list --json`."""
        return [description_of(actor) for actor in self._providers.actors.values()]


def _resident_bytes() -> int:
    """Of this process."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        import psutil

        return int(psutil.Process().memory_info().rss)
