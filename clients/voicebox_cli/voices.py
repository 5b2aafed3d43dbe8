"""`voicebox voices`: which voices there are."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes


@click.command(epilog=exit_codes.HELP)
@click.option("--provider", metavar="ID", help="Only the voices of this provider.")
@click.option("-l", "--language", metavar="LANG", help="Only voices that speak this language, as en or en-US.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def voices(provider: str | None, language: str | None, as_json: bool) -> None:
    """List the voices that can be asked for.

    \b
    voicebox voices -l en
    """
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import show_json, show_table

    with connect(autostart=True) as box:
        found = box.voices(provider, language)
    if as_json:
        show_json(found)
        return
    show_table(
        ["voice", "provider", "name", "languages", "kind", "default"],
        [
            [
                *(voice.get(name) for name in ("id", "provider", "name")),
                " ".join(voice.get("languages") or []),
                voice.get("kind"),
                "yes" if voice.get("default") else "",
            ]
            for voice in found
        ],
    )
