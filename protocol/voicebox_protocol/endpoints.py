"""How the parties reach one another, and nothing else knows: `IpcTransport` on unix, `CurveTransport` on loopback TCP.

Each has a server half (the daemon binds and listens) and a client half (everybody else connects). Three doors: control
(clients, ROUTER), providers (ROUTER), and the session door, a plain stream socket whose end of file tells a death at once.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import zmq

from voicebox_protocol import places, wire
from voicebox_protocol.errors import BadPlace, DaemonUnreachable

if TYPE_CHECKING:
    from pathlib import Path

TRANSPORT = "VOICEBOX_TRANSPORT"
PATH_LIMIT = 103 if sys.platform == "darwin" else 107
# Open files that a daemon must be allowed: libzmq ends the whole process when there is none left.
DESCRIPTORS_LEAST = 512

_RECONNECT_MS = 5
_HANDSHAKE_MS = 2000
_BACKLOG = 1024
_CROWDED_PAUSE = 0.005


class Transport(Protocol):
    """Both halves of one way to meet. `name` is what `status` shows; a `token` goes into Hello where there is one."""

    name: str

    def bind_control(self, router: zmq.Socket[bytes]) -> None:
        """Server: open the clients' door. The caller holds the instance lock."""

    def bind_providers(self, router: zmq.Socket[bytes], boot: str) -> tuple[str, str | None]:
        """Server: open the providers' door; gives the address and the key that a start line hands on."""

    def listen_session(self) -> socket.socket:
        """Server: the session door, listening; opened last, so that whoever reaches it finds the others open."""

    def token(self) -> str | None:
        """The secret that Hello must carry, if this transport has one."""

    def close(self) -> None:
        """Server: remove what binding left in the runtime directory."""

    def connect_control(self, dealer: zmq.Socket[bytes]) -> None:
        """Client: connect to the clients' door."""

    def connect_session(self, timeout: float) -> socket.socket:
        """Client: connect to the session door within `timeout` seconds; `DaemonUnreachable` if nobody is there."""


def harden(sock: zmq.Socket[Any]) -> None:
    """Options that every socket of ours has: bounded frames, no waiting at close, quick reconnects, shy handshakes."""
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.MAXMSGSIZE, wire.MAX_FRAME)
    sock.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    sock.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)


def connect_provider(dealer: zmq.Socket[bytes], address: str, server_key: str | None) -> None:
    """A provider's way in, from what its start line said."""
    if server_key is not None:
        _as_curve_client(dealer, server_key)
    dealer.connect(address)


class IpcTransport:
    """Unix sockets in a directory that only the user may enter."""

    def __init__(self, directory: str | Path) -> None:
        # A string, for a client that asks one small question: pathlib takes longer to load than the answer to come.
        self._directory = os.fspath(directory)
        self._bound: list[Path] = []
        self.name = self._place("control.sock")

    def bind_control(self, router: zmq.Socket[bytes]) -> None:
        self._bind(router, "control.sock")

    def bind_providers(self, router: zmq.Socket[bytes], boot: str) -> tuple[str, str | None]:
        for stale in places.as_path(self._directory).glob("provider-*.sock"):
            stale.unlink(missing_ok=True)
        return self._bind(router, f"provider-{boot}.sock"), None

    def listen_session(self) -> socket.socket:
        path = places.as_path(self._checked("session.sock"))
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        self._bound.append(path)
        return listener

    def token(self) -> str | None:
        return None

    def close(self) -> None:
        for path in self._bound:
            path.unlink(missing_ok=True)

    def connect_control(self, dealer: zmq.Socket[bytes]) -> None:
        dealer.connect(f"ipc://{self._checked('control.sock')}")

    def connect_session(self, timeout: float) -> socket.socket:
        path = self._checked("session.sock")
        try:
            places.check_private(self._directory)
        except FileNotFoundError:
            raise DaemonUnreachable(f"no daemon at {path}") from None
        return _connect(socket.AF_UNIX, path, timeout)

    def _bind(self, router: zmq.Socket[bytes], name: str) -> str:
        address = f"ipc://{self._checked(name)}"
        router.bind(address)
        self._bound.append(places.as_path(self._place(name)))
        return address

    def _place(self, name: str) -> str:
        return os.path.join(self._directory, name)  # noqa: PTH118 (no pathlib)

    def _checked(self, name: str) -> str:
        path = self._place(name)
        length = len(os.fsencode(path))
        if length > PATH_LIMIT:
            raise BadPlace(
                f"the socket path {path} has {length} bytes and the system allows {PATH_LIMIT}; "
                f"set {places.RUNTIME_DIR} to a shorter directory"
            )
        return path


class CurveTransport:
    """Loopback TCP with CURVE encryption; ports, server key and token lie in a file that only the user can read."""

    def __init__(self, directory: str | Path) -> None:
        self._file = places.as_path(directory) / "endpoint.json"
        self.name = str(self._file)
        self._public, self._secret = b"", b""
        self._known: dict[str, Any] = {}

    def bind_control(self, router: zmq.Socket[bytes]) -> None:
        self._public, self._secret = zmq.curve_keypair()
        self._known = {
            "control": self._bind(router),
            "server_key": self._public.decode(),
            "token": os.urandom(16).hex(),
            "pid": os.getpid(),
        }

    def bind_providers(self, router: zmq.Socket[bytes], boot: str) -> tuple[str, str | None]:  # noqa: ARG002
        return self._bind(router), self._public.decode()

    def listen_session(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._known["session"] = listener.getsockname()[1]
        self._write()
        return listener

    def token(self) -> str | None:
        return str(self._read()["token"])

    def close(self) -> None:
        self._file.unlink(missing_ok=True)

    def connect_control(self, dealer: zmq.Socket[bytes]) -> None:
        known = self._read()
        _as_curve_client(dealer, known["server_key"])
        dealer.connect(known["control"])

    def connect_session(self, timeout: float) -> socket.socket:
        return _connect(socket.AF_INET, ("127.0.0.1", int(self._read()["session"])), timeout)

    def _bind(self, router: zmq.Socket[bytes]) -> str:
        router.curve_server = True
        router.curve_secretkey = self._secret
        router.curve_publickey = self._public
        router.bind("tcp://127.0.0.1:*")
        return router.getsockopt_string(zmq.LAST_ENDPOINT)

    def _write(self) -> None:
        half = self._file.with_suffix(f".{os.getpid()}")
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._known, file)
        half.replace(self._file)

    def _read(self) -> dict[str, Any]:
        if self._known:
            return self._known
        try:
            places.check_private(self._file.parent)
            known = json.loads(self._file.read_text(encoding="utf-8"))
            return {key: known[key] for key in ("control", "server_key", "token", "session")}
        except (OSError, ValueError, KeyError, TypeError):
            raise DaemonUnreachable(f"no daemon has written {self._file}") from None


def transport(directory: str | Path) -> Transport:
    """The transport for this platform, or the one that `$VOICEBOX_TRANSPORT` (ipc, curve) asks for."""
    wanted = os.environ.get(TRANSPORT) or ("curve" if sys.platform == "win32" else "ipc")
    if wanted not in ("ipc", "curve"):
        raise BadPlace(f"{TRANSPORT} is {wanted!r}; it takes ipc or curve")
    return CurveTransport(directory) if wanted == "curve" else IpcTransport(directory)


def _as_curve_client(dealer: zmq.Socket[bytes], server_key: str) -> None:
    dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
    dealer.curve_serverkey = server_key.encode()


def _connect(family: socket.AddressFamily, address: Any, timeout: float) -> socket.socket:
    until = time.monotonic() + timeout
    while True:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            if error.errno == errno.EAGAIN and time.monotonic() < until:
                # A unix socket whose queue is full says so instead of letting us wait: somebody is there, and busy.
                time.sleep(_CROWDED_PAUSE)
                continue
            reason = errno.errorcode.get(error.errno or 0, str(error))
            raise DaemonUnreachable(f"no daemon answers at {address} ({reason})") from None
        return sock
