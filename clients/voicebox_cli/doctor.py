"""`voicebox doctor`: what is well on this machine and what is not, with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicebox_cli import exit_codes

if TYPE_CHECKING:
    from voicebox_cli.checkup.findings import Finding


@click.command(epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> int:
    """Look over this machine: places, limits, the daemon, providers, accelerators and sound. One line each says what is well,
    what could be better (hint) and what is broken, with what to do. Starts nothing. Ends with 1 if something is broken, else
    with 0; takes up to 15 seconds where something hangs.

    \b
    voicebox doctor
    voicebox doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    from voicebox_cli.checkup.findings import findings, is_well
    from voicebox_cli.checkup.gather import gather
    from voicebox_cli.tables import show_json

    facts = gather()
    found = findings(facts)
    if as_json:
        cards = [card._asdict() for card in facts.cards.found]
        show_json({"well": is_well(found), "findings": [each._asdict() for each in found], "devices": cards})
    else:
        for line in lines(found):
            click.echo(line)
    return 0 if is_well(found) else 1


def lines(found: list[Finding]) -> list[str]:
    """One for each finding, with what to do below it, and the sum of it at the end."""
    from voicebox_cli.tables import printable

    told = []
    for each in found:
        told.append(f"{each.level:<7} {each.area:<9} {printable(each.what)}")
        if each.do:
            told.append(f"{'':<17} → {printable(each.do)}")
    return [*told, "", _sum(found)]


def _sum(found: list[Finding]) -> str:
    broken, hints = (sum(each.level == level for each in found) for level in ("broken", "hint"))
    parts = [f"{broken} broken" if broken else "nothing is broken", *([f"hints: {hints}"] if hints else [])]
    return ", ".join(parts)
