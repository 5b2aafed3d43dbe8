"""The ROUTER on the event loop: nothing is lost to an edge that somebody else consumed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest
import zmq

from voicebox_protocol import wire
from voiceboxd.link import Link, Take

ECHOES = 20_000
DEALERS = 10
SMALL = 50


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(params=["inproc", "ipc"])
def address(request: pytest.FixtureRequest, short_dir: str) -> str:
    return "inproc://link" if request.param == "inproc" else f"ipc://{short_dir}/r"


def routed(context: zmq.Context, address: str) -> Link:
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.SNDHWM, ECHOES)
    router.bind(address)
    return Link(router)


class Callers:
    """Many DEALERs in a thread of their own, each with little room, that send numbers and note what comes back."""

    def __init__(self, context: zmq.Context, address: str) -> None:
        self.dealers = [context.socket(zmq.DEALER) for _ in range(DEALERS)]
        for dealer in self.dealers:
            dealer.setsockopt(zmq.SNDHWM, SMALL)
            dealer.setsockopt(zmq.RCVHWM, SMALL)
            dealer.connect(address)
        self.heard: list[list[int]] = [[] for _ in self.dealers]
        self.ended = False
        self.thread = threading.Thread(target=self._call, daemon=True)

    def __enter__(self) -> Callers:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self.thread.join()
        for dealer in self.dealers:
            dealer.close(linger=0)

    def _call(self) -> None:
        each = ECHOES // DEALERS
        sent = [0] * DEALERS
        poller = zmq.Poller()
        for dealer in self.dealers:
            poller.register(dealer, zmq.POLLIN | zmq.POLLOUT)
        while not self.ended and any(len(heard) < each for heard in self.heard):
            ready = dict(poller.poll(100))
            for number, dealer in enumerate(self.dealers):
                events = ready.get(dealer, 0)
                if events & zmq.POLLOUT and sent[number] < each:
                    dealer.send_multipart([wire.MAGIC, b"%d" % sent[number]])
                    sent[number] += 1
                    if sent[number] == each:
                        poller.modify(dealer, zmq.POLLIN)
                if events & zmq.POLLIN:
                    self.heard[number].append(int(dealer.recv_multipart()[1]))

    def check(self) -> None:
        assert self.heard == [list(range(ECHOES // DEALERS))] * DEALERS


def live(link: Link, take: Take, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario while the link hands over what comes."""

    async def main() -> None:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.serve, take)
                await scenario()
                tasks.cancel_scope.cancel()

    try:
        anyio.run(main)
    finally:
        link.close()


async def first(inbox: list[list[zmq.Frame]]) -> list[zmq.Frame]:
    """The first message, once it is there."""
    while not inbox:  # noqa: ASYNC110 (bounded by the scenario's own deadline)
        await anyio.sleep(0.001)
    return inbox[0]


def test_twenty_thousand_echoes_come_back_in_order(context: zmq.Context, address: str) -> None:
    link = routed(context, address)

    def echo(frames: list[zmq.Frame]) -> None:
        peer, _, number = frames
        assert link.send(peer.bytes, number.bytes)

    async def called() -> None:
        await anyio.to_thread.run_sync(callers.thread.join)

    with Callers(context, address) as callers:
        live(link, echo, called)
        callers.check()


def test_a_task_that_sends_does_not_take_the_edge_from_what_is_to_be_read(context: zmq.Context, address: str) -> None:
    """One task waited and another sent: the naive way got none of 20,000."""
    link = routed(context, address)

    async def echo() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            await anyio.to_thread.run_sync(callers.thread.join)
            queue.close()

    async def answer() -> None:
        with source:
            async for peer, number in source:
                assert link.send(peer, number)
                await anyio.lowlevel.checkpoint()

    queue, source = anyio.create_memory_object_stream[tuple[bytes, bytes]](ECHOES)

    def note(frames: list[zmq.Frame]) -> None:
        queue.send_nowait((frames[0].bytes, frames[2].bytes))

    with Callers(context, address) as callers:
        live(link, note, echo)
        callers.check()


def test_what_comes_while_nobody_serves_is_not_lost(context: zmq.Context, address: str) -> None:
    """A storm of starts and ends of the task that reads, some of them before it has read anything."""
    link = routed(context, address)

    def echo(frames: list[zmq.Frame]) -> None:
        peer, _, number = frames
        assert link.send(peer.bytes, number.bytes)

    async def storm() -> None:
        count = 0
        while callers.thread.is_alive():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.serve, echo)
                for _ in range(1 + count % 5):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            count += 1

    async def main() -> None:
        with anyio.fail_after(60):
            await storm()

    with Callers(context, address) as callers:
        try:
            anyio.run(main)
        finally:
            link.close()
        callers.check()


def test_a_message_that_cannot_be_handled_keeps_nobody_else_waiting(context: zmq.Context, address: str) -> None:
    link, heard = routed(context, address), []

    def take(frames: list[zmq.Frame]) -> None:
        heard.append(frames[2].bytes)
        if len(heard) == 1:
            raise RuntimeError("as the test says")

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with context.socket(zmq.DEALER) as dealer:
            dealer.connect(address)
            for word in (b"one", b"two"):
                dealer.send_multipart([wire.MAGIC, word])
            while len(heard) < 2:  # noqa: ASYNC110 (only the link can tell)
                await anyio.sleep(0.001)

    live(link, take, scenario)
    assert heard == [b"one", b"two"]


def test_a_message_to_nobody_is_told(context: zmq.Context, address: str) -> None:
    link = routed(context, address)
    assert link.send(b"nobody", b"header") is False
    link.close()


def test_a_peer_that_is_gone_is_told(context: zmq.Context, address: str) -> None:
    link, inbox = routed(context, address), list[list[zmq.Frame]]()

    async def scenario() -> None:
        dealer = context.socket(zmq.DEALER)
        dealer.connect(address)
        dealer.send_multipart([wire.MAGIC, b"hello"])
        peer, _, _ = await first(inbox)
        assert link.send(peer.bytes, b"answer")
        dealer.close(linger=0)
        while link.send(peer.bytes, b"are you there?"):  # noqa: ASYNC110 (only asking tells)
            await anyio.sleep(0.001)

    live(link, inbox.append, scenario)


def test_a_peer_that_takes_nothing_is_gone_at_the_high_water_mark(context: zmq.Context, short_dir: str) -> None:
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.SNDHWM, SMALL)
    router.bind(f"ipc://{short_dir}/r")
    link, inbox = Link(router), list[list[zmq.Frame]]()

    async def scenario() -> None:
        with context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.RCVHWM, 1)
            dealer.connect(f"ipc://{short_dir}/r")
            dealer.send_multipart([wire.MAGIC, b"hello"])
            peer, _, _ = await first(inbox)
            sent = 0
            while link.send(peer.bytes, b"x", bytes(100_000)):
                sent += 1
                assert sent < 10_000
            assert sent >= SMALL

    live(link, inbox.append, scenario)


def test_a_payload_goes_as_a_frame_of_its_own(context: zmq.Context, address: str) -> None:
    link, inbox = routed(context, address), list[list[zmq.Frame]]()

    async def scenario() -> None:
        with context.socket(zmq.DEALER) as dealer:
            dealer.connect(address)
            dealer.send_multipart([wire.MAGIC, b"hello", b"sound"])
            peer, magic, header, payload = await first(inbox)
            assert (magic.bytes, header.bytes, payload.bytes) == (wire.MAGIC, b"hello", b"sound")
            link.send(peer.bytes, b"header", payload.buffer)
            assert dealer.recv_multipart() == [wire.MAGIC, b"header", b"sound"]

    live(link, inbox.append, scenario)
