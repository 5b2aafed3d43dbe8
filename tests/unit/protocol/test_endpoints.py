"""Endpoints: both transports carry the same conversation, and nobody else gets in."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from voicebox_protocol import endpoints, wire
from voicebox_protocol.endpoints import CurveTransport, IpcTransport, Transport
from voicebox_protocol.errors import BadPlace, DaemonUnreachable

TRANSPORTS = {"ipc": IpcTransport, "curve": CurveTransport}
PATIENCE_MS = 30_000


@dataclass
class Daemon:
    """The server half, open."""

    transport: Transport
    directory: Path
    context: zmq.Context
    control: zmq.Socket
    providers: zmq.Socket
    provider_door: tuple[str, str | None]
    session: socket.socket
    dealers: list[zmq.Socket] = field(default_factory=list)

    def client(self) -> Transport:
        return type(self.transport)(self.directory)

    def dealer(self) -> zmq.Socket:
        dealer = self.context.socket(zmq.DEALER)
        endpoints.harden(dealer)
        dealer.RCVTIMEO = PATIENCE_MS
        self.dealers.append(dealer)
        return dealer


def opened(transport: Transport, directory: Path) -> Iterator[Daemon]:
    context = zmq.Context()
    control, providers = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    for router in (control, providers):
        endpoints.harden(router)
        router.RCVTIMEO = PATIENCE_MS
    transport.bind_control(control)
    door = transport.bind_providers(providers, "b00t")
    session = transport.listen_session()
    daemon = Daemon(transport, directory, context, control, providers, door, session)
    yield daemon
    session.close()
    for sock in (control, providers, *daemon.dealers):
        sock.close(linger=0)
    context.term()
    transport.close()


@pytest.fixture(params=TRANSPORTS)
def daemon(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Daemon]:
    yield from opened(TRANSPORTS[request.param](short_dir), short_dir)


@pytest.fixture
def curve(short_dir: Path) -> Iterator[Daemon]:
    yield from opened(CurveTransport(short_dir), short_dir)


@pytest.fixture
def ipc(short_dir: Path) -> Iterator[Daemon]:
    yield from opened(IpcTransport(short_dir), short_dir)


def converse(router: zmq.Socket, dealer: zmq.Socket) -> None:
    dealer.send_multipart([wire.MAGIC, b"header", b"payload"])
    peer, *frames = router.recv_multipart()
    assert frames == [wire.MAGIC, b"header", b"payload"]
    router.send_multipart([peer, wire.MAGIC, b"answer"])
    assert dealer.recv_multipart() == [wire.MAGIC, b"answer"]


def test_clients_and_daemon_converse(daemon: Daemon) -> None:
    dealer = daemon.dealer()
    daemon.client().connect_control(dealer)
    converse(daemon.control, dealer)


def test_providers_and_daemon_converse(daemon: Daemon) -> None:
    dealer = daemon.dealer()
    endpoints.connect_provider(dealer, *daemon.provider_door)
    converse(daemon.providers, dealer)


def test_either_side_of_the_session_door_sees_the_others_end(daemon: Daemon) -> None:
    for closes_first in ("client", "daemon"):
        client = daemon.client().connect_session(30.0)
        server, _ = daemon.session.accept()
        with client, server:
            client.sendall(b"token\n")
            assert server.recv(100) == b"token\n"
            first, second = (client, server) if closes_first == "client" else (server, client)
            first.close()
            assert second.recv(100) == b""


def test_nothing_is_left_behind(short_dir: Path) -> None:
    for kind in TRANSPORTS.values():
        for daemon in opened(kind(short_dir), short_dir):
            assert any(daemon.directory.iterdir())
        assert list(short_dir.iterdir()) == []


def test_no_daemon_is_unreachable(short_dir: Path, daemon: Daemon) -> None:
    with pytest.raises(DaemonUnreachable):
        type(daemon.transport)(short_dir / "none").connect_session(30.0)
    daemon.session.close()
    with pytest.raises(DaemonUnreachable, match="no daemon answers"):
        daemon.client().connect_session(30.0)


def test_a_door_in_a_directory_that_others_may_enter_is_not_trusted(daemon: Daemon) -> None:
    daemon.directory.chmod(0o755)
    with pytest.raises(BadPlace, match="open to others"):
        daemon.client().connect_session(30.0)
    daemon.directory.chmod(0o700)


# --- ipc


def test_a_path_too_long_for_a_socket_is_refused_with_the_remedy(short_dir: Path) -> None:
    deep = short_dir / ("x" * endpoints.PATH_LIMIT)
    transport = IpcTransport(deep)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        for act in (
            lambda: transport.bind_control(router),
            lambda: transport.connect_control(router),
            lambda: transport.bind_providers(router, "b"),
            transport.listen_session,
            lambda: transport.connect_session(1.0),
        ):
            with pytest.raises(BadPlace, match="VOICEBOX_RUNTIME_DIR"):
                act()


def test_the_longest_path_that_is_allowed_works(short_dir: Path) -> None:
    room = endpoints.PATH_LIMIT - len(str(short_dir)) - len("//provider-b00t.sock")
    directory = short_dir / ("é" * (room // 2) + "x" * (room % 2))
    directory.mkdir(mode=0o700)
    for daemon in opened(IpcTransport(directory), directory):
        dealer = daemon.dealer()
        endpoints.connect_provider(dealer, *daemon.provider_door)
        converse(daemon.providers, dealer)


def test_sockets_of_dead_daemons_are_removed(short_dir: Path) -> None:
    (short_dir / "provider-old.sock").touch()
    (short_dir / "session.sock").touch()
    for _ in opened(IpcTransport(short_dir), short_dir):
        names = {path.name for path in short_dir.iterdir()}
        assert names == {"control.sock", "session.sock", "provider-b00t.sock"}


def test_only_we_may_open_the_session_door(ipc: Daemon) -> None:
    assert (ipc.directory / "session.sock").stat().st_mode & 0o777 == 0o600
    assert ipc.transport.token() is None


# --- curve


def test_the_endpoint_file_is_ours_alone_and_says_what_a_client_needs(curve: Daemon) -> None:
    file = curve.directory / "endpoint.json"
    known = json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    assert known["control"].startswith("tcp://127.0.0.1:")
    assert known["session"] == curve.session.getsockname()[1]
    assert curve.session.getsockname()[0] == "127.0.0.1"
    assert curve.client().token() == curve.transport.token() == known["token"]
    assert len(known["token"]) >= 32
    assert list(curve.directory.iterdir()) == [file]


REFUSED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


@pytest.mark.parametrize("key", ["wrong", "none"])
@pytest.mark.parametrize("door", ["control", "providers"])
def test_without_the_right_key_nothing_gets_in(curve: Daemon, key: str, door: str) -> None:
    router = getattr(curve, door)
    address = (
        curve.provider_door[0]
        if door == "providers"
        else json.loads((curve.directory / "endpoint.json").read_text())["control"]
    )
    dealer = curve.dealer()
    wrong, _ = zmq.curve_keypair()
    with router.get_monitor_socket(REFUSED) as monitor:
        monitor.RCVTIMEO = PATIENCE_MS
        endpoints.connect_provider(dealer, address, wrong.decode() if key == "wrong" else None)
        dealer.send_multipart([wire.MAGIC, b"let me in"])
        assert recv_monitor_message(monitor)["event"] & REFUSED
        assert not router.poll(0)
        router.disable_monitor()
    rightful = curve.dealer()
    endpoints.connect_provider(rightful, address, curve.provider_door[1])
    converse(router, rightful)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"control": "tcp://127.0.0.1:1"}'])
def test_an_endpoint_file_that_says_nothing_sensible_is_no_daemon(short_dir: Path, text: str) -> None:
    (short_dir / "endpoint.json").write_text(text)
    with pytest.raises(DaemonUnreachable):
        CurveTransport(short_dir).connect_session(1.0)


# --- which


@pytest.mark.parametrize(("wanted", "kind"), [("ipc", IpcTransport), ("curve", CurveTransport), ("", IpcTransport)])
def test_the_transport_is_the_one_that_was_asked_for(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, kind: type
) -> None:
    monkeypatch.setenv("VOICEBOX_TRANSPORT", wanted)
    assert type(endpoints.transport(short_dir)) is kind


def test_another_transport_is_refused(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOX_TRANSPORT", "pigeon")
    with pytest.raises(BadPlace, match="ipc or curve"):
        endpoints.transport(short_dir)
