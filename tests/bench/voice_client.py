"""A program that has a daemon speak, through the client library and one connection: a child of the bench."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence

import numpy as np

from tests.bench import prepared
from tests.bench.children import Reading, serve, timed
from voicebox_client import Speech, Voicebox


class Client:
    """Owns the connection."""

    def __init__(self, box: Voicebox) -> None:
        self._box = box

    def fetch(self, provider: str, ms: int, pids: Sequence[int], *, verify: bool = False) -> Reading:
        """Have so much sound spoken, and read every sample of it once; with `verify`, its checksums too."""

        def work() -> None:
            heard = read(self._box.say(prepared.text(ms), provider=provider, seed=1), verify=verify)
            assert heard == prepared.frames(ms), heard

        return timed(work, pids)

    def crc(self, provider: str, ms: int) -> int:
        """Of so much sound, which thereby is known to be the same by every way."""
        crc = 0
        for chunk in self._box.say(prepared.text(ms), provider=provider, seed=1):
            crc = zlib.crc32(chunk.data, crc)
        return crc

    def first(self, provider: str, said: str, count: int) -> list[tuple[float, float]]:
        """For each of so many requests the milliseconds to its first chunk and to its end."""
        return [self._one(provider, said) for _ in range(count)]

    def _one(self, provider: str, said: str) -> tuple[float, float]:
        begun = time.perf_counter_ns()
        speech = self._box.say(said, provider=provider, seed=1)
        chunks = iter(speech)
        next(chunks)
        first = time.perf_counter_ns()
        for _ in chunks:
            pass
        return (first - begun) / 1e6, (time.perf_counter_ns() - begun) / 1e6

    def status(self, count: int) -> list[float]:
        """Milliseconds of so many questions that the daemon answers itself."""
        return [timed(self._box.status, ()).wall for _ in range(count)]

    def ping(self, provider: str, count: int) -> list[float]:
        """Milliseconds of so many questions that the provider answers."""
        return [1000 * self._box.ping(provider) for _ in range(count)]


def read(speech: Speech, *, verify: bool = False) -> int:
    """Read every sample once; gives how many there were. Raises `ValueError` if some are not what the provider made."""
    heard = 0
    for chunk in speech:
        if verify and not chunk.verify():
            raise ValueError(f"{chunk!r} is not what was spoken")
        np.add.reduce(np.frombuffer(chunk.data, np.float32))
        heard += chunk.frames
    return heard


def main() -> None:
    with Voicebox(autostart=False, timeout=60.0) as box:
        client = Client(box)
        serve(fetch=client.fetch, crc=client.crc, first=client.first, status=client.status, ping=client.ping)


if __name__ == "__main__":
    main()
