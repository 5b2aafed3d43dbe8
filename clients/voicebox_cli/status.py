"""`voicebox status`: how the daemon, its providers and the requests are."""

from __future__ import annotations

from typing import Any

import click

from voicebox_cli import exit_codes


@click.command(epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as one JSON object.")
def status(as_json: bool) -> None:
    """Show how the daemon and its providers are. Starts no daemon: with none running, the exit code is 3.

    \b
    voicebox status --json | jq .providers[].state
    """
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import show_json

    with connect(autostart=False) as box:
        found = box.status()
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from voicebox_cli.tables import duration, megabytes, printable, show_table

    daemon, requests = found["daemon"], found["requests"]
    click.echo(
        f"voiceboxd {printable(daemon['version'])}, pid {daemon['pid']}, up {printable(duration(daemon['uptime_s']))}, "
        f"{printable(megabytes(daemon['rss_bytes']))}, connections: {printable(daemon['connections'])}"
    )
    click.echo(f"socket: {printable(daemon['socket'])}")
    click.echo("requests: " + ", ".join(f"{count} {printable(state)}" for state, count in requests.items()) + "\n")
    show_table(
        ["provider", "engine", "version", "state", "pid", "restarts", "memory", "device", "reason"],
        [
            [
                *(provider.get(name) for name in ("id", "engine", "version", "state", "pid", "restarts")),
                megabytes(provider.get("rss_bytes")),
                provider.get("device"),
                provider.get("reason"),
            ]
            for provider in found["providers"]
        ],
    )
