"""The I/O thread: sole owner of the DEALER, the heartbeats and the lifeline.

The main thread belongs to the engine, which may block it for seconds; so nothing here ever waits for it. The two talk
through queues: one towards the main thread, which sleeps on it, and one back, with a byte on a socket pair as wake-up.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import zmq
from zmq.backend import Socket

from voicebox_protocol import endpoints, wire
from voicebox_protocol.schema import Beat, Hello, Message, encode
from voicebox_protocol.startline import StartLine
from voicebox_provider import lifeline
from voicebox_provider.arena import Arena
from voicebox_provider.conversation import EXIT_LOST, Conversation, Delivery
from voicebox_provider.death_notice import DeathNotice

_FLUSH_MS = 2000
_CLOSE_S = 20.0
_GREETING_S = 5.0
# As plain numbers, and past pyzmq's wrapper for small frames: what that looks at takes longer than sending does.
_NOW, _MORE, _READABLE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE), int(zmq.POLLIN)
_send = Socket.send

_Outgoing: TypeAlias = tuple[Message, memoryview | None]


class Link:
    """Owns the connection to the daemon. Made, started, used and closed by the main thread."""

    def __init__(self, start: StartLine, arena: Arena | None = None) -> None:
        self._start = start
        self.arena = arena
        self._inbox: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._outbox: deque[_Outgoing] = deque()
        self._closing = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        freed = () if arena is None else (arena.release,)
        self._talk = Conversation(start.epoch, self._inbox.put, time.monotonic(), *freed)
        self._greeted = threading.Event()
        self._closed = threading.Event()

    def open(self, hello: Hello) -> None:
        """Start the thread and say Hello. Must be called on the main thread, which takes the signals."""
        # The interpreter writes the signal's number here even while an engine keeps the main thread busy.
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        if sys.platform == "win32":
            threading.Thread(target=_watch_lifeline, name="voicebox-lifeline", daemon=True).start()
        threading.Thread(target=self._run, args=(hello,), name="voicebox-io", daemon=True).start()
        # What follows here imports and loads, and would keep the interpreter from the thread for many milliseconds.
        self._greeted.wait(_GREETING_S)

    def send(self, message: Message, payload: memoryview | None = None) -> None:
        """Say something, after Welcome. The payload's bytes are the link's from now on."""
        self._outbox.append((message, payload))
        self._wake_up()

    def step(self) -> None:
        """The engine got on."""
        self._talk.step()

    def beat(self, memory: Mapping[str, int | None]) -> None:
        """Say at once that it lives, and what it holds of its device: the fields of Beat."""
        self.send(Beat(epoch=self._start.epoch, steps=self._talk.steps, **memory))

    def receive(self, *, block: bool) -> Delivery | None:
        """The next thing to do; None if there is nothing and `block` is false."""
        try:
            return self._inbox.get(block)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Send what is still to be sent, as far as the daemon takes it within seconds, and end the thread."""
        self._closing = True
        self._wake_up()
        self._closed.wait(_CLOSE_S)
        signal.set_wakeup_fd(-1)
        self._wake.close()
        self._woken.close()

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: the thread will wake anyhow
            self._wake.send(b"\0")

    # --- everything below runs on the I/O thread

    def _run(self, hello: Hello) -> None:
        # This thread holds it, because no engine can keep it in the kernel while the process dies.
        death_notice = DeathNotice(self._start.death_fd)
        try:
            self._converse(hello)
        except BaseException:
            traceback.print_exc()
            os._exit(EXIT_LOST)
        if self._talk.exit_code is not None:
            os._exit(self._talk.exit_code)
        if self._talk.stale:
            sys.stderr.write(f"dropped {self._talk.stale} stale messages\n")
        death_notice.withdraw()
        self._closed.set()

    def _converse(self, hello: Hello) -> None:
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        try:
            self._connect(dealer)
            self._say(dealer, [hello])
            self._greeted.set()
            self._loop(dealer)
        finally:
            dealer.close(linger=_FLUSH_MS)
            context.term()

    def _connect(self, dealer: zmq.Socket[bytes]) -> None:
        endpoints.harden(dealer)
        # The daemon gives work only where it has room for the result, so there is nothing to hold back here.
        dealer.setsockopt(zmq.SNDHWM, 0)
        dealer.setsockopt(zmq.RCVHWM, 0)
        endpoints.connect_provider(dealer, self._start.address, self._start.server_key)

    def _loop(self, dealer: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(dealer, zmq.POLLIN)
        poller.register(self._woken.fileno(), zmq.POLLIN)
        if sys.platform != "win32":
            poller.register(lifeline.STDIN, zmq.POLLIN)
        while not self._is_over():
            ready = dict(poller.poll(self._patience()))
            if lifeline.STDIN in ready and lifeline.is_cut():
                os._exit(EXIT_LOST)
            if self._woken.fileno() in ready:
                self._say(dealer, self._signals())
            self._hear(dealer)
            self._say(dealer, self._talk.due(time.monotonic()))
            self._post(dealer)

    def _is_over(self) -> bool:
        return self._talk.exit_code is not None or (self._closing and not self._outbox)

    def _patience(self) -> int | None:
        """Milliseconds until something is due, rounded up lest the poll ends just before it."""
        deadline = self._talk.deadline()
        return None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)

    def _signals(self) -> list[Message]:
        woken_by = self._woken.recv(4096)
        return self._talk.leave("SIGTERM") if signal.SIGTERM in woken_by else []

    def _hear(self, dealer: zmq.Socket[bytes]) -> None:
        while int(dealer.getsockopt(zmq.EVENTS)) & _READABLE:
            frames = [dealer.recv(_NOW)]
            while dealer.getsockopt(zmq.RCVMORE):
                frames.append(dealer.recv(_NOW))
            self._say(dealer, self._talk.received(frames, time.monotonic()))

    def _post(self, dealer: zmq.Socket[bytes]) -> None:
        while self._talk.welcomed and self._outbox:
            message, payload = self._outbox.popleft()
            self._talk.sending(message, time.monotonic())
            header = encode(message)
            _send(dealer, wire.MAGIC, _MORE)
            if payload is None:
                _send(dealer, header, _NOW)
            else:
                _send(dealer, header, _MORE)
                dealer.send(payload, _NOW, copy=False)

    def _say(self, dealer: zmq.Socket[bytes], messages: Iterable[Message]) -> None:
        for message in messages:
            header = encode(message)
            _send(dealer, wire.MAGIC, _MORE)
            _send(dealer, header, _NOW)


def _watch_lifeline() -> None:
    """Windows cannot poll a pipe together with sockets, so there a thread of its own sleeps on it."""
    while not lifeline.is_cut():
        pass
    os._exit(EXIT_LOST)
