"""One conversation with one daemon: a DEALER for messages, the session door for each other's death, one poller over both."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet, WeakValueDictionary

import msgpack
import zmq
from zmq.backend import Socket

from voicebox_client.guard import Guard
from voicebox_protocol import __version__, arena, endpoints, wire
from voicebox_protocol.errors import (
    BadMessage,
    DaemonLost,
    DaemonUnreachable,
    DeadlineExceeded,
    Unsupported,
    VoiceboxError,
    from_wire,
)

if TYPE_CHECKING:
    from voicebox_client.arena import Arena
    from voicebox_client.speech import Speech

# A daemon that works may be silent for long; after this much, it is asked whether it lives.
_PATIENCE = 15.0
# A daemon that ends in order says so first, but its last messages come by another socket than its end of file.
_LAST_WORDS_MS = 50
_WELL = b"OK\n"
_LONGEST_SAYING = 4096
# As plain numbers, and past pyzmq's wrapper for small frames: what that looks at takes longer than sending does.
_NOW, _MORE, _READABLE = int(zmq.NOBLOCK), int(zmq.SNDMORE), int(zmq.POLLIN)
_send = Socket.send
_INT = 4
# The number of a query whose answer nobody reads: that it comes is enough.
_PING = 0


class Daemon(NamedTuple):
    """Whom one talks to. `mode` tells how it was started: auto, start or run."""

    version: str
    pid: int
    mode: str | None
    proto: int
    boot: str


class Connection:
    """Owns the sockets to one daemon, and hands what comes to the `Speech` it is for. Never outlives that daemon.

    Every method raises what ended the connection once it has ended. `timeout` bounds each answer, in seconds.
    """

    def __init__(self, transport: endpoints.Transport, door: socket.socket, guard: Guard, timeout: float) -> None:
        self.guard = guard
        self.lost: VoiceboxError | None = None
        self.speeches: WeakValueDictionary[str, Speech] = WeakValueDictionary()
        self._door = door
        self.timeout = timeout
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._dropped: deque[tuple[str, int, int]] = deque()
        self.arenas: dict[int, Arena] = {}
        self._said = b""
        self._heard = time.monotonic()
        self._asked: float | None = None
        self._query = 0
        self._answers: dict[int, dict[str, Any] | None] = {}
        self._welcome: dict[str, Any] | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._poller = zmq.Poller()
        _OPEN.add(self)
        try:
            self.daemon, self.text_window = self._open(transport)
        except BaseException:
            self.close()
            raise

    # --- opening and closing

    def _open(self, transport: endpoints.Transport) -> tuple[Daemon, int]:
        endpoints.harden(self._dealer)
        self._dealer.setsockopt(zmq.SNDTIMEO, math.ceil(self.timeout * 1000))
        transport.connect_control(self._dealer)
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._door, zmq.POLLIN)
        self.send(
            "Hello",
            proto_min=wire.PROTO_MIN,
            proto_max=wire.PROTO_MAX,
            agent=f"voicebox_client/{__version__}",
            pid=os.getpid(),
            token=transport.token(),
            features=[arena.FEATURE] if self._shares else None,
        )
        self._await(lambda: self._welcome, "Hello")
        welcome = self._welcome or {}
        self._open_door(welcome.get("token"))
        self.features = frozenset(welcome.get("features") or ())
        window = (welcome.get("limits") or {}).get("text_window", wire.TEXT_WINDOW)
        return Daemon(*(welcome.get(name) for name in Daemon._fields)), window  # type: ignore[arg-type]

    def _open_door(self, token: str | None) -> None:
        """Prove on the session door who we are; from then on its end of file is the other side's death."""
        self._door.settimeout(self.timeout)
        try:
            self._door.sendall(f"{token or ''}\n".encode())
            said = b""
            while len(said) < len(_WELL) and (piece := self._door.recv(len(_WELL) - len(said))):
                said += piece
            self._door.setblocking(False)
        except OSError as error:
            raise DaemonLost(f"the daemon's session door broke: {error}") from None
        if said != _WELL:
            raise DaemonLost(f"the daemon's session door closed after saying {said!r}")

    def close(self, reason: VoiceboxError | None = None) -> None:
        """End the conversation; the daemon cancels what is still open, and its Speeches raise `reason`."""
        if self.lost is None:
            self.lost = reason or DaemonLost("the connection is closed")
        for speech in list(self.speeches.values()):
            speech.lose(self._gone())
        for each in self.arenas.values():
            each.detach_all()
            each.close()
        self.arenas.clear()
        self.abandon()
        self._dealer.close(0)
        self._context.term()

    def abandon(self) -> None:
        """Close the plain sockets only: all that a forked child may do, so that its parent's death is still noticed."""
        self._door.close()
        for end in self._wake or ():
            end.close()

    # --- sending

    @property
    def boot(self) -> str:
        """The daemon's boot id."""
        return self.daemon.boot

    def send(self, kind: str, payload: bytes | None = None, prompt: bytes | None = None, **fields: Any) -> None:
        """Send one message; fields that are None are left out. `prompt` goes after the payload, in a frame of its own."""
        if self.lost is not None:
            raise self._gone()
        header = {"kind": kind, **{name: value for name, value in fields.items() if value is not None}}
        # Before anything is sent: what cannot be packed must not leave half a message behind.
        packed, body = msgpack.packb(header), None if payload is None else memoryview(payload)
        try:
            _send(self._dealer, wire.MAGIC, _MORE)
            if body is None:
                _send(self._dealer, packed, 0)
            else:
                _send(self._dealer, packed, _MORE)
                self._dealer.send(body, 0 if prompt is None else _MORE)
                if prompt is not None:
                    self._dealer.send(prompt)
        except zmq.Again:
            self._lose(DaemonLost(f"the daemon took no message for {self.timeout:g} s"))
            raise self._gone() from None

    def tell(
        self, kind: str, req: str, payload: bytes | None = None, prompt: bytes | None = None, **fields: Any
    ) -> None:
        """Send one message about a request."""
        self.send(kind, payload, prompt, boot=self.boot, req=req, **fields)

    def must_clone(self) -> None:
        """Raise `Unsupported` if the daemon knows nothing of voice prompts."""
        self._must(wire.CLONING, "speak like a recording")

    def must_play(self) -> None:
        """Raise `Unsupported` if the daemon has no loudspeaker of its own."""
        self._must(wire.LOUDSPEAKER, "play on the loudspeaker")

    def _must(self, feature: str, what: str) -> None:
        if feature not in self.features:
            raise Unsupported(f"the running daemon ({self.daemon.version}) cannot {what}; run: voicebox daemon restart")

    def query(self, kind: str, *, within: float | None = None, **fields: Any) -> dict[str, Any]:
        """Ask, and return the answer's header, with its payload under `payload` if it has one; raises the error that it is.

        `within` is for what takes longer than an answer, in seconds: `DeadlineExceeded` after that.
        """
        number = self.ask(kind, **fields)
        try:
            self._await(lambda: self._answers[number], kind, within)
            return self.answered(number, kind, within)
        finally:
            self.unask(number)

    def ask(self, kind: str, **fields: Any) -> int:
        """Ask; the number of the question, whose answer is kept from when it comes until `unask`."""
        self._query += 1
        self.send(kind, query=self._query, **fields)
        self._answers[self._query] = None
        return self._query

    def unask(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        del self._answers[number]

    def answered(self, number: int, what: str, within: float | None = None) -> dict[str, Any]:
        """The answer's header, if it has come in time and is no error; else raises what there was instead."""
        answer = self._answers[number]
        if answer is None:
            raise self._gone() if self.lost is not None else self._unanswered(what, within)
        if answer["kind"] == "Error":
            raise from_wire(answer["code"], answer["message"])
        return answer

    def drop(self, req: str, first: int, last: int) -> None:
        """Cancel a request whose Speech is being finalized, and give pieces `first` to `last` of it back, which may happen in any
        thread: now, or at the next call."""
        self._dropped.append((req, first, last))
        if self.guard.enter_if_free():
            try:
                self.flush()
            finally:
                self.guard.leave()

    def flush(self) -> None:
        """Cancel the requests that were dropped."""
        while self._dropped and self.lost is None:
            req, first, last = self._dropped.popleft()
            with contextlib.suppress(VoiceboxError):
                self.tell("Cancel", req)
                if last >= first:
                    self.tell("Credit", req, first=first, last=last)

    def waker(self) -> socket.socket:
        """What another thread writes a byte to, so that a wait here looks round."""
        if self._wake is None:
            self._wake = socket.socketpair()
            for end in self._wake:
                end.setblocking(False)
            self._poller.register(self._wake[0], zmq.POLLIN)
        return self._wake[1]

    # --- receiving

    def alive(self) -> bool:
        """Whether the daemon still is there, without waiting."""
        if self.lost is None and not self._door_is_quiet():
            self._turn(0.0)
        return self.lost is None

    def _door_is_quiet(self) -> bool:
        """Whether nothing is to be read there, its end neither: asked before each call, so it costs next to nothing."""
        try:
            self._door.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def listen(self, most: float = _PATIENCE) -> None:
        """Wait until something happens: a message, text to send, or the end. A daemon that stays silent is asked."""
        self._turn(min(most, self.patience))
        self.look_after()

    @property
    def patience(self) -> float:
        """For how many seconds to wait before `look_after`."""
        return _PATIENCE if self._asked is None else min(_PATIENCE, self.timeout)

    def look_after(self) -> None:
        """Ask a daemon that has been silent for long whether it lives, and lose one that did not answer that."""
        now = time.monotonic()
        if self.lost is not None or now - self._heard < _PATIENCE:
            return
        if self._asked is None:
            self.send("Status", query=_PING)
            self._asked = now
        elif now - self._asked >= self.timeout:
            self._lose(DaemonLost(f"the daemon (pid {self.daemon.pid}) has said nothing for {now - self._heard:.0f} s"))

    def _await(self, met: Callable[[], object], what: str, within: float | None = None) -> None:
        until = time.monotonic() + (self.timeout if within is None else within)
        while not met():
            if self.lost is not None:
                raise self._gone()
            if (left := until - time.monotonic()) <= 0:
                raise self._unanswered(what, within)
            if within is None:
                self._turn(left)
            else:
                self.listen(left)

    def _unanswered(self, what: str, within: float | None) -> VoiceboxError:
        if within is None:
            return DaemonUnreachable(f"the daemon did not answer {what} within {self.timeout:g} s")
        return DeadlineExceeded(f"the daemon has not done {what} within {within:g} s; it goes on with it")

    def _turn(self, seconds: float) -> bool:
        """Wait once, handle all that has come, and say whether that was anything.

        The DEALER is read first: a last message counts, the end may wait.
        """
        self.flush()
        ready = dict(self._poller.poll(math.ceil(seconds * 1000)))
        news = self._dealer in ready and self._drain()
        if self._wake is not None and self._wake[0].fileno() in ready:
            _empty(self._wake[0])
        if self.lost is None and self._door.fileno() in ready and not self._read_door():
            pid = f" (pid {self._welcome.get('pid')})" if self._welcome else ""
            self._lose(DaemonLost(f"the daemon{pid} has gone; ask again, and a new one is started"))
        return news or bool(ready)

    def _drain(self) -> bool:
        """Handle all that has come; there is something."""
        readable = True
        while self.lost is None and readable:
            frames = [self._dealer.recv(_NOW, copy=False)]
            while frames[-1].more:
                frames.append(self._dealer.recv(_NOW, copy=False))
            self._heard, self._asked = time.monotonic(), None
            try:
                self._take(*_unpack(frames))
            except (LookupError, TypeError, ValueError) as error:
                self._lose(BadMessage(f"the daemon sent what cannot be read: {type(error).__name__} {error}"))
            readable = self.lost is None and bool(int(self._dealer.getsockopt(zmq.EVENTS)) & _READABLE)
        return True

    def _take(self, header: dict[str, Any], payload: memoryview) -> None:
        kind, req = header["kind"], header.get("req")
        if self._welcome is None:
            self._take_welcome(kind, header)
        elif header.get("boot", self._welcome["boot"]) != self._welcome["boot"]:
            return
        elif req is not None and (speech := self.speeches.get(req)) is not None:
            speech.receive(kind, header, payload)
        elif kind == "Chunk":
            # Nobody reads it any more.
            self.tell("Credit", header["req"], first=header["seq"], last=header["seq"] + len(header["descriptors"]) - 1)
        elif kind in wire.TERMINAL:
            self.tell("EndAck", header["req"])
        elif header.get("query") in self._answers:
            self._answers[header["query"]] = {**header, "payload": bytes(payload)} if len(payload) else header
        elif kind == "Error" and req is None and header.get("query") is None:
            self._lose(from_wire(header["code"], header["message"]))

    def _take_welcome(self, kind: str, header: dict[str, Any]) -> None:
        if kind == "Welcome":
            self._welcome = header
        elif kind == "Error":
            self._lose(from_wire(header["code"], header["message"]))

    @property
    def _shares(self) -> bool:
        """Whether descriptors can come through the door."""
        return self._door.family == getattr(socket, "AF_UNIX", None) and arena.supported()

    def _read_door(self) -> bool:
        """What the daemon says at its door: arenas that it offers. False if it has gone."""
        descriptors: list[int] = []
        try:
            if self._shares:
                said, descriptors = _receive(self._door)
            else:
                said = self._door.recv(_LONGEST_SAYING)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            self._hear(line, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return bool(said) and len(self._said) < _LONGEST_SAYING

    def _hear(self, line: bytes, descriptors: list[int]) -> None:
        """One line; of those that come together at most the last has a descriptor, and none has if this process has no room."""
        try:
            news = arena.decode(line)
        except ValueError:
            return
        if isinstance(news, arena.Gone) and (gone := self.arenas.pop(news.arena, None)) is not None:
            gone.close()
        elif isinstance(news, arena.Offer) and descriptors:
            self._map(news, descriptors.pop())

    def _map(self, offer: arena.Offer, descriptor: int) -> None:
        """Map an arena and say so. Without it sound comes in the messages, as it does until then."""
        try:
            # Few milliseconds, which only those who speak are to pay, and while the engine works.
            from voicebox_client.arena import Arena
        except (ImportError, OSError, MemoryError):  # a process at its limits
            os.close(descriptor)
            return
        with contextlib.suppress(OSError, ValueError, MemoryError, VoiceboxError):
            mapped = Arena(offer, descriptor)
            if self.lost is not None:
                return
            self.arenas[offer.arena] = mapped
            self.send("Mapped", boot=self.boot, arena=offer.arena)

    def _lose(self, reason: VoiceboxError) -> None:
        """The end of this connection: read what was still on its way, then tell every Speech and let go."""
        while self.lost is None and isinstance(reason, DaemonLost) and self._dealer.poll(_LAST_WORDS_MS):
            self._drain()
        self.close(reason)

    def _gone(self) -> VoiceboxError:
        """What ended the connection, as an exception of its own for each who is told."""
        reason = self.lost or DaemonLost()
        return type(reason)(*reason.args)


_OPEN: WeakSet[Connection] = WeakSet()


def _abandon_all() -> None:
    for connection in list(_OPEN):
        connection.abandon()


def _detach_all() -> None:
    """What a forked child has a view of must not change when its parent goes on."""
    for connection in list(_OPEN):
        for each in list(connection.arenas.values()):
            each.detach_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_detach_all, after_in_child=_abandon_all)


def _unpack(frames: list[zmq.Frame]) -> tuple[dict[str, Any], memoryview]:
    if len(frames) < 2 or frames[0].bytes != wire.MAGIC or len(frames[1]) > wire.MAX_HEADER:
        raise ValueError("no VB1 message")
    header = msgpack.unpackb(frames[1].buffer)
    if not isinstance(header, dict):
        raise TypeError("the header is no map")
    payload = memoryview(frames[2].buffer).toreadonly() if len(frames) > 2 else memoryview(b"")
    return header, payload


def _receive(door: socket.socket) -> tuple[bytes, list[int]]:
    """What was said, and the descriptor that came with it, if one did, which no child inherits: `socket.recv_fds` of Python
    3.11 does not pass such a wish on."""
    said, beside, _, _ = door.recvmsg(_LONGEST_SAYING, socket.CMSG_LEN(_INT), socket.MSG_CMSG_CLOEXEC)
    return said, [int.from_bytes(data, sys.byteorder) for _, kind, data in beside if kind == socket.SCM_RIGHTS]


def _empty(wake: socket.socket) -> None:
    try:
        while wake.recv(4096):
            pass
    except BlockingIOError:
        pass
