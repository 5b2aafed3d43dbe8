"""`AsyncVoicebox`: the voice service in an event loop, under asyncio or trio."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from voicebox_client import request
from voicebox_client.async_feeder import AsyncFeeder
from voicebox_client.async_speech import AsyncSpeech
from voicebox_client.client import DEVICES_S, LOADING_S, LOOK_EVERY_S, Touched, connect, left_to_others
from voicebox_client.connection import Daemon
from voicebox_client.feeder import Feeder
from voicebox_client.guard import Guard
from voicebox_client.loop_connection import LoopConnection
from voicebox_client.speech import Speech
from voicebox_client.voice_prompt import VoicePrompt
from voicebox_protocol import wire
from voicebox_protocol.errors import CancelledByRequest, DaemonLost, DaemonUnreachable

__all__ = ["AsyncSpeech", "AsyncVoicebox"]

_CLOSED = "the AsyncVoicebox was closed"


class AsyncVoicebox:
    """The voice service of this machine, for one event loop: `async with AsyncVoicebox() as box`.

    Takes what `Voicebox` takes and raises what it raises. Any number of tasks may use it, and read their speeches, at
    the same time. Connecting, and starting a daemon, go on in a worker thread.
    """

    def __init__(self, *, autostart: bool = True, timeout: float = 10.0) -> None:
        self._autostart = autostart
        self._timeout = timeout
        self._guard = Guard()
        self._tasks: TaskGroup | None = None
        self._link: LoopConnection | None = None

    async def __aenter__(self) -> Self:
        self._connecting = anyio.Lock()
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave. What is still being spoken is cancelled."""
        tasks, self._tasks = self._tasks, None
        link, self._link = self._link, None
        if link is not None:
            link.close(CancelledByRequest(_CLOSED))
        if tasks is not None:
            tasks.cancel_scope.cancel()
            # Told of an error, a task group would wrap it; none of ours has to do with it.
            await tasks.__aexit__(None, None, None)

    async def say(
        self,
        text: str | Iterable[str] | AsyncIterable[str],
        *,
        voice: str | None = None,
        language: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        instruct: str | None = None,
        seed: int | None = None,
        speed: float | None = None,
        pitch: float | None = None,
        volume: float | None = None,
        options: Mapping[str, Any] | None = None,
        sample_rate: int | None = None,
        priority: str | None = None,
        deadline: float | None = None,
        on_failure: str | None = None,
        any_voice: bool | None = None,
        sink: str | None = None,
        follow: bool = False,
        detached: bool = False,
        wait_device: bool = False,
        resume: bool = False,
        prompt: VoicePrompt | None = None,
    ) -> AsyncSpeech:
        """Ask for speech; returns once the request is under way. Everything is as in `Voicebox.say`.

        `text` may be an async iterable of strings as well, such as what a language model writes: it is pulled by a task
        of its own and spoken while it is still being written. An async generator is closed when it is no longer wanted.
        """
        asked = {name: value for name, value in locals().items() if name not in ("self", "text", "deadline", "prompt")}
        like = request.like(prompt, asked)
        fields = request.fields(deadline, asked)
        request.whole_if_detached(text, asked)
        payload = request.whole(text) if isinstance(text, str) else b""
        link, tasks = await self._connected()
        if like is not None:
            link.must_clone()
        if sink == "speaker":
            link.must_play()
        speech = Speech(link, request.new_id())
        if isinstance(text, AsyncIterable):
            feeder = AsyncFeeder(text, link)
            speech.begin(fields, payload, feeder, prompt=like, resume=resume)
            tasks.start_soon(feeder.pull)
        else:
            threaded = None if isinstance(text, str) else Feeder(text, link.waker())
            speech.begin(fields, payload, threaded, prompt=like, resume=resume)
        link.turn()
        return AsyncSpeech(speech, link, self._next_link)

    async def replay(self, req: str | None = None, *, follow: bool = False, detached: bool = False) -> AsyncSpeech:
        """Have the loudspeaker play again what was heard; everything is as in `Voicebox.replay`."""
        asked = {"sink": "speaker", "replay": req or wire.LAST, "follow": follow, "detached": detached}
        fields = request.fields(None, asked)
        link, _ = await self._connected()
        link.must_play()
        speech = Speech(link, request.new_id())
        speech.begin(fields, b"", None)
        link.turn()
        return AsyncSpeech(speech, link, self._next_link)

    async def prepare_voice(
        self,
        audio: Any,
        text: str | None = None,
        *,
        provider: str | None = None,
        model: str | None = None,
        sample_rate: int | None = None,
        timeout: float = LOADING_S,
    ) -> VoicePrompt:
        """Have a provider listen to a recording; everything is as in `Voicebox.prepare_voice`. A file is read in a worker thread."""
        listening = partial(request.listening, audio, text, provider, model, sample_rate, timeout)
        payload, fields = await anyio.to_thread.run_sync(listening)
        link, _ = await self._connected()
        link.must_clone()
        answer = await link.inquire("PrepareVoice", within=timeout + self._timeout, payload=payload, **fields)
        return request.prepared(answer)

    async def status(self) -> dict[str, Any]:
        """How daemon, providers and requests are; the shape stands in docs/protocol.md, "Status"."""
        return dict((await self._ask("Status"))["status"])

    async def voices(self, provider: str | None = None, language: str | None = None) -> list[dict[str, Any]]:
        """The voices there are: {id, provider, name, languages, scripts, gender, kind, default} each."""
        return list((await self._ask("Voices", provider=provider, language=language))["voices"])

    async def providers(self) -> list[dict[str, Any]]:
        """The providers there are: {id, engine, source, state, reason, capabilities} each."""
        return list((await self._ask("Providers"))["providers"])

    async def start_provider(self, provider: str, *, timeout: float = LOADING_S) -> dict[str, Any]:
        """Have a provider loaded; everything is as in `Voicebox.start_provider`."""
        return await self._control("start", provider, timeout)

    async def stop_provider(self, provider: str, *, timeout: float = LOADING_S) -> dict[str, Any]:
        """End a provider's process; everything is as in `Voicebox.stop_provider`."""
        return await self._control("stop", provider, timeout)

    async def restart_provider(self, provider: str, *, timeout: float = LOADING_S) -> dict[str, Any]:
        """Put a fresh process in its place; everything is as in `Voicebox.restart_provider`."""
        return await self._control("restart", provider, timeout)

    async def ping(self, provider: str, *, timeout: float = 5.0) -> float:
        """Ask a provider's process whether it answers; everything is as in `Voicebox.ping`."""
        begun = time.perf_counter()
        deadline = request.milliseconds(timeout, "timeout")
        await self._ask("Ping", within=timeout + self._timeout, provider=provider, deadline_ms=deadline)
        return time.perf_counter() - begun

    async def stop(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Cancel a request of any client, all of them, or those for the loudspeaker. Raises `NoSuchRequest`."""
        answer = await self._ask("Stop", req=req, all=all or None)
        return Touched(answer["reqs"], answer["count"])

    async def skip(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Cancel what the loudspeaker is speaking; everything is as in `Voicebox.skip`."""
        return await self._playback("skip", req, everything=all)

    async def pause(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Silence the loudspeaker where it is; everything is as in `Voicebox.pause`."""
        return await self._playback("pause", req, everything=all)

    async def resume(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Go on after `pause`; everything is as in `Voicebox.resume`."""
        return await self._playback("resume", req, everything=all)

    async def audio(
        self,
        *,
        volume: float | None = None,
        muted: bool | None = None,
        device: str | None = None,
        devices: bool = False,
    ) -> dict[str, Any]:
        """Set and tell how the loudspeaker is; everything is as in `Voicebox.audio`."""
        fields = request.audio(volume, muted, device)
        within = DEVICES_S if devices else None
        return dict((await self._ask_player("Audio", within=within, devices=devices or None, **fields))["audio"])

    async def shutdown(self, *, if_idle: bool = False) -> None:
        """Have the daemon end; with `if_idle`, only if no request is active or queued (raises what it answers)."""
        try:
            await self._ask("Shutdown", if_idle=if_idle or None)
        except DaemonLost:
            return  # its end was noticed before its answer

    async def connect(self) -> Daemon:
        """Connect now rather than at the first call, and say to whom."""
        return (await self._connected())[0].daemon

    async def _control(self, action: str, provider: str, timeout: float) -> dict[str, Any]:
        answer = await self._ask("ControlProvider", within=timeout, provider=provider, action=action)
        return dict(answer["provider"])

    async def _playback(self, action: str, req: str | None, *, everything: bool) -> Touched:
        answer = await self._ask_player("Playback", action=action, req=req, all=everything or None)
        return Touched(answer["reqs"], answer["count"])

    async def _ask_player(self, kind: str, *, within: float | None = None, **fields: Any) -> dict[str, Any]:
        link, _ = await self._connected()
        link.must_play()
        return await link.inquire(kind, within=within, **fields)

    async def _ask(self, kind: str, *, within: float | None = None, **fields: Any) -> dict[str, Any]:
        link, _ = await self._connected()
        return await link.inquire(kind, within=within, **fields)

    async def _connected(self) -> tuple[LoopConnection, TaskGroup]:
        with self._guard:
            tasks = self._tasks
        if tasks is None:
            raise RuntimeError("an AsyncVoicebox is used inside `async with AsyncVoicebox() as box`")
        async with self._connecting:
            if self._link is not None:
                self._link.turn()
            if self._link is None or self._link.lost is not None:
                link = await self._connect()
                if self._tasks is None:
                    link.close()
                    raise CancelledByRequest(_CLOSED)
                self._link = link
                tasks.start_soon(link.watch)
            return self._link, tasks

    async def _next_link(self) -> LoopConnection:
        """The connection to the next daemon, for a speech that lost its own."""
        until = anyio.current_time() + self._timeout
        while self._tasks is not None:
            try:
                return (await self._connected())[0]
            except DaemonUnreachable:
                if not left_to_others(autostart=self._autostart) or anyio.current_time() >= until:
                    raise
            await anyio.sleep(LOOK_EVERY_S)
        raise CancelledByRequest(_CLOSED)

    async def _connect(self) -> LoopConnection:
        attempt = _Attempt(
            partial(connect, LoopConnection, self._guard, autostart=self._autostart, timeout=self._timeout)
        )
        try:
            return await anyio.to_thread.run_sync(attempt.run, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            attempt.abandon()
            raise


class _Attempt:
    """Owns a connection on its way from the thread that makes it to a task that may have stopped waiting for it."""

    def __init__(self, connect: Callable[[], LoopConnection]) -> None:
        self._connect = connect
        self._changing = threading.Lock()
        self._made: LoopConnection | None = None
        self._abandoned = False

    def run(self) -> LoopConnection:
        """Connect, in a thread."""
        link = self._connect()
        with self._changing:
            self._made = link
            if self._abandoned:
                link.close()
        return link

    def abandon(self) -> None:
        """Nobody waits any more: what was made is closed, here or as soon as it is."""
        with self._changing:
            self._abandoned = True
            if self._made is not None:
                self._made.close()
