"""The daemon's part of first audio: python -m tests.bench.first_audio [--rounds 50]

The same engine twice, in turns: in a provider process, asked through the client library until the first chunk is there, and in a
process of its own that calls it directly until its first array is. The difference of each turn is what daemon, provider's
runner, client and the way between them add. With the built-in voice and a short sentence, and with an engine that has its sound
already, so that nothing is left but that difference. All of them share one core, as on the control path, and they are started
anew several times: one process of the same engine is faster than another, for as long as both live.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.bench import prepared
from tests.bench.children import Child, child, on_one_core
from tests.bench.claims import Claim, Part, Row, alone, in_turns, middle_and_late
from tests.bench.rivals import AS_A_SERVICE, PROVIDER, Service, voice_client
from tests.integration.daemon import running

MOST_MS = 2.0

THROUGH, DIRECT = "through", "direct"
WAYS = (THROUGH, DIRECT)
BUILTIN = "builtin"
SENTENCES = {BUILTIN: "The kettle is on.", PROVIDER: prepared.text(100)}
NAMES = {BUILTIN: "the built-in voice", PROVIDER: "an engine that has its sound"}

_CONFIG = f"""
[provider.{PROVIDER}]
engine = "{prepared.__file__}"
standby = "none"
keep_alive = -1
[provider.{BUILTIN}]
engine = "{BUILTIN}"
standby = "none"
keep_alive = -1
"""
_REFERENCES = {BUILTIN: BUILTIN, PROVIDER: prepared.__file__}
# Of each turn the median of so many: the voice's own time differs from one time to the next by more than is measured.
_COUNT = 5
_WARM_UPS = 3
_STARTS = 5


class Duo(NamedTuple):
    """Who asks for one engine's sound, through a daemon and directly."""

    client: Child
    engine: Child


def measure(rounds: int) -> list[Part]:
    found: dict[str, dict[str, list[float]]] = {name: {way: [] for way in WAYS} for name in SENTENCES}
    with on_one_core():
        for start in range(_STARTS):
            with _duos() as duos:
                for turn in range(start, rounds, _STARTS):
                    for name in in_turns(list(SENTENCES), turn):
                        for way in in_turns(WAYS, turn):
                            found[name][way].append(_first(duos[name], name, way))
    added = {name: _added(ways) for name, ways in found.items()}
    return [
        Part(
            "First audio",
            "From the request to the first sound, with everything loaded: through daemon, provider and client library, and by the engine "
            f"alone in a process of its own, all on the same core and started anew {_STARTS} times. In turns, the median of "
            f"{_COUNT} in each; *added* is the difference of each turn.",
            ("", "through the daemon: median", "p99", "engine alone: median", "p99", "added: median", "p99"),
            [_row(name, found[name], added[name]) for name in SENTENCES],
            [
                Claim(
                    f"what the daemon adds to first audio, {NAMES[name]}: median",
                    statistics.median(times),
                    MOST_MS,
                    "ms",
                )
                for name, times in added.items()
            ],
        )
    ]


def _row(name: str, ways: dict[str, list[float]], added: list[float]) -> Row:
    return NAMES[name], *(word for times in (ways[THROUGH], ways[DIRECT], added) for word in middle_and_late(times))


def _added(ways: dict[str, list[float]]) -> list[float]:
    return [through - direct for through, direct in zip(ways[THROUGH], ways[DIRECT], strict=True)]


def _first(duo: Duo, name: str, way: str) -> float:
    said = SENTENCES[name]
    if way == DIRECT:
        times: list[float] = duo.engine.ask("first", said=said, count=_COUNT)
    else:
        times = [first for first, _ in duo.client.ask("first", provider=name, said=said, count=_COUNT)]
    return statistics.median(times)


@contextmanager
def _duos() -> Iterator[dict[str, Duo]]:
    """One daemon for both engines; everybody has spoken."""
    with running(_CONFIG, how=AS_A_SERVICE) as daemon, ExitStack() as stack:
        service = Service(str(daemon.place.runtime), [daemon.pid], daemon.place.environment)
        client = stack.enter_context(voice_client(service))
        duos = {
            name: Duo(client, stack.enter_context(child("engine_alone", reference)))
            for name, reference in _REFERENCES.items()
        }
        for name, duo in duos.items():
            for way in WAYS * _WARM_UPS:
                _first(duo, name, way)
        yield duos


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__))
