"""`voicebox provider start`, `stop`, `restart` and `ping`: a provider's process, by hand."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes

_DOING = {"start": "starting", "stop": "stopping", "restart": "restarting"}


@click.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the provider as it then is.")
def start(provider_id: str, as_json: bool) -> None:
    """Load a provider, so that the next request finds it ready. Done once it is; one that had failed or was quarantined is
    tried anew, and the message says why if it fails again.

    \b
    voicebox provider start builtin
    """
    _control("start", provider_id, as_json)


@click.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the provider as it then is.")
def stop(provider_id: str, as_json: bool) -> None:
    """End a provider's process. What was asked of it is spoken first; done once no process is left. It is started again when
    it is next asked to speak. Starts no daemon: with none running, the exit code is 3.

    \b
    voicebox provider stop builtin
    """
    _control("stop", provider_id, as_json)


@click.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the provider as it then is.")
def restart(provider_id: str, as_json: bool) -> None:
    """Put a fresh process in the place of a provider's. The sentence in work is finished first, and what is being spoken goes
    on with the new one; done once that is ready.

    \b
    voicebox provider restart builtin
    """
    _control("restart", provider_id, as_json)


@click.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help='Print one JSON object: {"provider": ID, "milliseconds": N}.')
def ping(provider_id: str, as_json: bool) -> None:
    """Ask a provider's process whether it answers, and say how soon it did. It does whatever its engine is at; one that was
    stopped or hangs as a whole does not. Starts nothing.

    \b
    voicebox provider ping builtin
    """
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import printable, show_json

    with connect(autostart=False) as box:
        milliseconds = box.ping(provider_id) * 1000
    if as_json:
        show_json({"provider": provider_id, "milliseconds": round(milliseconds, 3)})
    else:
        click.echo(f"{printable(provider_id)} answered within {milliseconds:.1f} ms")


def _control(action: str, provider_id: str, as_json: bool) -> None:
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import printable, show_json
    from voicebox_cli.waiting import waiting

    with connect(autostart=action != "stop") as box, waiting(f"{_DOING[action]} {provider_id}"):
        does = {"start": box.start_provider, "stop": box.stop_provider, "restart": box.restart_provider}
        entry = does[action](provider_id)
    if as_json:
        show_json(entry)
    else:
        click.echo(f"{printable(entry['id'])} is {printable(entry['state'])}")
