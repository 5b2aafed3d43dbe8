"""The session door: a plain stream socket whose end of file tells client and daemon of each other's death at once."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from functools import partial

import anyio
import anyio.abc

from voiceboxd.logs import log
from voiceboxd.session import Session, Sessions

_TOKEN_WAIT = 5.0
_LONGEST_LINE = 128
_OUT_OF_FDS_PAUSE = 0.1


class SessionServer:
    """Owns the listening socket and one task a client, each waiting for the end of its connection."""

    def __init__(self, listener: socket.socket, sessions: Sessions, left: Callable[[Session], None], most: int) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._sessions = sessions
        self._left = left
        self._most = most
        self._open = 0

    async def serve(self) -> None:
        """Takes connections, for ever."""
        async with anyio.create_task_group() as clients:
            while True:
                await anyio.wait_readable(self._listener)
                try:
                    self._accept_all(clients)
                except OSError as error:
                    log.warning("cannot accept a client", error=str(error))
                    await anyio.sleep(_OUT_OF_FDS_PAUSE)

    def _accept_all(self, clients: anyio.abc.TaskGroup) -> None:
        """Everybody who waits. Raises `OSError` when there are no descriptors left."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            if self._open >= self._most:
                connection.close()
                continue
            connection.setblocking(False)
            self._open += 1
            clients.start_soon(self._attend, connection)

    async def _attend(self, connection: socket.socket) -> None:
        session: Session | None = None
        try:
            with anyio.move_on_after(_TOKEN_WAIT):
                session = self._sessions.attach(await _line(connection))
            if session is not None:
                with anyio.CancelScope() as scope:
                    session.hang_up = scope.cancel
                    session.tell = partial(_tell, connection)
                    connection.send(b"OK\n")
                    await _end_of(connection)
                if scope.cancelled_caught:
                    # It is told, and may still read what was lent to it until it goes.
                    connection.shutdown(socket.SHUT_WR)
                    await _end_of(connection)
        except OSError:
            # Its end, as good as any other.
            pass
        except Exception:
            log.exception("a session door could not be attended")
        finally:
            self._open -= 1
            connection.close()
            if session is not None:
                self._left(session)

    def close(self) -> None:
        """Close the door: every client learns at once."""
        self._listener.close()


async def _line(connection: socket.socket) -> str:
    """One short line, without its newline; what there is, if the peer ends before it."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        await anyio.wait_readable(connection)
        piece = connection.recv(_LONGEST_LINE - len(line))
        if not piece:
            break
        line += piece
    with contextlib.suppress(UnicodeDecodeError):
        return line.decode("ascii").strip()
    return ""


def _tell(connection: socket.socket, line: bytes, descriptors: list[int]) -> bool:
    """Say a line, and hand descriptors over with it; False if the client takes neither."""
    try:
        if descriptors:
            return socket.send_fds(connection, [line], descriptors) == len(line)
        return connection.send(line) == len(line)
    except OSError:
        return False


async def _end_of(connection: socket.socket) -> None:
    """Returns at end of file. What a client says here after its token means nothing, and ends it."""
    await anyio.wait_readable(connection)
    connection.recv(_LONGEST_LINE)
