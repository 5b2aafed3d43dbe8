"""What `test_resumption` shows of the plain client, in an event loop."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.unit.client.fake_daemon import WAIT_S, FakeDaemon
from tests.unit.client.test_aio import anyio_backend, departed, heard
from tests.unit.client.test_resumption import AT_ONCE_S, SOUND, TEXT, WHOLE, begins, goes_on, piece, said
from voicebox_client import AsyncSpeech, AsyncVoicebox, Chunk, aio
from voicebox_protocol import schema
from voicebox_protocol.errors import CancelledByRequest, DaemonLost

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio

# A hundred frames of the second sentence are there when the daemon dies.
HALF = begins((0, 0, 300), (1, 0, 100))


async def read(speech: AsyncSpeech, frames: int) -> bytes:
    sound = b""
    while len(sound) < 4 * frames:
        sound += bytes((await anext(speech)).data)
    return sound


async def die(daemon: FakeDaemon) -> None:
    await anyio.to_thread.run_sync(daemon.die)


async def test_the_next_daemon_goes_on(runtime_dir: Path) -> None:
    async with AsyncVoicebox() as box:
        with FakeDaemon(runtime_dir, HALF) as first:
            speech = await box.say(TEXT, resume=True)
            sound = await read(speech, 400)
            await die(first)
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            chunks = [(chunk.seq, chunk.start, bytes(chunk.data)) async for chunk in speech]
            again = said(second)
    assert sound + b"".join(data for _, _, data in chunks) == WHOLE
    assert [place for *place, _ in chunks] == [[2, 400], [3, 800]]
    assert (again.req, again.from_segment, again.from_frame) == (speech.request_id, 1, 100)
    assert [notice.code for notice in speech.notices] == ["RECONNECTED", "RESUMED"]
    assert speech.result is not None
    assert (speech.result.resumed, len(speech.result.attempts)) == ("exact", 2)


@pytest.mark.parametrize("way", ["collect", "save", "events", "accepted"])
async def test_however_it_is_read_whoever_waits_goes_on(runtime_dir: Path, tmp_path: Path, way: str) -> None:
    async with AsyncVoicebox() as box, anyio.create_task_group() as tasks:
        first = FakeDaemon(runtime_dir, (lambda *_: None) if way == "accepted" else HALF)
        with first:
            speech = await box.say(TEXT, resume=True)

            async def whole() -> None:
                if way == "save":
                    await speech.save(tmp_path / "x.pcm")
                elif way == "events":
                    assert b"".join([bytes(e.data) async for e in speech.events() if isinstance(e, Chunk)]) == WHOLE
                elif way == "accepted":
                    assert (await speech.accepted()).voice == "anna"
                else:
                    assert (await speech.collect()).data == WHOLE

            tasks.start_soon(whole)
            await heard(first, "Say")
            await die(first)
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            await heard(second, "Say")
            await heard(second, "EndAck", req=speech.request_id)
    if way == "save":
        assert (tmp_path / "x.pcm").stat().st_size == 2 * len(WHOLE) // 4


async def test_all_that_a_daemon_spoke_goes_on_with_the_next(runtime_dir: Path) -> None:
    async with AsyncVoicebox() as box:
        with FakeDaemon(runtime_dir, HALF) as first:
            speeches = [await box.say(TEXT, resume=number != 2) for number in range(5)]
            for speech in speeches:
                await speech.accepted()
            await die(first)
        ends: list[Any] = []

        async def whole(speech: AsyncSpeech) -> None:
            try:
                ends.append(bytes((await speech.collect()).data))
            except DaemonLost:
                ends.append("lost")

        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            async with anyio.create_task_group() as tasks:
                for speech in speeches:
                    tasks.start_soon(whole, speech)
            assert len(second._doors) == 1
    assert ends.count(WHOLE) == 4
    assert ends.count("lost") == 1


@pytest.mark.parametrize("kind", ["async", "threaded"])
async def test_text_that_is_still_being_written_goes_on(runtime_dir: Path, kind: str) -> None:
    gate, plain_gate = anyio.Event(), threading.Event()

    async def words() -> AsyncIterator[str]:
        yield TEXT[:12]
        yield TEXT[12:25]
        await gate.wait()
        yield TEXT[25:]

    def plain_words() -> Iterator[str]:
        yield TEXT[:12]
        yield TEXT[12:25]
        plain_gate.wait(20)
        yield TEXT[25:]

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
        elif isinstance(message, schema.Text) and len(daemon.texts[message.req].decode()) == 25:
            piece(daemon, to, message.req, 0, 0, 0, 300)
            piece(daemon, to, message.req, 1, 1, 0, 100)

    def second_script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Text) and message.last:
            goes_on(daemon, to, said(daemon), b"")

    async with AsyncVoicebox() as box:
        with FakeDaemon(runtime_dir, script) as first:
            speech = await box.say(words() if kind == "async" else plain_words(), resume=True)
            sound = await read(speech, 400)
            await die(first)
        with FakeDaemon(runtime_dir, second_script, boot="second") as second:
            async with anyio.create_task_group() as tasks:

                async def rest() -> None:
                    nonlocal sound
                    sound += b"".join([bytes(chunk.data) async for chunk in speech])

                tasks.start_soon(rest)
                await heard(second, "Text")
                began = anyio.current_time()
                gate.set()
                plain_gate.set()
            assert anyio.current_time() - began < AT_ONCE_S
            assert second.texts[speech.request_id].decode() == TEXT[9:]
    assert sound == SOUND[0] + SOUND[1] + SOUND[2]


async def test_whoever_stops_waiting_for_the_next_daemon_cancels(runtime_dir: Path) -> None:
    async with AsyncVoicebox() as box:
        with FakeDaemon(runtime_dir, HALF) as first:
            speech = await box.say(TEXT, resume=True)
            await read(speech, 400)
            await die(first)
        with anyio.move_on_after(0.3) as scope:
            await anext(speech)
        assert scope.cancelled_caught
        with pytest.raises(CancelledByRequest):
            await anext(speech)


async def test_leaving_ends_what_waits_for_the_next_daemon(runtime_dir: Path) -> None:
    ends: list[str] = []
    async with anyio.create_task_group() as tasks, AsyncVoicebox() as box:
        with FakeDaemon(runtime_dir, HALF) as first:
            speech = await box.say(TEXT, resume=True)
            await read(speech, 400)
            await die(first)

        async def wait() -> None:
            with pytest.raises(CancelledByRequest, match="closed"):
                await anext(speech)
            ends.append("cancelled")

        tasks.start_soon(wait)
        await anyio.sleep(0.2)
    assert ends == ["cancelled"]


async def test_leaving_closes_what_a_thread_was_still_reaching(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, real = threading.Event(), aio.connect

    def connect(*args: Any, **fields: Any) -> Any:
        assert slow.wait(WAIT_S)
        return real(*args, **fields)

    async with anyio.create_task_group() as tasks:
        async with AsyncVoicebox() as box:
            with FakeDaemon(runtime_dir, HALF) as first:
                speech = await box.say(TEXT, resume=True)
                await read(speech, 400)
                await die(first)
            monkeypatch.setattr(aio, "connect", connect)

            async def wait() -> None:
                with pytest.raises(CancelledByRequest, match="closed"):
                    await anext(speech)

            tasks.start_soon(wait)
            await anyio.sleep(0.2)
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            slow.set()
            await departed(second)


async def test_without_a_next_daemon_it_is_lost(runtime_dir: Path) -> None:
    async with AsyncVoicebox(timeout=0.3) as box:
        with FakeDaemon(runtime_dir, HALF) as first:
            speech = await box.say(TEXT, resume=True)
            await read(speech, 400)
            await die(first)
        with pytest.raises(DaemonLost, match="cannot be reached"):
            await speech.collect()
