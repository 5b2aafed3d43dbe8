"""The table of `voicebox status --watch` on a terminal. The one module that loads rich."""

from __future__ import annotations

from typing import Any, Self

from rich import table
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from voicebox_cli.status_text import TROUBLED, daemon_line, device_cell, loudspeaker_lines, requests_line, trouble_lines
from voicebox_cli.tables import megabytes, printable
from voicebox_cli.watch import absence
from voicebox_protocol.errors import VoiceboxError

_HEADINGS = ("provider", "state", "workers", "standby", "restarts", "memory", "device", "jobs")
_COLOURS = {
    "ready": "green",
    "busy": "bold green",
    "stopped": "dim",
    "failed": "bold red",
    "quarantined": "bold red",
    "killing": "red",
}
_ON_THE_WAY = "yellow"


class Table:
    """Owns the terminal's other screen for as long as it is entered: what was there before is there again afterwards."""

    def __init__(self, interval: float) -> None:
        self._footer = Text(f"every {interval:g} s; Ctrl-C ends", "dim")
        self._live = Live(console=Console(highlight=False), screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._live.stop()

    def show(self, found: dict[str, Any] | VoiceboxError) -> None:
        shown = Text(absence(found), "bold red") if isinstance(found, VoiceboxError) else drawn(found)
        self._live.update(Group(shown, "", self._footer), refresh=True)


def drawn(found: dict[str, Any]) -> RenderableType:
    """A daemon's status, for a terminal of any width. All of it is `Text`: what providers say is never markup."""
    rows = table.Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        rows.add_column(heading.upper(), no_wrap=True)
    for provider in found["providers"]:
        rows.add_row(*_cells(provider))
    reasons = [line for provider in found["providers"] for line in _reason(provider)]
    head = [daemon_line(found["daemon"]), requests_line(found["requests"]), *loudspeaker_lines(found), ""]
    return Group(*(Text(line) for line in head), rows, Text(), *reasons)


def _cells(provider: dict[str, Any]) -> list[Text]:
    workers = [worker for worker in provider.get("workers") or [] if worker.get("pid")]
    standby = provider.get("standby_pid")
    state = printable(provider["state"])
    return [
        Text(printable(provider["id"])),
        Text(state, _COLOURS.get(state, _ON_THE_WAY)),
        *(
            Text(printable(value))
            for value in (
                sum(worker["pid"] != standby for worker in workers),
                standby,
                provider.get("restarts"),
                megabytes(provider.get("rss_bytes")),
                device_cell(provider),
                sum(worker.get("jobs") or 0 for worker in workers),
            )
        ),
    ]


def _reason(provider: dict[str, Any]) -> list[Text]:
    """Below the table, where it has room: in a column it would leave none to the others."""
    name, reason = printable(provider["id"]), provider.get("reason")
    if provider["state"] in TROUBLED:
        first, *more = trouble_lines(provider)
        return [Text(f"{name}: {first}", "red"), *(Text(f"    {line}", "dim") for line in more)]
    return [Text(f"{name}: {printable(reason)}", "dim")] if reason else []
