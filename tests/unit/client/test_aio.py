"""`AsyncVoicebox` under asyncio and trio: what `Voicebox` does, for many tasks at once, and nothing left when one is cancelled."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.unit.client.fake_daemon import BOOT, RATE, STATUS, WAIT_S, FakeDaemon, tone
from tests.unit.client.test_speech import only_accept
from voicebox_client import (
    Accepted,
    AsyncSpeech,
    AsyncVoicebox,
    Chunk,
    Daemon,
    Notice,
    Reset,
    Speech,
    Voicebox,
    aio,
    connection,
)
from voicebox_protocol import schema, wire
from voicebox_protocol.errors import (
    CancelledByRequest,
    DaemonLost,
    DaemonUnreachable,
    InvalidText,
    NoSuchRequest,
    NoSuchVoice,
    OutputFailed,
    TextTooLong,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "trio":
        import trio._core._thread_cache

        # Trio keeps a thread that has nothing to do for ten seconds; no test waits for that.
        monkeypatch.setattr(trio._core._thread_cache, "IDLE_TIMEOUT", 0.05)
    return str(request.param)


async def heard(daemon: FakeDaemon, kind: str, count: int = 1, **fields: Any) -> list[Any]:
    """What `wait_for` returns, while the loop goes on."""
    return await anyio.to_thread.run_sync(lambda: daemon.wait_for(kind, count, **fields))


async def departed(daemon: FakeDaemon, count: int = 1) -> None:
    await anyio.to_thread.run_sync(daemon.wait_for_departures, count)


# --- the surface


@pytest.mark.parametrize(
    "name",
    [
        "say",
        "replay",
        "prepare_voice",
        "status",
        "voices",
        "providers",
        "stop",
        "skip",
        "pause",
        "resume",
        "audio",
        "shutdown",
        "connect",
    ],
)
def test_both_voiceboxes_take_the_same(name: str) -> None:
    plain, waiting = (inspect.signature(getattr(kind, name)).parameters for kind in (Voicebox, AsyncVoicebox))
    assert list(plain) == list(waiting)
    assert [each.default for each in plain.values()] == [each.default for each in waiting.values()]


def test_both_speeches_have_the_same() -> None:
    own = {
        "begin",
        "feed",
        "settle",
        "lose",
        "receive",
        "ready",
        "catch_up",
        "adrift",
        "strand",
        "rejoin",
        "take",
        "acceptance",
        "ask_to_stop",
        "must_bring_sound",
        "ending",
        "close",
    }
    public = {name for name in vars(Speech) if not name.startswith("_")} - own
    assert public == {name for name in vars(AsyncSpeech) if not name.startswith("_")} - {
        "request_id",
        "notices",
        "result",
        "aclose",
    }


async def test_queries_are_answered_also_all_at_once(daemon: FakeDaemon) -> None:
    async with AsyncVoicebox() as box:
        assert await box.connect() == Daemon("0.1.0", os.getpid(), "auto", 1, BOOT)
        found: list[Any] = []

        async def status() -> None:
            found.append(await box.status())

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(status)
        assert found == [STATUS] * 20
        assert [voice["id"] for voice in await box.voices(language="de")] == ["bert"]
        assert [provider["id"] for provider in await box.providers()] == ["builtin"]
        assert await box.stop(all=True) == (["r1"], 1)
        with pytest.raises(NoSuchRequest):
            await box.stop("unknown")
        await box.shutdown(if_idle=True)


async def test_sound_arrives_and_is_whole(daemon: FakeDaemon) -> None:
    async with AsyncVoicebox() as box:
        speech = await box.say("hello", seed=7)
        assert await speech.accepted() == Accepted(7, RATE, "builtin", "anna", "en")
        chunks = [(chunk.start, chunk.end, bytes(chunk.data)) async for chunk in speech]
        assert chunks == [(0, 2400, tone(2400)), (2400, 4800, tone(2400))]
        assert speech.result is not None
        assert (speech.result.state, speech.ended, speech.known) == ("done", True, await speech.accepted())
        audio = await (await box.say("hello")).collect()
        assert (audio.frames, audio.sample_rate) == (4800, RATE)
    assert (await heard(daemon, "Say"))[0].seed == 7
    await departed(daemon)


async def test_events_come_in_order(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.send(to, schema.Notice(boot=BOOT, req=message.req, code="STARTING", message="a moment"))
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(10))
            daemon.send(to, schema.Reset(boot=BOOT, req=message.req, segment=0, frames=0, reason="it died"))
            daemon.chunk(to, message.req, 1, tone(8))
            daemon.end(to, "Done", message.req, 8)

    daemon.script = script
    async with AsyncVoicebox() as box:
        speech = await box.say("hello")
        assert [type(event) async for event in speech.events()] == [Notice, Accepted, Chunk, Reset, Chunk]
        assert speech.notices == [Notice("STARTING", "a moment")]
        assert bytes((await (await box.say("hello", on_failure="segment")).collect()).data) == tone(8)


async def test_errors_are_those_of_the_plain_client(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(10))
            daemon.end(to, "Failed", message.req, 10, code="NO_SUCH_VOICE", message="no voice 'x'")

    daemon.script = script
    async with AsyncVoicebox() as box:
        with pytest.raises(TextTooLong):
            await box.say("x" * (wire.MAX_TEXT + 1))
        speech = await box.say("hello")
        assert (await anext(speech)).frames == 10
        with pytest.raises(NoSuchVoice, match="no voice 'x'") as raised:
            await anext(speech)
        assert raised.value.result is speech.result


async def test_what_the_body_raises_comes_out_as_it_is(daemon: FakeDaemon) -> None:
    """A task group would have wrapped it in an ExceptionGroup."""

    async def body() -> None:
        async with AsyncVoicebox() as box:
            await box.status()
            raise KeyError

    with pytest.raises(KeyError):
        await body()


async def test_it_is_used_inside_its_block(runtime_dir: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await AsyncVoicebox().status()


async def test_no_daemon_is_said(runtime_dir: Path) -> None:
    async with AsyncVoicebox(autostart=False) as box:
        with pytest.raises(DaemonUnreachable, match="voicebox daemon start"):
            await box.status()


async def test_the_next_call_finds_the_next_daemon(runtime_dir: Path) -> None:
    async with AsyncVoicebox() as box:
        for _ in range(2):
            with FakeDaemon(runtime_dir):
                assert (await (await box.say("one")).collect()).frames == 4800


# --- text that is still being written


async def words(count: int, gate: anyio.Event | None = None) -> AsyncIterator[str]:
    for number in range(count):
        if gate is not None and number == 1:
            await gate.wait()
        yield f"word{number} "


@pytest.mark.parametrize("make", [lambda: words(20_000), lambda: (f"word{number} " for number in range(20_000))])
async def test_text_of_either_kind_of_iterable_arrives_whole(daemon: FakeDaemon, make: Any) -> None:
    """Far more of it than the daemon's window and the client's buffer hold."""
    async with AsyncVoicebox() as box:
        speech = await box.say(make())
        assert (await speech.collect()).frames == 4800
    assert daemon.texts[speech.request_id].decode() == "".join(f"word{number} " for number in range(20_000))


async def test_sound_comes_out_while_text_goes_in(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
        elif isinstance(message, schema.Text) and text == b"word0 ":
            daemon.chunk(to, message.req, 0, tone(10))
        elif isinstance(message, schema.Text) and message.last:
            daemon.end(to, "Done", message.req, 10)

    daemon.script = script
    gate = anyio.Event()
    async with AsyncVoicebox() as box:
        speech = await box.say(words(2, gate))
        assert (await anext(speech)).frames == 10
        gate.set()
        with pytest.raises(StopAsyncIteration):
            await anext(speech)


@pytest.mark.parametrize(("part", "error"), [("\ud800", InvalidText), (7, TypeError), (None, ZeroDivisionError)])
async def test_what_the_text_raises_the_reader_gets(daemon: FakeDaemon, part: Any, error: type[Exception]) -> None:
    async def text() -> AsyncIterator[str]:
        yield "fine so far "
        if part is None:
            raise ZeroDivisionError
        yield part

    async with AsyncVoicebox() as box:
        speech = await box.say(text())
        with pytest.raises(error):
            await speech.collect()
        await heard(daemon, "Cancel", req=speech.request_id)


async def test_a_text_nobody_wants_any_more_is_closed(daemon: FakeDaemon) -> None:
    closed = anyio.Event()

    async def text() -> AsyncIterator[str]:
        try:
            yield "word "
            await anyio.sleep_forever()
        finally:
            closed.set()

    async with AsyncVoicebox() as box:
        async with await box.say(text()) as speech:
            await heard(daemon, "Text", req=speech.request_id)
        with anyio.fail_after(WAIT_S):
            await closed.wait()


# --- many at once


async def test_many_tasks_speak_over_one_connection(daemon: FakeDaemon) -> None:
    frames: list[int] = []
    async with AsyncVoicebox() as box:

        async def one(number: int) -> None:
            text = words(number) if number % 2 else f"text {number}"
            frames.append((await (await box.say(text)).collect()).frames)

        async with anyio.create_task_group() as tasks:
            for number in range(1, 41):
                tasks.start_soon(one, number)
        assert frames == [4800] * 40
        assert len(daemon._doors) == 1


async def test_a_speech_that_nobody_reads_does_not_hold_up_another(daemon: FakeDaemon) -> None:
    requests: dict[str, str] = {}

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            requests[text.decode()] = message.req
            daemon.accept(to, message.req)
            if text == b"first":
                daemon.chunk(to, message.req, 0, tone(10), tone(10))
        elif isinstance(message, schema.Credit) and message.req == requests["first"]:
            daemon.chunk(to, requests["second"], 0, tone(20))
            daemon.end(to, "Done", requests["second"], 20)
            daemon.end(to, "Done", requests["first"], 20)

    daemon.script = script
    async with AsyncVoicebox() as box:
        first, second = await box.say("first"), await box.say("second")
        await first.accepted()
        assert (await second.collect()).frames == 20
        assert (await first.collect()).frames == 20


async def test_a_message_whose_edge_a_send_consumed_is_found(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DEALER's descriptor tells of a message once; a send in between takes that, and no reader would ever wake."""
    daemon.script = only_accept
    done: list[str] = []
    async with AsyncVoicebox() as box:
        speech = await box.say("hello")
        await anext(speech)
        link = speech._link
        real = link._turn

        def turn(seconds: float) -> bool:
            news = real(seconds)
            if news and not done:
                done.append("a chunk comes, and something is sent before anybody looks")
                to, req = senders[0], speech.request_id
                daemon.do(lambda: daemon.chunk(to, req, 1, tone(20)))
                time.sleep(0.2)
                link.tell("Credit", "nobody", first=0, last=0)
            return news

        senders: list[bytes] = []
        script = daemon.script

        def noting(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
            senders.append(to)
            script(daemon, to, message, text)

        daemon.script = noting
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                with anyio.fail_after(5.0):
                    assert (await anext(speech)).frames == 20

            tasks.start_soon(read)
            await anyio.sleep(0.05)
            monkeypatch.setattr(link, "_turn", turn)
            await box.status()
    assert done


async def test_the_loop_goes_on_while_speech_is_awaited(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    ticks = 0
    async with AsyncVoicebox() as box, await box.say("hello") as speech:
        with anyio.move_on_after(0.2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(speech.collect)
                while True:
                    await anyio.sleep(0.01)
                    ticks += 1
    assert ticks >= 5


# --- ending early


@pytest.mark.parametrize("way", ["collect", "anext", "events", "accepted", "save"])
async def test_cancelling_whoever_waits_cancels_the_request(daemon: FakeDaemon, tmp_path: Path, way: str) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Cancel):
            daemon.end(to, "Cancelled", message.req, 0)

    daemon.script = script if way == "accepted" else only_accept
    async with AsyncVoicebox() as box:
        speech = await box.say("hello")

        async def wait() -> None:
            if way == "save":
                await speech.save(tmp_path / "x.flac")
            elif way == "anext":
                async for _ in speech:
                    pass
            elif way == "events":
                async for _ in speech.events():
                    pass
            else:
                await getattr(speech, way)()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await heard(daemon, "Say")
            await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
        await heard(daemon, "Cancel", req=speech.request_id)
        await heard(daemon, "EndAck", req=speech.request_id)
        with pytest.raises(CancelledByRequest):
            await speech.collect()
        assert os.listdir(tmp_path) == []


async def test_dropping_a_speech_cancels_it(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    async with AsyncVoicebox() as box:
        async for _ in await box.say("hello"):
            break
        gc.collect()
        await heard(daemon, "Cancel")
        await heard(daemon, "EndAck")


async def test_dropping_a_speech_in_another_thread_cancels_it_too(daemon: FakeDaemon) -> None:
    """The collector runs where it likes: nothing of the loop may be touched from there."""
    daemon.script = only_accept
    async with AsyncVoicebox() as box:
        kept = [await box.say(words(3, anyio.Event()))]
        await kept[0].accepted()
        await anyio.to_thread.run_sync(kept.clear)
        gc.collect()
        await heard(daemon, "Cancel")


async def test_cancel_waits_for_the_last_word(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    async with AsyncVoicebox() as box:
        speech = await box.say("hello")
        await anext(speech)
        result = await speech.cancel(wait=WAIT_S)
        assert result is not None
        assert result.state == "cancelled"


async def test_leaving_cancels_what_is_still_spoken(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    async with AsyncVoicebox() as box:
        speech = await box.say(words(3, anyio.Event()))
        await speech.accepted()
    with pytest.raises(CancelledByRequest, match="closed"):
        await speech.collect()
    await departed(daemon)


async def test_a_lost_daemon_fails_every_reader_at_once(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    lost: list[float] = []
    async with AsyncVoicebox() as box:
        speeches = [await box.say("one"), await box.say(words(3, anyio.Event()))]

        async def read(speech: AsyncSpeech) -> None:
            with pytest.raises(DaemonLost):
                await speech.collect()
            lost.append(time.monotonic())

        async with anyio.create_task_group() as tasks:
            for speech in speeches:
                tasks.start_soon(read, speech)
            await heard(daemon, "Say", 2)
            began = time.monotonic()
            await anyio.to_thread.run_sync(daemon.die)
    assert len(lost) == 2
    assert max(lost) - began < 5.0


async def test_a_daemon_that_says_nothing_is_lost(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 0.2)

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)

    daemon.script = script
    async with AsyncVoicebox(timeout=0.5) as box:
        speech = await box.say("hello")
        with anyio.fail_after(WAIT_S), pytest.raises(DaemonLost, match="has said nothing"):
            await speech.collect()


async def test_a_daemon_that_answers_is_waited_for(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 0.1)
    daemon.script = only_accept
    async with AsyncVoicebox(timeout=5.0) as box, await box.say("hello") as speech:
        with anyio.move_on_after(1.0):
            await speech.collect()
        await heard(daemon, "Status", 2)


async def test_a_connection_whose_task_left_is_closed(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while a thread connects: what that thread brings back has no owner any more."""
    slow, real = threading.Event(), aio.connect

    def connect(*args: Any, **fields: Any) -> Any:
        assert slow.wait(WAIT_S)
        return real(*args, **fields)

    monkeypatch.setattr(aio, "connect", connect)
    async with AsyncVoicebox() as box:
        with anyio.move_on_after(0.1):
            await box.status()
        slow.set()
        await departed(daemon)
        assert await box.status() == STATUS


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_asyncios_own_cancelling_works_as_well(daemon: FakeDaemon, tmp_path: Path) -> None:
    """`asyncio.timeout` and `Task.cancel` know nothing of anyio's shields."""
    daemon.script = only_accept
    async with AsyncVoicebox() as box:
        for way in ("collect", "save"):
            speech = await box.say("hello")
            task = asyncio.ensure_future(speech.save(tmp_path / "x.wav") if way == "save" else speech.collect())
            await speech.accepted()
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await heard(daemon, "Cancel", req=speech.request_id)
    assert os.listdir(tmp_path) == []


# --- files


@pytest.mark.parametrize("suffix", ["wav", "flac", "pcm"])
async def test_saving_writes_what_the_plain_client_writes(daemon: FakeDaemon, tmp_path: Path, suffix: str) -> None:
    async with AsyncVoicebox() as box:
        result = await (await box.say("hello")).save(tmp_path / f"a.{suffix}")
    assert (result.state, result.frames) == ("done", 4800)
    with Voicebox() as plain:
        plain.say("hello").save(tmp_path / f"b.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


async def test_a_place_that_cannot_be_written_cancels_the_request(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = only_accept
    async with AsyncVoicebox() as box:
        with pytest.raises(OutputFailed):
            await (await box.say("hello")).save(tmp_path / "missing" / "x.wav")
        await heard(daemon, "Cancel")


def test_one_voicebox_serves_a_plain_asyncio_program(daemon: FakeDaemon) -> None:
    async def program() -> int:
        async with AsyncVoicebox() as box:
            return (await (await box.say("hello")).collect()).frames

    assert asyncio.run(program()) == 4800


def test_an_unknown_name_of_the_package_is_still_an_error() -> None:
    import voicebox_client

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = voicebox_client.Nothing
