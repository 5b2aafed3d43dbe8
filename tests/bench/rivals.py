"""Whom ours is compared with, started and ended: the HTTP design, `zmq.proxy` and plain unix sockets; and ours, with the engine
that has its sound."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from tests.bench import prepared
from tests.bench.children import Child, child
from tests.integration.daemon import running
from tests.integration.wire_client import WireClient

PROVIDER = "prepared"
# As a login service starts it: in the foreground it would write each line of its log twice.
AS_A_SERVICE = "--started"


class Service(NamedTuple):
    """A daemon with its provider. `pids` are theirs, the daemon's first; `where` is what their client is told."""

    where: str
    pids: list[int]
    environment: dict[str, str] | None = None


@contextmanager
def ours(more: str = "", **settings: float) -> Iterator[Service]:
    """A daemon of ours whose provider is loaded. `more`: other tables of the configuration; `settings`: the engine's."""
    inner = ", ".join(f"{name} = {value!r}" for name, value in settings.items())
    config = (
        f'[provider.{PROVIDER}]\nengine = "{prepared.__file__}"\nstandby = "none"\nkeep_alive = -1\nrecycle_jobs = 0\n'
        f"settings = {{ {inner} }}\n[provider.builtin]\nenabled = false\n{more}\n"
    )
    with running(config, how=AS_A_SERVICE) as daemon:
        with WireClient(daemon.place) as client:
            assert client.speak(prepared.text(100), provider=PROVIDER).end["kind"] == "Done"
        (provider,) = daemon.place.providers()
        yield Service(str(daemon.place.runtime), [daemon.pid, provider.pid], daemon.place.environment)


def voice_client(service: Service) -> AbstractContextManager[Child]:
    """A program that uses the client library, with a daemon of ours."""
    return child("voice_client", environment=service.environment)


@contextmanager
def http_design() -> Iterator[Service]:
    """Two web servers."""
    with child("http_server", "provider") as provider, child("http_server", "daemon", _url(provider)) as daemon:
        yield Service(_url(daemon), [daemon.pid, provider.pid])


@contextmanager
def zmq_proxy() -> Iterator[Service]:
    """`zmq.proxy` and an echo."""
    with tempfile.TemporaryDirectory(prefix="vb-") as directory, child("zmq_forwarder", "proxy", directory) as proxy:
        assert proxy.line()
        with child("zmq_forwarder", "echo", directory) as echo:
            yield Service(directory, [proxy.pid, echo.pid])


@contextmanager
def unix_sockets() -> Iterator[Service]:
    """Plain sockets: who hands on, and an echo."""
    with (
        tempfile.TemporaryDirectory(prefix="vb-") as directory,
        child("unix_forwarder", "forward", directory) as between,
    ):
        assert between.line()
        with child("unix_forwarder", "echo", directory) as echo:
            yield Service(directory, [between.pid, echo.pid])


def _url(server: Child) -> str:
    return f"http://127.0.0.1:{int(server.line())}"
