"""A program that is many clients at once, each of which asks again as soon as it has its answer: a child of the bench.

    python -m tests.bench.crowd_load proxy DIRECTORY | query | say

One process with a DEALER for each client and one poller over all of them, whoever is asked, so that asking costs the same.
What it says to our daemon is what docs/protocol.md has; the client library opens a poller for each connection.
"""

from __future__ import annotations

import secrets
import sys
import time
from abc import ABC, abstractmethod
from typing import NamedTuple

import msgpack
import zmq

from tests.bench import prepared, rivals, zmq_forwarder
from tests.bench.children import serve
from voicebox_protocol import endpoints, places, wire

SENTENCE = prepared.text(100).encode()

# An answer that is later than this is taken for lost; what is promised is much less.
STALLED_S = 20.0


class Window(NamedTuple):
    """A stretch of time. `rate`: whole answers a second in it; milliseconds of each request to the first and the last message
    of its answer, those included that were still under way at its end."""

    rate: float
    first: list[float]
    done: list[float]


class Client(ABC):
    """Owns one DEALER and what it has asked."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.dealer = context.socket(zmq.DEALER)
        self.dealer.setsockopt(zmq.LINGER, 0)
        self.asked = 0
        self.first = 0
        self.done = 0

    def ask(self) -> None:
        """Begin the next request."""
        self.asked, self.first, self.done = time.perf_counter_ns(), 0, 0
        self._ask()

    def take(self) -> bool:
        """Read all that has come; whether the answer is whole."""
        while not self.done and int(self.dealer.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._take(self.dealer.recv_multipart())
        return bool(self.done)

    def sounded(self) -> None:
        """The first message of the answer is there."""
        self.first = self.first or time.perf_counter_ns()

    def ended(self) -> None:
        """Its last one is."""
        self.sounded()
        self.done = time.perf_counter_ns()

    @abstractmethod
    def _ask(self) -> None: ...

    @abstractmethod
    def _take(self, frames: list[bytes]) -> None: ...


class Echoed(Client):
    """Through `zmq.proxy`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: str) -> None:
        super().__init__(context)
        self.dealer.connect(zmq_forwarder.front(directory))

    def _ask(self) -> None:
        self.dealer.send(bytes(zmq_forwarder.MESSAGE_BYTES))

    def _take(self, frames: list[bytes]) -> None:
        self.ended()


class Ours(Client):
    """A client of our daemon. Owns the session door too."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        super().__init__(context)
        transport = endpoints.transport(places.runtime_dir())
        transport.connect_control(self.dealer)
        self._send("Hello", proto_min=1, proto_max=1, agent="crowd/1", token=transport.token())
        welcome = msgpack.unpackb(self.dealer.recv_multipart()[1])
        self._boot = welcome["boot"]
        self._door = transport.connect_session(STALLED_S)
        self._door.sendall(welcome["token"].encode() + b"\n")
        assert self._door.recv(16) == b"OK\n"

    def _send(self, kind: str, *payload: bytes, **fields: object) -> None:
        self.dealer.send_multipart([wire.MAGIC, msgpack.packb({"kind": kind, **fields}), *payload])


class Questioner(Ours):
    """Has a provider asked whether it answers."""

    _query = 0

    def _ask(self) -> None:
        self._query += 1
        self._send("Ping", query=self._query, provider=rivals.PROVIDER, deadline_ms=int(STALLED_S * 1000))

    def _take(self, frames: list[bytes]) -> None:
        header = msgpack.unpackb(frames[1])
        assert (header["kind"], header["query"]) == ("Pong", self._query), header
        self.ended()


class Listener(Ours):
    """Has something said."""

    _req = ""

    def _ask(self) -> None:
        self._req = secrets.token_hex(8)
        self._send("Say", SENTENCE, boot=self._boot, req=self._req, provider=rivals.PROVIDER, seed=1)

    def _take(self, frames: list[bytes]) -> None:
        header = msgpack.unpackb(frames[1])
        kind = header["kind"]
        assert header.get("req") == self._req, header
        if kind == "Chunk":
            self.sounded()
        elif kind in wire.TERMINAL:
            assert kind == "Done", header
            assert self.first, "an end without a sound"
            self._send("EndAck", boot=self._boot, req=self._req)
            self.ended()


class Crowd:
    """Owns the clients and the poller."""

    def __init__(self, way: str, *where: str) -> None:
        self._way = way
        self._where = where
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clients: list[Client] = []

    def window(self, clients: int, seconds: float) -> Window:
        """So many of them, for so long; then the rest of the answers is waited for."""
        while len(self._clients) < clients:
            self._clients.append(self._new())
        poller, mine = zmq.Poller(), {}
        for client in self._clients[:clients]:
            poller.register(client.dealer, zmq.POLLIN)
            mine[client.dealer] = client
        first: list[float] = []
        done: list[float] = []
        begun = time.perf_counter_ns()
        end, waiting, within = begun + int(seconds * 1e9), len(mine), 0
        for client in mine.values():
            client.ask()
        while waiting:
            ready = poller.poll(int(STALLED_S * 1000))
            assert ready, f"{waiting} of {clients} wait for their answer since {STALLED_S:g} s"
            for dealer, _ in ready:
                client = mine[dealer]
                if not client.take():
                    continue
                first.append((client.first - client.asked) / 1e6)
                done.append((client.done - client.asked) / 1e6)
                if client.done < end:
                    within += 1
                    client.ask()
                else:
                    waiting -= 1
        return Window(within / seconds, first, done)

    def _new(self) -> Client:
        if self._way == "proxy":
            return Echoed(self._context, *self._where)
        return Questioner(self._context) if self._way == "query" else Listener(self._context)


if __name__ == "__main__":
    serve(window=Crowd(*sys.argv[1:]).window)
