"""A `Connection` that an event loop drives: the same state machine, and tasks that look when there may be news.

The DEALER's descriptor is edge-triggered: any send, receive or look at EVENTS may consume the edge. Whoever may have sent
something therefore calls `turn`, which ends with a receive that found nothing: from then on the descriptor tells.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import zmq

from voicebox_client.connection import Connection
from voicebox_client.guard import Guard
from voicebox_protocol import endpoints
from voicebox_protocol.errors import VoiceboxError

if TYPE_CHECKING:
    from voicebox_client.speech import Speech


class LoopConnection(Connection):
    """Owns, beside what every Connection owns, who waits for what. Made in any thread, used in one event loop."""

    def __init__(self, transport: endpoints.Transport, door: socket.socket, guard: Guard, timeout: float) -> None:
        self._sources: list[int] = []
        self._tasks: anyio.CancelScope | None = None
        self._waiting: dict[anyio.Event, Callable[[], object]] = {}
        self._reading: list[Speech] = []
        self._stopping: deque[anyio.CancelScope] = deque()
        super().__init__(transport, door, guard, timeout)
        self.waker()

    async def watch(self) -> None:
        """Runs in a task of its own for as long as the connection lasts."""
        if self.lost is not None:
            return
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks.cancel_scope
            self._sources = [int(self._dealer.getsockopt(zmq.FD)), self._door.fileno()]
            self._sources += [end.fileno() for end in (self._wake or ())[:1]]
            for source in self._sources:
                tasks.start_soon(self._watch, source)
            tasks.start_soon(self._keep_looking_after)

    def turn(self) -> None:
        """Send what is due, handle all that has come, and wake whoever waited for it."""
        self._serve()
        while self.lost is None and self._turn(0.0):
            self._serve()
        self._rouse()

    async def until(self, met: Callable[[], object]) -> None:
        """Wait until `met` returns something true, or the connection is lost."""
        self.turn()
        while not met() and self.lost is None:
            event = anyio.Event()
            self._waiting[event] = met
            try:
                await event.wait()
            finally:
                self._waiting.pop(event, None)

    async def until_ready(self, speech: Speech) -> None:
        """Wait until there is something to take from a speech."""
        self._reading.append(speech)
        try:
            await self.until(lambda: speech.ready)
        finally:
            self._reading.remove(speech)

    async def inquire(self, kind: str, *, within: float | None = None, **fields: Any) -> dict[str, Any]:
        """What `query` does, without holding up the loop; any number of them at once."""
        number = self.ask(kind, **fields)
        try:
            with anyio.move_on_after(self.timeout if within is None else within):
                await self.until(lambda: self._answers[number])
            return self.answered(number, kind, within)
        finally:
            self.unask(number)

    def drop(self, req: str, first: int, last: int) -> None:
        """Cancel a request whose Speech is being finalized, and give pieces of it back, which may happen in any thread: in the
        loop's next turn."""
        self._dropped.append((req, first, last))
        self._wake_loop()

    def stop_soon(self, scope: anyio.CancelScope) -> None:
        """Cancel a scope of this loop, from whichever thread, in the loop's next turn."""
        self._stopping.append(scope)
        self._wake_loop()

    def close(self, reason: VoiceboxError | None = None) -> None:
        """End the conversation, and the tasks that watch it."""
        sources, self._sources = self._sources, []
        for source in sources:
            anyio.notify_closing(source)
        super().close(reason)
        self._rouse()
        if self._tasks is not None:
            self._tasks.cancel()

    def _wake_loop(self) -> None:
        with contextlib.suppress(OSError):
            self.waker().send(b"\0")

    async def _watch(self, source: int) -> None:
        with contextlib.suppress(anyio.ClosedResourceError):
            while self.lost is None:
                await anyio.wait_readable(source)
                self.turn()

    async def _keep_looking_after(self) -> None:
        while self.lost is None:
            await anyio.sleep(self.patience)
            if self._waiting:
                self.look_after()
            self.turn()

    def _serve(self) -> None:
        """Text that there is room for; and credit for what others left unread, while anybody waits: the window is theirs
        as well. What cannot be sent any more was lost with the connection, which every Speech has been told."""
        for speech in list(self.speeches.values()):
            with contextlib.suppress(VoiceboxError):
                speech.feed()
                if self._reading and speech not in self._reading:
                    speech.settle()

    def _rouse(self) -> None:
        while self._stopping:
            self._stopping.popleft().cancel()
        for event, met in list(self._waiting.items()):
            if self.lost is not None or met():
                event.set()
