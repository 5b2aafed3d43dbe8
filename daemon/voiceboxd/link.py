"""A ROUTER on the event loop. The socket's file descriptor is edge-triggered: any send, receive or look at EVENTS may
consume the edge, so each of them is followed by a look of our own, and the reader is woken if there is something to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import anyio
import anyio.lowlevel
import zmq

from voicebox_protocol import wire
from voiceboxd.effects import Payload

_BATCH = 64


class Link:
    """Owns one ROUTER. Sends never wait: what a peer has not taken is bounded by credit, and by the high-water mark
    beyond which a peer counts as gone."""

    def __init__(self, router: zmq.Socket[bytes]) -> None:
        self._router = router
        self._descriptor = cast(int, router.getsockopt(zmq.FD))
        self._readable = anyio.Event()
        self._closed = False

    def send(self, peer: bytes, header: bytes, payload: Payload | None = None) -> bool:
        """Send one message; False if the peer is gone or takes nothing any more."""
        frames: list[Any] = [peer, wire.MAGIC, header]
        if payload is not None:
            frames.append(payload)
        try:
            self._router.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        finally:
            self._publish()
        return True

    async def watch(self) -> None:
        """Runs in the owner's task group: the only task that waits on the descriptor."""
        while True:
            await anyio.wait_readable(self._descriptor)
            self._publish()

    async def receive(self) -> Sequence[list[zmq.Frame]]:
        """At least one message, at most a batch: as many as came, so that one wake-up serves them all."""
        # A peer that never pauses must not keep the loop from everybody else.
        await anyio.lowlevel.checkpoint()
        while True:
            batch = self._drain()
            if batch:
                return batch
            waited = self._readable
            if not self._publish():
                await waited.wait()

    def _drain(self) -> list[list[zmq.Frame]]:
        batch: list[list[zmq.Frame]] = []
        while len(batch) < _BATCH:
            try:
                batch.append(self._router.recv_multipart(zmq.NOBLOCK, copy=False))
            except zmq.Again:
                break
        self._publish()
        return batch

    def _publish(self) -> bool:
        if self._closed:
            return False
        readable = bool(cast(int, self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
        if readable:
            self._readable.set()
            self._readable = anyio.Event()
        return readable

    def close(self) -> None:
        """Let queued messages go out for a moment, then close."""
        self._closed = True
        self._router.close(linger=200)
