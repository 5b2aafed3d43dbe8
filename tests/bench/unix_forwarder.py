"""What no ZeroMQ can beat: the same message by plain unix sockets, through a process in between that hands on what it reads.

    python -m tests.bench.unix_forwarder forward | echo | client DIRECTORY

Children of the bench. Blocking calls on sockets that keep messages whole (SOCK_SEQPACKET): no framing, no queue, nobody else served.
"""

from __future__ import annotations

import os
import socket
import sys

from tests.bench.children import serve, timed
from tests.bench.zmq_forwarder import MESSAGE_BYTES
from voicebox_provider import lifeline

_MOST = 65536


def _listening(directory: str, name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{directory}/{name}.sock")
    listener.listen()
    return listener


def _connected(directory: str, name: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(f"{directory}/{name}.sock")
    return peer


def forward(directory: str) -> None:
    """The process in between: one who asks, one who answers."""
    lifeline.die_with_parent()
    with _listening(directory, "front") as front, _listening(directory, "back") as back:
        print("bound", flush=True)
        provider, client = back.accept()[0], front.accept()[0]
    while message := client.recv(_MOST):
        provider.send(message)
        client.send(provider.recv(_MOST))


def echo(directory: str) -> None:
    """The process that answers."""
    lifeline.die_with_parent()
    peer = _connected(directory, "back")
    while message := peer.recv(_MOST):
        peer.send(message)


def client(directory: str) -> None:
    """The process that asks."""
    peer = _connected(directory, "front")

    def question() -> None:
        message = os.urandom(MESSAGE_BYTES)
        peer.send(message)
        assert peer.recv(_MOST) == message

    serve(questions=lambda count: [timed(question, ()).wall for _ in range(count)])


if __name__ == "__main__":
    {"forward": forward, "echo": echo, "client": client}[sys.argv[1]](sys.argv[2])
