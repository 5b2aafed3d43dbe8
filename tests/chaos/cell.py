"""One cell of the table of docs/supervision.md, played: a provider of its own, the fault in its phase, and what came of it."""

from __future__ import annotations

import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.daemon import Daemon, eventually
from tests.integration.wire_client import Ending, WireClient
from tests.providers import lying
from voicebox_protocol import wire

CALM = "calm"
SEED = 11
# Each letter is one array of a tenth of a second.
TEXT = "A sentence to break."
SLOW = f"[[slow:40]]{TEXT}"
WARM = "Warm."
FLUSH_S = 0.1
RESTING = {"ready", "stopped", "failed", "quarantined"}
PATIENCE_S = 5.0
# More than any bound of the page.
LONGEST_S = 60.0

# What a fault of the table takes as an argument, and its phase as a number of arrays.
HOLD_S = 4.0
# Where another process is to be started meanwhile, however busy the machine.
LONG_HOLD_S = 9.0
LEAK_MB = 60
ARRAYS = {"speaking": "speaking:3", "finishing": "speaking:10"}


class Cell(NamedTuple):
    """A fault in a phase, with a standby or without; `always`: whenever it can, and not once."""

    fault: str
    phase: str
    standby: str = "none"
    always: bool = False

    @property
    def provider(self) -> str:
        """The id of the provider that is its own."""
        more = ("-warm" if self.standby == "warm" else "") + ("-always" if self.always else "")
        return f"{self.fault}-{self.phase}{more}".replace(":", "-")

    @property
    def word(self) -> str:
        """It as a setting."""
        started = self.standby == "none" and self.phase in ("idle", "first", "speaking", "last") and not self.always
        hold = LONG_HOLD_S if started else HOLD_S
        words = {"gil": f"gil:{hold * 1000:.0f}", "leak": f"leak:{LEAK_MB}"}
        return f"{words.get(self.fault, self.fault)}@{ARRAYS.get(self.phase, self.phase)}"

    def flag(self, directory: Path) -> Path:
        """Is there while the fault may not strike; made when it does."""
        return directory / self.provider


class Heard(Ending):
    """An ending, with when each message came, in seconds since the epoch, and whether each piece has the checksum it should."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.valid: list[bool] = []

    def take(self, message: dict[str, Any], payload: bytes) -> None:
        super().take(message, payload)
        self.times.append(time.time())
        for _, offset, frames, crc in message.get("descriptors", ()):
            self.valid.append(zlib.crc32(payload[offset : offset + 4 * frames]) == crc)

    def next_after(self, when: float) -> float:
        """When the first sound, or the end, came after that."""
        return next(
            at
            for at, message in zip(self.times, self.messages, strict=True)
            if at > when and message["kind"] in ("Chunk", *wire.TERMINAL)
        )


class Outcome(NamedTuple):
    """What came of a cell. `whole` are the samples of an undisturbed run; `spare` is the epoch of the spare that was there, if
    one was; `starts` counts processes started from the fault on, `ends` what the log says of the request's end; `fresh` is
    how a later request ended, None where the fault would only come again."""

    heard: Heard
    whole: bytes
    recovery_s: float
    provider: dict[str, Any]
    spare: int | None
    starts: int
    ends: int
    silent: bool
    fresh: Ending | None


def configuration(cells: list[Cell], directory: Path, limits: dict[Cell, dict[str, float]]) -> str:
    """A provider for each cell, and one that nothing happens to."""
    tables = [
        # What could be said again is waited for, however slow the machine makes it.
        "[speech]\nresume_patience_s = 60\n",
        "[provider.builtin]\nenabled = false\n",
        _table(CALM, "FakeEngine", {"ms_per_char": 100}, {"standby": "none"}),
    ]
    for cell in cells:
        settings: dict[str, Any] = {"ms_per_char": 100, "faults": [cell.word]}
        if not cell.always:
            settings["fault_once"] = str(cell.flag(directory))
        keys: dict[str, Any] = {"standby": cell.standby, "restart_base_s": 0.1, **limits.get(cell, {})}
        if cell.fault == "leak":
            keys["recycle_growth_mb"] = LEAK_MB // 2
        tables.append(_table(cell.provider, "Lying" if cell.fault in lying.LIES else "FakeEngine", settings, keys))
    return "\n".join(tables)


def _table(provider: str, engine: str, settings: dict[str, Any], keys: dict[str, Any]) -> str:
    where = f"{lying.__file__}:Lying" if engine == "Lying" else "voicebox_provider.testing:FakeEngine"
    lines = [
        f"[provider.{provider}]",
        f'engine = "{where}"',
        *(f"{name} = {_toml(value)}" for name, value in keys.items()),
    ]
    inner = ", ".join(f"{name} = {_toml(value)}" for name, value in settings.items())
    return "\n".join([*lines, f"settings = {{ {inner} }}", ""])


def _toml(value: Any) -> str:
    return str(value) if isinstance(value, int | float) else repr(value)


class Player:
    """Owns a cell's clients while it is played."""

    def __init__(self, daemon: Daemon, cell: Cell, directory: Path, *, shares: bool = False) -> None:
        """`shares`: it hears by shared memory, as far as there is some."""
        self._daemon = daemon
        self._shares = shares
        self._cell = cell
        self._flag = cell.flag(directory)
        self._heard = Heard()

    def play(self, state: str) -> Outcome:
        """The fault, and a request that is there when it strikes or comes next; then wait for the provider to be in `state`."""
        place = self._daemon.place
        with WireClient(place, shares=self._shares) as client, WireClient(place, attach=False) as control:
            text = SLOW if self._cell.phase == "finishing" else TEXT
            whole = client.speak(text, provider=CALM, seed=SEED).samples
            spare = self._prepare(client)
            before = self._starts()
            sent, req = self._meet(client, control, text)
            listen(client, req, self._heard)
            struck = max(sent, self._flag.stat().st_mtime) if self._flag.exists() else sent
            return Outcome(
                self._heard,
                whole,
                self._heard.next_after(struck) - struck,
                settled(self._daemon, self._cell.provider, state),
                spare,
                self._starts() - before,
                sum(line["event"] == "end" and line.get("req") == req for line in self._daemon.log()),
                client.silent(0.05),
                None if self._cell.always else self._once_more(client),
            )

    def _prepare(self, client: WireClient) -> int | None:
        """Up to the phase before the one in question; gives the epoch of the standby, if there is one."""
        cell, spare = self._cell, None
        if cell.always or cell.phase in ("hello", "loading"):
            return None
        self._flag.touch()
        assert client.speak(WARM, provider=cell.provider, seed=SEED).end["kind"] == "Done"
        if cell.standby == "warm":
            spare = eventually(lambda: _spare(self._daemon, cell.provider), "the standby is loaded")
        settled(self._daemon, cell.provider, "ready")
        self._flag.unlink()
        return spare

    def _meet(self, client: WireClient, control: WireClient, text: str) -> tuple[float, str]:
        """Have fault and request meet; when the request was sent, and its name."""
        cell = self._cell
        if cell.phase == "leaving":
            control.send("ControlProvider", query=1, provider=cell.provider, action="restart")
        if cell.phase in ("idle", "leaving") and not cell.always:
            eventually(self._flag.exists, "it strikes")
            time.sleep(3 * FLUSH_S)
        sent = time.time()
        req = client.say(text, provider=cell.provider, seed=SEED)
        if cell.phase == "finishing":
            while "Chunk" not in self._heard.kinds:
                _take(client, req, self._heard)
            control.send("ControlProvider", query=1, provider=cell.provider, action="restart")
        return sent, req

    def _once_more(self, client: WireClient) -> Ending:
        """Another request; by hand, if the provider is not started otherwise."""
        if provider_of(self._daemon, self._cell.provider)["state"] in ("failed", "quarantined"):
            control(self._daemon, self._cell.provider, "start")
        return client.speak(TEXT, provider=self._cell.provider, seed=SEED)

    def _starts(self) -> int:
        return sum(
            line["event"] == "provider" and line["provider"] == self._cell.provider and line["phase"] == "starting"
            for line in self._daemon.log()
        )


def listen(client: WireClient, req: str, heard: Heard) -> Heard:
    """All that is said of a request, to its end."""
    while not heard.kinds or heard.kinds[-1] not in wire.TERMINAL:
        _take(client, req, heard)
    client.send("EndAck", boot=client.boot, req=req)
    return heard


def _take(client: WireClient, req: str, heard: Heard) -> None:
    message, payload = client.receive(LONGEST_S)
    if message.get("req") != req:
        return
    heard.take(message, payload)
    if message["kind"] == "Chunk":
        last = message["seq"] + len(message["descriptors"]) - 1
        client.send("Credit", boot=client.boot, req=req, first=message["seq"], last=last)


def provider_of(daemon: Daemon, provider: str) -> dict[str, Any]:
    """What `status` says of it."""
    return next(entry for entry in daemon.status()["providers"] if entry["id"] == provider)


def _spare(daemon: Daemon, provider: str) -> int | None:
    entry = provider_of(daemon, provider)
    return next((w["epoch"] for w in entry["workers"] if w["pid"] == entry["standby_pid"] is not None), None)


def settled(daemon: Daemon, provider: str, state: str) -> dict[str, Any]:
    """What `status` says of it once none of its processes is coming or going, and its state is this one or stays another."""

    def look() -> dict[str, Any] | None:
        entry = provider_of(daemon, provider)
        rests = {worker["state"] for worker in entry["workers"]} <= RESTING
        return entry if rests and (entry["state"] == state or time.monotonic() > patience) else None

    patience = time.monotonic() + PATIENCE_S
    found: dict[str, Any] = eventually(look, f"{provider} settles")
    return found


def control(daemon: Daemon, provider: str, action: str) -> dict[str, Any]:
    """Start, stop or restart it by hand, and wait for the answer."""
    with WireClient(daemon.place, attach=False) as client:
        client.send("ControlProvider", query=1, provider=provider, action=action)
        return client.receive(60.0)[0]
