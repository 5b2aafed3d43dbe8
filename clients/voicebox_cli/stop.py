"""`voicebox stop`: silence."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes


@click.command(epilog=exit_codes.HELP)
@click.argument("request", required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every request, of every client.")
def stop(request: str | None, everything: bool) -> None:
    """Stop what is being played, one REQUEST by its id, or with --all everything.

    \b
    voicebox stop
    voicebox stop 3f0c9ab1d24e5f60718293a4b5c6d7e8
    """
    if request is not None and everything:
        raise click.UsageError("give a request or --all, not both")
    from voicebox_cli.connect import connect

    with connect(autostart=False) as box:
        stopped = box.stop(request, all=everything)
    if stopped.total:
        click.echo(f"stopped {stopped.total} request{'s' if stopped.total > 1 else ''}")
    else:
        click.echo("there is no request" if everything else "nothing is being played")
