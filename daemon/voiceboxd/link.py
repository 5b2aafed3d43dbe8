"""A ROUTER on the event loop. The socket's file descriptor is edge-triggered: any send, or look at it, may consume the edge, so
each of them is followed by a look that finds nothing to read; from then on the descriptor tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias, cast

import anyio
import zmq
from zmq.backend import Socket

from voicebox_protocol import wire
from voiceboxd.effects import Payload

# A peer that never pauses must not keep the loop from everybody else.
_BATCH = 64
# As plain numbers, and for small frames without pyzmq's own wrapper: arithmetic with its enums, and its looking at what kind
# of thing each frame is, would take longer than sending does.
_NOW, _MORE, _READABLE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE), int(zmq.POLLIN)
_send = Socket.send
# Bytes that are copied sooner than they are looked after until they have left.
_COPIED = 16_384

Take: TypeAlias = Callable[[list[zmq.Frame]], None]


class Link:
    """Owns one ROUTER. Sends never wait: what a peer has not taken is bounded by credit, and by the high-water mark
    beyond which a peer counts as gone. What comes is handed over on the loop itself, for a task that has to be woken
    for each message costs more than most messages do."""

    def __init__(self, router: zmq.Socket[bytes]) -> None:
        self._router = router
        self._descriptor = cast(int, router.getsockopt(zmq.FD))
        self._take: Take | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking = False
        self._closed = False

    def send(self, peer: bytes, header: bytes, payload: Payload | None = None, prompt: Payload | None = None) -> bool:
        """Send one message; False if the peer is gone or takes nothing any more. There is no `prompt` without a payload."""
        try:
            _send(self._router, peer, _MORE)
            _send(self._router, wire.MAGIC, _MORE)
            if payload is None:
                _send(self._router, header, _NOW)
            else:
                _send(self._router, header, _MORE)
                if prompt is None:
                    self._send_payload(payload, _NOW)
                else:
                    self._send_payload(payload, _MORE)
                    self._send_payload(prompt, _NOW)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        finally:
            if not self._looking and self._readable():
                self._look_soon()
        return True

    def _send_payload(self, payload: Payload, how: int) -> None:
        if len(payload) < _COPIED:
            _send(self._router, bytes(payload), how)
        else:
            self._router.send(payload, how, copy=False)

    async def serve(self, take: Take) -> None:
        """Hand every message to `take`, for ever; whatever that raises goes to the loop's exception handler."""
        self._take, self._loop = take, asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._look)
        try:
            self._look_soon()
            await anyio.sleep_forever()
        finally:
            self._loop.remove_reader(self._descriptor)
            self._take = self._loop = None

    def _look_soon(self) -> None:
        if self._loop is not None and not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        # Until it is over, nothing that is sent meanwhile needs a look of its own.
        self._looking = True
        drained = False
        try:
            drained = self._drain()
        finally:
            self._looking = False
            if not drained:
                self._look_soon()

    def _drain(self) -> bool:
        """Take a batch; True if there is no more, which a look at the socket has shown."""
        for _ in range(_BATCH):
            if self._closed or self._take is None:
                return True
            try:
                frames = [self._router.recv(_NOW, copy=False)]
            except zmq.Again:
                return True
            while frames[-1].more:
                frames.append(self._router.recv(_NOW, copy=False))
            self._take(frames)
            if not self._closed and not self._readable():
                return True
        return False

    def _readable(self) -> bool:
        return bool(cast(int, self._router.getsockopt(zmq.EVENTS)) & _READABLE)

    def close(self) -> None:
        """Let queued messages go out for a moment, then close."""
        self._closed = True
        self._router.close(linger=200)
