"""A client that floods the control door with garbage: a program of its own, so that it costs its victim nothing.

Arguments: seed, most messages, most seconds. Prints how many messages it sent and how many errors it was answered.
"""

from __future__ import annotations

import os
import random
import sys
import time

import zmq

from tests.unit.protocol import golden
from voicebox_protocol import endpoints, places, wire

# What somebody in his right mind may ask for is no garbage.
LAWFUL = ("Shutdown", "Stop", "AddProvider", "RemoveProvider", "ControlProvider")
WINDOW = 256


def main() -> None:
    chance, most, seconds = random.Random(int(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3])
    pause = float(sys.argv[4])
    known = [
        bytes.fromhex(example)
        for kind in wire.kinds_of(wire.CLIENT_TO_DAEMON)
        if kind.name not in LAWFUL
        for example in golden.read()[kind.name].values()
    ]
    sent = answered = 0
    until = time.monotonic() + seconds
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        endpoints.harden(dealer)
        endpoints.transport(places.runtime_dir()).connect_control(dealer)
        while sent < most and time.monotonic() < until:
            if dealer.poll(100, zmq.POLLOUT):
                dealer.send_multipart(garbage(chance, known))
                sent += 1
            while dealer.poll(0):
                dealer.recv_multipart()
                answered += 1
            if sent - answered > WINDOW:
                # Not everything is answered; what was sent shall be read all the same, not lie in a queue.
                dealer.poll(1)
            if pause:
                time.sleep(pause)
        while dealer.poll(200) and time.monotonic() < until + 5:
            dealer.recv_multipart()
            answered += 1
    print(sent, answered)


def garbage(chance: random.Random, known: list[bytes]) -> list[bytes]:
    """One message that is wrong in some way, or hardly right."""
    header = bytearray(chance.choice(known))
    match chance.randrange(7):
        case 0:
            return [os.urandom(chance.randrange(200)) for _ in range(chance.randrange(1, 6))]
        case 1:
            return [wire.MAGIC, bytes(header[: chance.randrange(len(header))])]
        case 2:
            return [wire.MAGIC, b"\x91" * chance.choice((1_000, 60_000, 100_000))]
        case 3:
            return [wire.MAGIC, os.urandom(chance.randrange(1, 2000)), os.urandom(chance.randrange(2000))]
        case 4:
            return [wire.MAGIC, bytes(header), *([b"\xff"] * chance.randrange(4))]
        case _:
            for _ in range(chance.randrange(1, 8)):
                header[chance.randrange(len(header))] = chance.randrange(256)
            return [wire.MAGIC, bytes(header)]


if __name__ == "__main__":
    main()
