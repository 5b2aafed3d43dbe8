"""Text from an async iterable, as a language model writes it: pulled by a task, while sound is read."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

import anyio
import anyio.lowlevel

from voicebox_client.connection import Connection
from voicebox_client.feeder import AHEAD, cut, encoded
from voicebox_client.loop_connection import LoopConnection


class AsyncFeeder:
    """Owns the bytes pulled but not yet sent, at most 64 KiB beyond the source's last string."""

    def __init__(self, text: AsyncIterable[str], link: LoopConnection) -> None:
        self.error: BaseException | None = None
        self._text = text
        self._link = link
        self._waiting = bytearray()
        self._finished = False
        self._taken = anyio.Event()
        self._scope = anyio.CancelScope()

    def take(self, room: int) -> tuple[bytes, bool]:
        piece = cut(self._waiting, room)
        self._taken.set()
        return piece, self._finished and not self._waiting

    def stop(self) -> None:
        self._link.stop_soon(self._scope)

    def rejoin(self, link: Connection) -> None:
        assert isinstance(link, LoopConnection)
        self._link = link

    async def pull(self) -> None:
        """Runs in a task of its own until the text ends or nobody wants it."""
        with self._scope:
            try:
                await self._pull()
            except Exception as error:  # whatever it is, it belongs to the reader of the Speech
                self.error = error
            else:
                self._finished = True
        self._link.turn()

    async def _pull(self) -> None:
        try:
            async for part in self._text:
                self._waiting += encoded(part)
                self._link.turn()
                await anyio.lowlevel.checkpoint()  # a source that never waits must leave room for others
                while len(self._waiting) >= AHEAD:
                    self._taken = anyio.Event()
                    await self._taken.wait()
        finally:
            await _close(self._text)


async def _close(text: Any) -> None:
    """End an async generator here and now, not when it is collected: that may be in no event loop at all."""
    if hasattr(text, "aclose"):
        await text.aclose()
