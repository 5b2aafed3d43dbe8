"""What ZeroMQ itself takes for a message through a process in between: `zmq.proxy`, which is C, and an echo behind it.

    python -m tests.bench.zmq_forwarder proxy | echo | client DIRECTORY

Children of the bench, over ipc:// in a directory of its own.
"""

from __future__ import annotations

import os
import sys

import zmq

from tests.bench.children import serve, timed
from voicebox_provider import lifeline

# As many bytes as a request of ours has at least: kind, boot, request, deadline.
MESSAGE_BYTES = 96


def front(directory: str) -> str:
    """Where clients ask."""
    return f"ipc://{directory}/front.sock"


def _back(directory: str) -> str:
    return f"ipc://{directory}/back.sock"


def proxy(directory: str) -> None:
    """The process in between."""
    lifeline.die_with_parent()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    clients, providers = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    clients.bind(front(directory))
    providers.bind(_back(directory))
    print("bound", flush=True)
    zmq.proxy(clients, providers)


def echo(directory: str) -> None:
    """The process that answers."""
    lifeline.die_with_parent()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(_back(directory))
    while True:
        dealer.send_multipart(dealer.recv_multipart())


def client(directory: str) -> None:
    """The process that asks."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(front(directory))

    def question() -> None:
        message = os.urandom(MESSAGE_BYTES)
        dealer.send(message)
        assert dealer.recv() == message

    serve(questions=lambda count: [timed(question, ()).wall for _ in range(count)])


if __name__ == "__main__":
    {"proxy": proxy, "echo": echo, "client": client}[sys.argv[1]](sys.argv[2])
