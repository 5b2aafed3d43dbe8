"""`AsyncSpeech`: a `Speech` that is waited for in an event loop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel
import anyio.to_thread

from voicebox_client import audio
from voicebox_client.events import Accepted, Chunk, Event, Notice, Result
from voicebox_protocol.errors import VoiceboxError

if TYPE_CHECKING:
    from voicebox_client.loop_connection import LoopConnection
    from voicebox_client.speech import Speech

_in_thread = anyio.to_thread.run_sync


class AsyncSpeech:
    """One request; what `Speech` is, with `await`. Iterate it for `Chunk`s, or `events()` for all that happens.

    Cancelling a task that waits in one of these methods cancels the request; so does leaving `async with`, or dropping
    the last reference.
    """

    def __init__(
        self, speech: Speech, link: LoopConnection, next_link: Callable[[], Awaitable[LoopConnection]]
    ) -> None:
        self._speech = speech
        self._link = link
        self._next_link = next_link
        self._rejoining = anyio.Lock()

    @property
    def request_id(self) -> str:
        """The request's random name."""
        return self._speech.request_id

    @property
    def notices(self) -> list[Notice]:
        """What was worth telling so far."""
        return self._speech.notices

    @property
    def result(self) -> Result | None:
        """How the request ended; None before."""
        return self._speech.result

    @property
    def ended(self) -> bool:
        """Whether nothing more will come, though there may be something left to read."""
        return self._speech.ended

    @property
    def known(self) -> Accepted | None:
        """Who speaks, if the daemon has said so already."""
        return self._speech.known

    async def accepted(self) -> Accepted:
        """Who speaks, and at which rate: waits until the daemon has said so."""
        with self._cancelling():
            while not (self._speech.known or self._speech.ended):
                await self._find_link()
                await self._link.until(lambda: self._speech.known or self._speech.ended)
        return self._speech.acceptance()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while (event := await self._next()) is not None:
            if isinstance(event, Chunk):
                return event
        raise StopAsyncIteration

    def events(self) -> AsyncIterator[Event]:
        """All that happens, in order; everything is as in `Speech.events`. Iterating the speech gives the chunks."""
        return _Events(self)

    async def wait(self) -> Result:
        """Wait for the end, that of hearing if it is for the loudspeaker, and return it. Raises what iterating raises."""
        async for _ in self.events():
            pass
        return self._speech.ending()

    async def collect(self) -> audio.Audio:
        """The whole sound, in memory."""
        self._speech.must_bring_sound()
        gathering = audio.Gathering()
        async for chunk in self:
            gathering.add(chunk)
        return gathering.audio(self._speech)

    async def save(self, path: str | os.PathLike[str], format: str | None = None) -> Result:  # noqa: A002
        """Write the sound to a file as it comes, as `Speech.save` does; files are written in worker threads.

        A FIFO or device that takes nothing holds up the end of a cancelled call, though not that of its request.
        """
        self._speech.must_bring_sound()
        writing = audio.Writing(path, format, hold=self._speech.on_failure == "segment")
        try:
            await _in_thread(writing.open)
            async for chunk in self:
                await _in_thread(partial(writing.write, chunk))
            result = self._speech.ending()
            await _in_thread(partial(writing.finish, self._speech.acceptance().sample_rate, result.frames))
        finally:
            await self.aclose()
            with anyio.CancelScope(shield=True):
                await _in_thread(writing.abandon)
        return result

    async def cancel(self, wait: float = 0.0) -> Result | None:
        """Ask the daemon to stop; wait at most so many seconds for its last word, and return it if it came."""
        self._speech.ask_to_stop()
        with anyio.move_on_after(wait):
            await self._link.until(lambda: self._speech.ended)
        return self._speech.result

    async def aclose(self) -> None:
        """Cancel, and forget what was not read, if it is still going; one that is detached goes on without you. Never waits; harmless
        when done."""
        self._speech.close()
        self._link.turn()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _next(self) -> Event | None:
        with self._cancelling():
            await anyio.lowlevel.checkpoint()
            self._speech.catch_up()
            while not self._speech.ready:
                await self._find_link()
                await self._link.until_ready(self._speech)
        return self._speech.take()

    async def _find_link(self) -> None:
        """If the daemon is gone, the next one; for all tasks that wait for the speech."""
        if self._speech.adrift:
            async with self._rejoining:
                await self._rejoin()

    async def _rejoin(self) -> None:
        if self._speech.adrift:
            try:
                link = await self._next_link()
            except VoiceboxError as error:
                self._speech.strand(error)
            else:
                self._link = link
                self._speech.rejoin(link)
                link.turn()

    @contextlib.contextmanager
    def _cancelling(self) -> Iterator[None]:
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self._speech.close()
            self._link.turn()
            raise


class _Events:
    """No generator: one that is left half read would have to be closed by the event loop."""

    def __init__(self, speech: AsyncSpeech) -> None:
        self._speech = speech

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._speech._next()
        if event is None:
            raise StopAsyncIteration
        return event
