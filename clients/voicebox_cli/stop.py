"""`voicebox stop`: silence."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes


@click.command(epilog=exit_codes.HELP)
@click.argument("request", required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every request, of every client.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: {requests, total}.")
def stop(request: str | None, everything: bool, as_json: bool) -> None:
    """Stop all that is for the loudspeaker. Or one REQUEST by its id, or with --all everything, files too.

    \b
    voicebox stop
    voicebox stop 3f0c9ab1d24e5f60718293a4b5c6d7e8
    """
    from voicebox_cli import playback
    from voicebox_cli.connect import connect

    playback.check(request, everything)
    with connect(autostart=False) as box:
        stopped = box.stop(request, all=everything)
    nothing = "there is no request" if everything else "nothing is being played"
    playback.tell(stopped, playback.counted(stopped, "stopped", nothing), as_json=as_json)
