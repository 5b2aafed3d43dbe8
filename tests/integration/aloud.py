"""A stranger who speaks at the loudspeaker, and a daemon whose loudspeaker is a file."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.daemon import DEADLINE, Daemon, Place, eventually, running
from tests.integration.recording import RATE, Recording, Samples, as_samples, sound_of
from tests.integration.wire_client import WireClient
from tests.providers import loud
from voicebox_protocol import wire

LOUD = f"""
[speech]
provider = "loud"
resume_patience_s = 60
[provider.loud]
engine = "{loud.__file__}:Loud"
standby = "none"
restart_base_s = 0.01
restart_cap_s = 0.05
restart_budget = 100000
settings = {{ ms_per_char = 7, sample_rate = {RATE} }}
"""

Message = dict[str, Any]


class Speaker(WireClient):
    """One client of the loudspeaker. What is said of each request is kept in `told`."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.told: dict[str, list[Message]] = defaultdict(list)
        self._answers: dict[int, Message] = {}
        self._queries = itertools.count(1)

    # --- requests

    def aloud(self, text: str, **fields: Any) -> str:
        """Have the loudspeaker speak; gives the request's name."""
        return self.say(text, **{"sink": "speaker", "sample_rate": RATE, "follow": True, **fields})

    def more(self, req: str, text: str, *, last: bool = False) -> None:
        """More text of a request."""
        self.send("Text", text.encode(), boot=self.boot, req=req, last=last)

    def cancel(self, req: str) -> None:
        self.send("Cancel", boot=self.boot, req=req)

    def quiet(self, text: str, **fields: Any) -> Samples:
        """The same as a stream, to its end, without its silence: what is to be heard."""
        ending = self.speak(text, **{"sample_rate": RATE, **fields})
        assert ending.end["kind"] == "Done", ending.end
        return sound_of(as_samples(ending.samples))

    # --- what comes

    def until(self, met: Callable[[Message], object], within: float = DEADLINE) -> Message:
        """The first message from now on that is so."""
        while not met(message := self.take(within)):
            pass
        return message

    def take(self, within: float = DEADLINE) -> Message:
        """The next message, noted."""
        message, _ = self.receive(within)
        assert message["kind"] != "Error" or message.get("query"), message
        if req := message.get("req"):
            self.told[req].append(message)
            if message["kind"] in wire.TERMINAL:
                self.send("EndAck", boot=self.boot, req=req)
        if query := message.get("query"):
            self._answers[query] = message
        return message

    def drain(self) -> None:
        """Note what has come."""
        while self.dealer.poll(0):
            self.take()

    def end(self, req: str) -> Message:
        """Its terminal message."""
        while not (ends := [m for m in self.told[req] if m["kind"] in wire.TERMINAL]):
            self.take()
        return ends[0]

    def heard(self, req: str, frames: int = 1) -> Message:
        """The first Heard that says that so many frames were; its end if that comes before."""
        while True:
            for message in self.told[req]:
                if message["kind"] in wire.TERMINAL:
                    return message
                if message["kind"] == "Heard" and message["frames"] >= frames:
                    return message
            self.take()

    def notices(self, req: str, code: str) -> list[Message]:
        return [m for m in self.told[req] if m["kind"] == "Notice" and m["code"] == code]

    # --- queries

    def ask(self, kind: str, **fields: Any) -> Message:
        """A query, and its answer."""
        query = next(self._queries)
        self.send(kind, query=query, **fields)
        while query not in self._answers:
            self.take()
        return self._answers.pop(query)

    def audio(self, **fields: Any) -> dict[str, Any]:
        """How the loudspeaker is."""
        return dict(self.ask("Audio", **fields)["audio"])

    def playback(self, action: str, **fields: Any) -> Message:
        """Skip, pause, resume."""
        return self.ask("Playback", action=action, **fields)


class Stage:
    """A daemon with the loud voice, whose loudspeaker is a recording, and one client."""

    def __init__(self, daemon: Daemon, recording: Recording) -> None:
        self.daemon = daemon
        self.recording = recording
        self.client = Speaker(daemon.place)

    def another(self) -> Speaker:
        """One more client; who asks closes it."""
        return Speaker(self.daemon.place)

    def player(self) -> int:
        """The player's process."""
        started = [
            line["pid"] for line in self.daemon.log() if line["event"] == "player" and line["phase"] == "started"
        ]
        return int(started[-1])

    def rest(self) -> None:
        """Nobody speaks or waits, and what comes is heard as it was made."""
        self.client.ask("Stop", all=True)
        self.client.playback("resume")
        self.client.audio(volume=1.0, muted=False)
        eventually(lambda: self.daemon.status()["requests"]["active"] == 0, "all have ended")
        self.client.drain()
        self.client.told.clear()
        self.recording.mark()


@contextlib.contextmanager
def stage(config: str = LOUD, **environment: str) -> Iterator[Stage]:
    """A `Stage`, ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        path = Path(directory) / "heard.wav"
        with running(config, VOICEBOX_AUDIO_SINK=f"wav:{path}", **environment) as daemon:
            made = Stage(daemon, Recording(path))
            with made.client:
                yield made
