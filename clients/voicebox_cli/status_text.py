"""The daemon's status in words: lines that hold nothing a terminal would obey, whatever providers say of themselves."""

from __future__ import annotations

from typing import Any

from voicebox_cli.audio_text import audio_line
from voicebox_cli.tables import duration, megabytes, printable, table_lines

TROUBLED = frozenset({"failed", "quarantined", "backoff"})

_COLUMNS = ("id", "engine", "version", "state", "pid", "restarts", "memory", "device", "reason")


def status_lines(found: dict[str, Any]) -> list[str]:
    """All of it, with what needs more words below the provider that it is about."""
    providers = found["providers"]
    first, *rows = table_lines(("provider", *_COLUMNS[1:]), [_row(provider) for provider in providers])
    told = [first]
    for provider, row in zip(providers, rows, strict=True):
        below = (*device_lines(provider), *worker_lines(provider), *trouble_lines(provider))
        told += [row, *(f"    {line}" for line in below)]
    daemon = found["daemon"]
    head = [daemon_line(daemon), f"socket: {printable(daemon['socket'])}", requests_line(found["requests"])]
    return [*head, *loudspeaker_lines(found), "", *told]


def loudspeaker_lines(found: dict[str, Any]) -> list[str]:
    """How the loudspeaker is; nothing of a daemon that has none."""
    return [audio_line(found["audio"])] if found.get("audio") else []


def daemon_line(daemon: dict[str, Any]) -> str:
    """Who it is and how large."""
    return (
        f"voiceboxd {printable(daemon['version'])}, pid {daemon['pid']}, up {printable(duration(daemon['uptime_s']))}, "
        f"{printable(megabytes(daemon['rss_bytes']))}, connections: {printable(daemon['connections'])}"
    )


def requests_line(requests: dict[str, Any]) -> str:
    """How many there are in each state."""
    return "requests: " + ", ".join(f"{count} {printable(state)}" for state, count in requests.items())


def trouble_lines(provider: dict[str, Any]) -> list[str]:
    """Why one cannot be used, in full: the reason, when it is tried again, and what it wrote last; empty if all is well."""
    if provider["state"] not in TROUBLED:
        return []
    lines = [f"reason: {printable(provider.get('reason'))}"]
    if (seconds := provider.get("retry_in_s")) is not None:
        lines.append(f"may be tried again in {duration(seconds)}")
    return lines + [f"log: {printable(line)}" for line in provider.get("log_tail") or []]


def device_lines(provider: dict[str, Any]) -> list[str]:
    """Its share of its accelerator's memory, and what others have of it; empty where nothing is known of that."""
    own, used, total = (provider.get(f"vram{which}_bytes") for which in ("", "_used", "_total"))
    if own is None:
        return []
    in_use = f", {used / 1e6:.0f} of {printable(megabytes(total))} in use" if used is not None else ""
    return [f"{printable(provider.get('device'))}: {printable(megabytes(own))} its own{in_use}"]


def device_cell(provider: dict[str, Any]) -> str | None:
    """Where it runs, with its share of the memory there."""
    device, own = provider.get("device"), megabytes(provider.get("vram_bytes"))
    return device if own is None else f"{device}: {own}"


def worker_lines(provider: dict[str, Any]) -> list[str]:
    """Each process of one that has several."""
    workers = [worker for worker in provider.get("workers") or [] if worker.get("pid")]
    if len(workers) < 2:
        return []
    return [
        f"{'standby' if worker['pid'] == provider.get('standby_pid') else 'worker'} {worker['pid']}: "
        f"{printable(worker.get('state'))}, {printable(megabytes(worker.get('rss_bytes')))}"
        for worker in workers
    ]


def _row(provider: dict[str, Any]) -> list[object]:
    known = {**provider, "memory": megabytes(provider.get("rss_bytes"))}
    if provider["state"] in TROUBLED:
        known["reason"] = ""  # it has a line of its own
    return [known.get(name) for name in _COLUMNS]
