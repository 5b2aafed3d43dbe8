"""A listener with a stopwatch, and an onlooker that asks how the providers are."""

from __future__ import annotations

import time
from typing import Any

from tests.integration.daemon import Daemon, eventually
from tests.integration.wire_client import WireClient
from voicebox_protocol import wire

_PATIENCE_S = 60.0
_QUIET_MS = 30


class Speech:
    """One request as its listener meets it. Owns what was heard of it; gives credit for everything at once. Times are those
    of `time.perf_counter`. A sentence that is begun again or left out fails it."""

    def __init__(self, client: WireClient, text: str, **fields: Any) -> None:
        self.begun = time.perf_counter()
        self.samples = b""
        self.pieces = 0
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
        while self._client.dealer.poll(_QUIET_MS):
            self._take(0.0)

    def rest(self) -> dict[str, Any]:
        """Hear it to its end."""
        while not self.end:
            self._take(_PATIENCE_S)
        assert self.end["kind"] == "Done", self.end
        assert self.end.get("resumed") in (None, "exact"), self.end
        return self.end

    def _take(self, within: float) -> float | None:
        """One message; when it came, if it brought new sound."""
        message, payload = self._client.receive(within)
        at = time.perf_counter()
        assert message.get("req") == self._req, message
        if message["kind"] == "Chunk":
            self._hear(message, payload)
            return at
        if message["kind"] in wire.TERMINAL:
            self._client.send("EndAck", boot=self._client.boot, req=self._req)
            self.end = message
        return None

    def _hear(self, chunk: dict[str, Any], payload: bytes) -> None:
        assert chunk["seq"] == self.pieces, "a piece is missing, or came twice"
        self.pieces += len(chunk["descriptors"])
        self.samples += payload
        self._client.send("Credit", boot=self._client.boot, req=self._req, first=chunk["seq"], last=self.pieces - 1)


class Onlooker:
    """Asks a daemon how its providers are. Owns one client."""

    def __init__(self, daemon: Daemon) -> None:
        self._client = WireClient(daemon.place, attach=False)

    def close(self) -> None:
        self._client.close()

    def provider(self, provider: str) -> dict[str, Any]:
        """What `status` says of it."""
        self._client.send("Status", query=1)
        status = self._client.receive()[0]["status"]
        entry: dict[str, Any] = next(entry for entry in status["providers"] if entry["id"] == provider)
        return entry

    def busy(self, provider: str) -> int | None:
        """The process that speaks, if one does."""
        workers = self.provider(provider)["workers"]
        return next((worker["pid"] for worker in workers if worker["state"] == "busy"), None)

    def at_rest(self, provider: str, processes: int) -> dict[str, Any]:
        """Wait until it has so many processes, all of them loaded and without work; gives what `status` says then."""

        def look() -> dict[str, Any] | None:
            entry = self.provider(provider)
            states = [worker["state"] for worker in entry["workers"] if worker["state"] != "stopped"]
            return entry if states == ["ready"] * processes else None

        entry: dict[str, Any] = eventually(look, f"{provider} rests with {processes} processes")
        return entry
