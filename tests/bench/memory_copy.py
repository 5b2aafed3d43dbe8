"""A program that copies samples into memory that it has used before, and reads them: a child of the bench, and its limit."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from tests.bench import prepared
from tests.bench.children import Reading, serve, timed


def main() -> None:
    sound = prepared.tone()
    memory = np.ones_like(sound)

    def fetch(ms: int, pids: Sequence[int]) -> Reading:
        count = prepared.frames(ms)

        def work() -> None:
            np.copyto(memory[:count], sound[:count])
            np.add.reduce(memory[:count])

        return timed(work, pids)

    def crc(ms: int) -> int:
        return zlib.crc32(memory[: prepared.frames(ms)].data)

    serve(fetch=fetch, crc=crc)


if __name__ == "__main__":
    main()
