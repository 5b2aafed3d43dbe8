"""`voicebox replay`: once more what was heard."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes


@click.command(epilog=exit_codes.HELP)
@click.argument("request", required=False)
@click.option("--no-wait", is_flag=True, help="Return once it is accepted, not when it was heard.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, as `voicebox say` does.")
@click.option("--plain", is_flag=True, help="One line for each event on standard error, for screen readers.")
def replay(request: str | None, no_wait: bool, as_json: bool, plain: bool) -> int:
    """Play again what was heard last. Or one REQUEST of the last 16, by its id. Ends when it was heard.

    \b
    voicebox replay
    voicebox replay 3f0c9ab1d24e5f60718293a4b5c6d7e8 --no-wait
    """
    from voicebox_cli.speaking import Speaking

    # A daemon that has just been started has played nothing.
    speaking = Speaking(
        lambda box, **fields: box.replay(request, **fields), autostart=False, plain=plain, as_json=as_json
    )
    return speaking.aloud(detached=no_wait)
