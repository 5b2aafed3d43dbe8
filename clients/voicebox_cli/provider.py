"""`voicebox provider`: the engines that are installed."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes


@click.group()
def provider() -> None:
    """Look after the providers, each an engine in a process of its own."""


@provider.command("list", epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with what each provider can do.")
def list_providers(as_json: bool) -> None:
    """List the providers that are installed.

    \b
    voicebox provider list
    """
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import show_json, show_table

    with connect(autostart=True) as box:
        found = box.providers()
    if as_json:
        show_json(found)
        return
    columns = ["id", "engine", "source", "state", "reason"]
    show_table(["provider", *columns[1:]], [[entry.get(name) for name in columns] for entry in found])
