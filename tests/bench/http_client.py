"""A program that asks `tests.bench.http_server`, with one connection that stays open: a child of the bench."""

from __future__ import annotations

import base64
import secrets
import sys
import zlib
from collections.abc import Sequence

import httpx
import numpy as np
import numpy.typing as npt

from tests.bench import prepared
from tests.bench.children import Reading, serve, timed

_SLOWEST_S = 60.0
_DEADLINE_MS = 5000


class Client:
    """Owns the connection."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def fetch(self, ms: int, pids: Sequence[int]) -> Reading:
        """Have so much sound spoken, and read every sample of it once."""

        def work() -> None:
            samples = self._speech(ms)
            np.add.reduce(samples)
            assert len(samples) == prepared.frames(ms), len(samples)

        return timed(work, pids)

    def crc(self, ms: int) -> int:
        """Of so much sound, which thereby is known to be the same by every way."""
        return zlib.crc32(self._speech(ms).data)

    def questions(self, count: int) -> list[float]:
        """Milliseconds of so many small questions that the provider answers."""
        return [timed(self._question, ()).wall for _ in range(count)]

    def _speech(self, ms: int) -> npt.NDArray[np.float32]:
        found = self._http.post("/speech", json={"ms": ms}).raise_for_status().json()
        return np.frombuffer(base64.b64decode(found["samples"]), np.float32)

    def _question(self) -> None:
        asked = {"req": secrets.token_hex(8), "deadline_ms": _DEADLINE_MS}
        assert self._http.post("/question", json=asked).raise_for_status().json()["req"] == asked["req"]


def main() -> None:
    with httpx.Client(base_url=sys.argv[1], trust_env=False, timeout=_SLOWEST_S) as http:
        client = Client(http)
        serve(fetch=client.fetch, crc=client.crc, questions=client.questions)


if __name__ == "__main__":
    main()
