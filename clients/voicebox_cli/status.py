"""`voicebox status`: how the daemon, its providers and the requests are, once or again and again."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes

_EVERY_S = 1.0
_LEAST_S, _MOST_S = 0.1, 86_400.0


@click.command(epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as one JSON object.")
@click.option("--watch", "watched", is_flag=True, help="Go on showing it until Ctrl-C, also while no daemon runs.")
@click.option("--interval", type=float, metavar="SECONDS", help=f"How often with --watch.  [default: {_EVERY_S:g}]")
def status(as_json: bool, watched: bool, interval: float | None) -> int:
    """Show how the daemon and its providers are. Starts no daemon: with none running, the exit code is 3.

    With --watch, a table that changes on a terminal; elsewhere the same text again and again, or with --json one object a
    line. Ctrl-C ends it with exit code 0.

    \b
    voicebox status --json | jq .providers[].state
    voicebox status --watch --interval 0.5
    """
    if watched:
        from voicebox_cli.watch import watch

        return watch(_checked(interval), as_json=as_json)
    if interval is not None:
        raise click.UsageError("--interval goes with --watch")
    _once(as_json)
    return 0


def _once(as_json: bool) -> None:
    from voicebox_cli.connect import connect
    from voicebox_cli.status_text import status_lines
    from voicebox_cli.tables import show_json

    with connect(autostart=False) as box:
        found = box.status()
    if as_json:
        show_json(found)
        return
    for line in status_lines(found):
        click.echo(line)


def _checked(interval: float | None) -> float:
    if interval is None:
        return _EVERY_S
    if not _LEAST_S <= interval <= _MOST_S:
        raise click.UsageError(f"--interval is {interval:g}; it takes {_LEAST_S:g} to {_MOST_S:g} seconds")
    return interval
