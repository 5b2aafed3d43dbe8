"""`voiceboxd`: takes the lock and opens the doors first, and loads the rest while clients already knock."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from voicebox_protocol import __version__, endpoints, places
from voicebox_protocol.errors import BadPlace, VoiceboxError
from voiceboxd import limits
from voiceboxd.audio_sink import sink_of
from voiceboxd.instance import AlreadyRunning, InstanceLock
from voiceboxd.tokens import token

if TYPE_CHECKING:
    from voicebox_protocol.configuration import Config

_PEER_QUEUE = 20_000
_MODES = {"--foreground": "run", "--started": "start", "--autostart": "auto"}


def run() -> None:
    """The entry point of the command."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run a daemon until it ends; gives the exit code."""
    mode = _mode(arguments)
    started = time.monotonic()
    try:
        descriptors = limits.raise_descriptor_limit()
        directory = places.ensure_private(places.runtime_dir())
        with InstanceLock(directory / "lock"):
            _serve(mode, directory, descriptors, started)
    except AlreadyRunning as error:
        return 0 if mode == "auto" else _complain(str(error), 1)
    except VoiceboxError as error:
        return _complain(str(error), error.exit_code)
    except (OSError, zmq.ZMQError) as error:
        # Sockets, lock and logs that cannot be where they should.
        return _complain(str(error), BadPlace.exit_code)
    return 0


def _complain(why: str, code: int) -> int:
    print(f"voiceboxd: {why}", file=sys.stderr)  # noqa: T201
    return code


def _mode(arguments: list[str]) -> str:
    if len(arguments) == 1 and (mode := _MODES.get(arguments[0])) is not None:
        return mode
    # Programs that start a daemon need no help, and would wait for it.
    import argparse

    parser = argparse.ArgumentParser(prog="voiceboxd", description="The voice service. Ends on SIGTERM.")
    parser.add_argument("--version", action="version", version=f"voiceboxd {__version__}")
    how = parser.add_mutually_exclusive_group()
    for flag, meaning in (
        ("--foreground", "log to standard error too (the default)"),
        ("--started", "started on purpose, in the background"),
        ("--autostart", "started by a client: end when idle, and leave quietly if one runs already"),
    ):
        how.add_argument(flag, action="store_const", const=_MODES[flag], dest="mode", help=meaning)
    return str(parser.parse_args(arguments).mode or "run")


def _serve(mode: str, directory: Path, descriptors: int, started: float) -> None:
    os.umask(0o077)
    # A wrong configuration is refused before anybody is let in; having none costs nothing here.
    loaded = _configuration() if places.config_file().exists() else None
    sink = sink_of(os.environ)
    places.log_dir().mkdir(parents=True, exist_ok=True)
    boot = token(8)
    transport = endpoints.transport(directory)
    context = zmq.Context()
    context.setsockopt(zmq.MAX_SOCKETS, 64)
    control, providers = _router(context), _router(context)
    try:
        transport.bind_control(control)
        address, server_key = transport.bind_providers(providers, boot)
        session = transport.listen_session()

        # From here on clients get in; everything below is heavy.
        import anyio

        from voiceboxd import logs
        from voiceboxd.app import App, Doors, Setting
        from voiceboxd.worker import Door

        close_log = logs.set_up(places.log_dir(), foreground=mode == "run")
        doors = Doors(control, providers, session, Door(address, server_key), transport.name, transport.token())
        setting = Setting(
            boot=boot,
            mode=mode,
            runtime_dir=directory,
            log_dir=places.log_dir(),
            providers_dir=places.providers_dir(),
            state_dir=places.state_dir(),
            audio_sink=sink,
            descriptors=descriptors,
            started=started,
        )

        async def live() -> None:
            app = App(setting, doors, loaded or _configuration())
            try:
                await app.run()
            finally:
                app.close()

        _prefer_pidfd()
        try:
            anyio.run(live, backend="asyncio")
        except BaseException:
            logs.last_words("the daemon failed")
            raise
        finally:
            close_log()
    finally:
        context.destroy(linger=0)
        transport.close()


def _configuration() -> Config:
    from voicebox_protocol import configuration

    return configuration.load(places.config_file())


def _router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    router = context.socket(zmq.ROUTER)
    endpoints.harden(router)
    # A message to nobody must be an error, not a silence; beyond this many unread ones a peer counts as gone.
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.SNDHWM, _PEER_QUEUE)
    return router


def _prefer_pidfd() -> None:
    """Before Python 3.12 asyncio waits for each child in a thread of its own; a pidfd needs none."""
    if sys.version_info >= (3, 12) or not hasattr(os, "pidfd_open"):
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        # Python knows it, but this kernel does not, or a sandbox forbids it.
        return
    import asyncio

    asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
