"""`voicebox use`: who speaks when nobody is named."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes


@click.group()
def use() -> None:
    """Choose the voice or the provider that speaks when a request names none; kept in the configuration."""


@use.command(epilog=exit_codes.HELP)
@click.argument("name", metavar="VOICE")
def voice(name: str) -> None:
    """Make a voice the default. VOICE may be PROVIDER/VOICE.

    \b
    voicebox use voice heart
    """
    from voicebox_cli import config_file
    from voicebox_cli.config import tell_of_restart
    from voicebox_cli.connect import connect

    with connect(autostart=True) as box:
        found = box.voices()
    chosen = existing(name, [(str(each["provider"]), str(each["id"])) for each in found])
    config_file.change("speech.voice", chosen)
    click.echo(f"the default voice is {chosen}")
    if chain := config_file.entry("order.default").value:
        click.echo(f"but the default order stands before it: {', '.join(chain)} (`voicebox provider order`)")
    tell_of_restart()


@use.command(epilog=exit_codes.HELP)
@click.argument("name", metavar="ID")
def provider(name: str) -> None:
    """Make a provider the first choice.

    \b
    voicebox use provider builtin
    """
    from voicebox_cli import config_file
    from voicebox_cli.config import tell_of_restart
    from voicebox_cli.connect import connect
    from voicebox_protocol.errors import NoSuchProvider
    from voicebox_protocol.fit import nearest

    with connect(autostart=True) as box:
        known = [str(each["id"]) for each in box.providers()]
    if name not in known:
        raise NoSuchProvider(f"no provider is called {name!r}{nearest(name, known)}")
    config_file.change("speech.provider", name)
    click.echo(f"the first provider is {name}")
    tell_of_restart()


def existing(name: str, voices: list[tuple[str, str]]) -> str:
    """The voice as it calls itself. Raises `NoSuchVoice`."""
    from voicebox_protocol.errors import NoSuchVoice
    from voicebox_protocol.fit import nearest

    names = [own for _, own in voices] + [f"{provider}/{own}" for provider, own in voices]
    for known in names:
        if known.lower() == name.lower():
            return known
    raise NoSuchVoice(f"no voice is called {name!r}{nearest(name, names)}")
