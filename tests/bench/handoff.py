"""From a provider's memory to a client that has read every sample: python -m tests.bench.handoff [--rounds 50]

A second, ten seconds and a minute of sound that the engine has already, by the ways that take turns: ours through the arena
that daemon, provider and client share, which is the default; ours with the samples in the messages; the HTTP design, JSON and
base64 over two hops that stay connected; and a copy within one process, into memory that it has used before. Each client is a
process of its own with one connection, and reads each sample once. Ours sums up a CRC-32 of every piece at the provider; the
others do not. Counted is the time from the request until everything was read, and what client, daemon and provider
took of the processors for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.bench.children import Child, Reading, child
from tests.bench.claims import Claim, Part, Row, alone, in_turns, middle_and_late, paired
from tests.bench.rivals import PROVIDER, http_design, ours, voice_client

ARENA_OFF = "[daemon]\narena_mb = 0"

ARENA, VERIFIED, INLINE, HTTP, COPY = "arena", "verified", "inline", "http", "copy"
WAYS = (ARENA, VERIFIED, INLINE, COPY, HTTP)
NAMES = {
    ARENA: "ours",
    VERIFIED: "ours, and the client checks each CRC",
    INLINE: "ours, `arena_mb = 0`",
    HTTP: "HTTP design",
    COPY: "copied and read in one process",
}
SECONDS = (1, 10, 60)
LEAST_HTTP_WALL = {1: 10.0, 10: 35.0, 60: 80.0}
LEAST_HTTP_CPU = 50.0
LEAST_INLINE = 2.5
MOST_COPY = 2.8

_WARM_UPS = 8

Fetch = Callable[[int], Reading]
Found = dict[str, dict[int, list[Reading]]]


def measure(rounds: int) -> list[Part]:
    found: Found = {way: {seconds: [] for seconds in SECONDS} for way in WAYS}
    with _ways() as ways:
        for seconds in SECONDS:
            for way in WAYS * _WARM_UPS:
                ways[way](seconds * 1000)
        for turn in range(rounds):
            for seconds in SECONDS:
                for way in in_turns(WAYS, turn):
                    found[way][seconds].append(ways[way](seconds * 1000))
    return [_part(found, seconds) for seconds in SECONDS]


def _part(found: Found, seconds: int) -> Part:
    return Part(
        f"{seconds} s of sound, handed over",
        f"{seconds * 96 / 1000:.3g} MB of float32 from the engine's memory to a client that has read each sample once; the engine needs no "
        "time for its making. Processor time is that of client, daemon and provider together. Ratios are to ours.",
        ("", "time: median", "p99", "ratio", "processors: median", "p99", "ratio"),
        [_row(found, way, seconds) for way in WAYS],
        _claims(found, seconds),
    )


def _row(found: Found, way: str, seconds: int) -> Row:
    mine, to = found[way][seconds], found[ARENA][seconds]
    return (
        NAMES[way],
        *middle_and_late(_wall(mine)),
        f"{paired(_wall(mine), _wall(to)):.2f}",
        *middle_and_late(_cpu(mine)),
        f"{paired(_cpu(mine), _cpu(to)):.2f}",
    )


def _claims(found: Found, seconds: int) -> list[Claim]:
    own = found[ARENA][seconds]

    def wall(way: str) -> float:
        return paired(_wall(found[way][seconds]), _wall(own))

    what = f"{seconds} s of sound handed over"
    claims = [Claim(f"{what}: HTTP design to ours", wall(HTTP), LEAST_HTTP_WALL[seconds], "×", at_least=True)]
    if seconds == max(SECONDS):
        spent = paired(_cpu(found[HTTP][seconds]), _cpu(own))
        copied = paired(_wall(own), _wall(found[COPY][seconds]))
        claims += [
            Claim(f"{what}, processors: HTTP design to ours", spent, LEAST_HTTP_CPU, "×", at_least=True),
            Claim(f"{what}: in the messages, to ours", wall(INLINE), LEAST_INLINE, "×", at_least=True),
            Claim(f"{what}: ours to a copy and a read in one process", copied, MOST_COPY, "×"),
        ]
    return claims


@contextmanager
def _ways() -> Iterator[dict[str, Fetch]]:
    """What fetches so many milliseconds of sound; each gives the same samples."""
    with ExitStack() as stack:
        enter = stack.enter_context
        shared, inline, http = enter(ours()), enter(ours(ARENA_OFF)), enter(http_design())
        clients = {
            ARENA: enter(voice_client(shared)),
            INLINE: enter(voice_client(inline)),
            HTTP: enter(child("http_client", http.where)),
            COPY: enter(child("memory_copy")),
        }
        ways = {
            ARENA: _fetch(clients[ARENA], shared.pids, provider=PROVIDER),
            VERIFIED: _fetch(clients[ARENA], shared.pids, provider=PROVIDER, verify=True),
            INLINE: _fetch(clients[INLINE], inline.pids, provider=PROVIDER),
            HTTP: _fetch(clients[HTTP], http.pids),
            COPY: _fetch(clients[COPY], []),
        }
        for way in WAYS:
            ways[way](max(SECONDS) * 1000)
        _compare(clients)
        yield ways


def _fetch(client: Child, pids: list[int], **how: object) -> Fetch:
    return lambda ms: Reading(*client.ask("fetch", ms=ms, pids=pids, **how))


def _compare(clients: dict[str, Child]) -> None:
    """What is heard has to be the same by every way."""
    crcs = {
        way: one.ask("crc", ms=max(SECONDS) * 1000, **({"provider": PROVIDER} if way in (ARENA, INLINE) else {}))
        for way, one in clients.items()
    }
    assert len(set(crcs.values())) == 1, crcs


def _wall(readings: list[Reading]) -> list[float]:
    return [reading.wall for reading in readings]


def _cpu(readings: list[Reading]) -> list[float]:
    return [reading.cpu for reading in readings]


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
