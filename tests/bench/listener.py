"""A listener with a stopwatch, and an onlooker that asks how the providers are."""

from __future__ import annotations

import time
from typing import Any

from tests.integration.daemon import Daemon, eventually
from tests.integration.wire_client import WireClient
from voicebox_protocol import wire

_PATIENCE_S = 60.0
_QUIET_S = 0.03


class Speech:
    """One request as its listener meets it. Owns what was heard of it; gives credit for everything at once. Times are
    `time.perf_counter`'s. What is not continued exactly fails it."""

    def __init__(self, client: WireClient, text: str, **fields: Any) -> None:
        self.begun = time.perf_counter()
        self.samples = b""
        self.pieces = 0
        self.segment = -1
        self.part = 0
        self.end: dict[str, Any] = {}
        self._client = client
        self._req = client.say(text, **fields)

    def next_sound(self) -> float:
        """When the next new sound came."""
        while (at := self._take(_PATIENCE_S)) is None:
            assert not self.end, self.end
        return at

    def drain(self) -> None:
        """Take what is still on its way: until nothing has come for a while."""
        while self._client.dealer.poll(int(_QUIET_S * 1000)):
            self._take(0.0)

    def rest(self) -> dict[str, Any]:
        """Hear it to its end."""
        while not self.end:
            self._take(_PATIENCE_S)
        assert self.end["kind"] == "Done", self.end
        return self.end

    def _take(self, within: float) -> float | None:
        """One message; when it came, if it brought new sound."""
        message, payload = self._client.receive(within)
        at = time.perf_counter()
        assert message.get("req") == self._req, message
        if message["kind"] == "Chunk":
            self._hear(message, payload)
            return at
        assert message["kind"] != "Reset", "it was not continued exactly"
        if message["kind"] in wire.TERMINAL:
            self._client.send("EndAck", boot=self._client.boot, req=self._req)
            self.end = message
        return None

    def _hear(self, chunk: dict[str, Any], payload: bytes) -> None:
        assert chunk["seq"] == self.pieces, "a piece is missing, or came twice"
        self.pieces += len(chunk["descriptors"])
        self.part = (self.part if chunk["segment"] == self.segment else 0) + len(payload)
        self.segment = chunk["segment"]
        self.samples += payload
        self._client.send("Credit", boot=self._client.boot, req=self._req, first=chunk["seq"], last=self.pieces - 1)


class Onlooker:
    """Asks a daemon how its providers are. Owns one client, which is not counted as a listener."""

    def __init__(self, daemon: Daemon) -> None:
        self._client = WireClient(daemon.place, attach=False)

    def __enter__(self) -> Onlooker:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def provider(self, provider: str) -> dict[str, Any]:
        """What `status` says of it."""
        self._client.send("Status", query=1)
        status = self._client.receive()[0]["status"]
        return next(entry for entry in status["providers"] if entry["id"] == provider)

    def busy(self, provider: str) -> int:
        """The process that speaks."""
        (pid,) = (worker["pid"] for worker in self.provider(provider)["workers"] if worker["state"] == "busy")
        return int(pid)

    def at_rest(self, provider: str, processes: int) -> dict[str, Any]:
        """Wait until it has so many loaded processes, and nothing else; gives what `status` says then."""

        def look() -> dict[str, Any] | None:
            entry = self.provider(provider)
            states = [worker["state"] for worker in entry["workers"] if worker["state"] != "stopped"]
            return entry if states == ["ready"] * processes else None

        entry: dict[str, Any] = eventually(look, f"{provider} rests with {processes} processes")
        return entry
