"""A process that has what our daemon stands on, two doors open in the directory that it is told, and nothing to do: a child of the
bench. Prints a line once it rests. It runs anyio's loop, as nobody has anyio for anything else."""

from __future__ import annotations

import os
import sys

import anyio
import msgpack
import msgspec
import zmq

__all__ = ["anyio", "msgpack", "msgspec", "zmq"]


async def rest() -> None:
    """Until the end of the standard input: no thread here may wait for it, for a thread has memory."""
    print("at rest", flush=True)
    await anyio.wait_readable(sys.stdin.fileno())


def main(directory: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doors = {name: context.socket(zmq.ROUTER) for name in ("clients", "providers")}
    for name, door in doors.items():
        door.bind(f"ipc://{directory}/{name}.sock")
    anyio.run(rest)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
