"""Everything at once at one loudspeaker: requests of all priorities, pauses, skips, and kills of the player and of the engine."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter

import numpy as np

from tests.chaos.cell import provider_of
from tests.chaos.crowd import POISON
from tests.integration.aloud import Message, Stage
from tests.integration.daemon import eventually
from tests.integration.recording import RATE, Samples, common
from voicebox_protocol import wire

SLOW = "[[slow:120]]"
LEAST = 64


class Storm:
    """Owns what is asked for and done, all of it drawn from one seed. `struck` counts the deeds."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.texts: dict[str, str] = {}
        self.struck: Counter[str] = Counter()
        self._stage = stage
        self._seed = seed
        self._played = 0
        self._chance = random.Random(seed)
        self._deeds = {
            self._say: 45,
            self._pause: 8,
            self._go_on: 12,
            self._pause_one: 8,
            self._go_on_with_one: 8,
            self._skip: 4,
            self._cancel: 4,
            self._kill_player: 4,
            self._kill_engine: 4,
        }

    def rage(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (deed,) = self._chance.choices(list(self._deeds), list(self._deeds.values()))
            deed()
            self.struck[deed.__name__.strip("_")] += 1
            time.sleep(self._chance.uniform(0, 0.25))
            self._stage.client.drain()

    def calm_down(self) -> dict[str, Message]:
        """Nothing is paused any more, and all speak to their end: the ends."""
        client = self._stage.client
        for req in self._living():
            self._act_on("resume", req)
        client.playback("resume")
        return {req: client.end(req) for req in self.texts}

    def seed_of(self, req: str) -> int:
        return int(req.partition("-")[2])

    # --- deeds

    def _say(self) -> None:
        req, sentences = f"{self._seed}-{len(self.texts)}", self._chance.choice((1, 1, 2, 6))
        text = " ".join(f"{req} has sentence {number} of it." for number in range(sentences))
        self.texts[req] = SLOW * (self._chance.random() < 0.3) + text
        self._stage.client.aloud(
            self.texts[req], req=req, seed=self.seed_of(req), priority=self._chance.choice(wire.PRIORITIES)
        )

    def _pause(self) -> None:
        self._stage.client.playback("pause")

    def _go_on(self) -> None:
        self._stage.client.playback("resume")

    def _skip(self) -> None:
        self._stage.client.playback("skip")

    def _pause_one(self) -> None:
        self._on_one("pause")

    def _go_on_with_one(self) -> None:
        self._on_one("resume")

    def _cancel(self) -> None:
        if living := self._living():
            self._stage.client.cancel(self._chance.choice(living))

    def _kill_player(self) -> None:
        # One that cannot be kept alive until it has played something is given up in the end.
        if (now := self._stage.recording.now) > self._played:
            self._played = now
            _kill(self._stage.player())

    def _kill_engine(self) -> None:
        for worker in provider_of(self._stage.daemon, "loud")["workers"]:
            _kill(worker["pid"])

    def _on_one(self, action: str) -> None:
        if living := self._living():
            self._act_on(action, self._chance.choice(living))

    def _act_on(self, action: str, req: str) -> None:
        # It may have ended by now, which is an error and none of ours.
        answer = self._stage.client.playback(action, req=req)
        assert answer["kind"] == "PlaybackReply" or answer["code"] == "NO_SUCH_REQUEST", answer

    def _living(self) -> list[str]:
        told = self._stage.client.told
        return [req for req in self.texts if not told[req] or told[req][-1]["kind"] not in wire.TERMINAL]


def _kill(pid: int | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def parts(heard: Samples, whole: dict[str, Samples]) -> dict[str, int]:
    """How many frames of each are heard, where each may be interrupted and go on later at that very frame. Raises `AssertionError` for
    sound that is nobody's next."""
    at, places = 0, dict.fromkeys(whole, 0)
    while at < len(heard):
        rest = heard[at:]
        found = next((req for req, own in whole.items() if _begins(rest, own[places[req] :])), None)
        assert found is not None, f"after {at} frames comes what is nobody's turn to say"
        length = common(rest, whole[found][places[found] :])
        places[found] += length
        at += length
    return places


def _begins(heard: Samples, own: Samples) -> bool:
    least = min(LEAST, len(heard), len(own))
    return least > 0 and np.array_equal(heard[:least], own[:least])


def run(stage: Stage, seconds: float, seed: int) -> Storm:
    """So many seconds of it; then everything that was told is held against the recording."""
    storm = Storm(stage, seed)
    storm.rage(seconds)
    ends = storm.calm_down()
    whole = {
        req: stage.client.quiet(text.replace(SLOW, ""), seed=storm.seed_of(req)) for req, text in storm.texts.items()
    }
    places = parts(stage.recording.sound(), whole)
    for req, end in ends.items():
        assert end["kind"] in ("Done", "Cancelled") or POISON in end["message"], end
        assert round(end["heard_s"] * RATE) == places[req], end
        assert end["kind"] != "Done" or places[req] == len(whole[req])
    eventually(lambda: stage.client.audio()["speaking"] is None, "nobody speaks")
    assert stage.client.audio()["waiting"] == []
    return storm
