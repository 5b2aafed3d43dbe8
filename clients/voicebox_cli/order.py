"""`voicebox provider order`: who speaks when a voice cannot, in the order that the user wants."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from voicebox_cli import exit_codes

_ARROW = " → "


@click.command(epilog=exit_codes.HELP)
@click.argument("slots", nargs=-1, metavar="[SLOT]...")
@click.option("--voice", metavar="VOICE", help="The order for this voice: who follows when it cannot speak.")
@click.option("-l", "--language", metavar="LANG", help="The order for requests in this language, as de or en-GB.")
@click.option("--clear", is_flag=True, help="Forget the order instead.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is written down as one JSON object.")
def order(slots: tuple[str, ...], voice: str | None, language: str | None, clear: bool, as_json: bool) -> None:
    """Say who speaks when a voice cannot; kept in the configuration. Without SLOTs, show what is written down.

    A SLOT is PROVIDER/VOICE, or PROVIDER for its own default. The order of the voice that was to speak is followed, else
    that of the request's language, else the default one, which this sets without --voice and --language. A request that
    names neither voice nor provider is spoken by the first of its language's or the default order.

    \b
    voicebox provider order builtin/heart espeak
    voicebox provider order --voice builtin/heart kokoro/af_heart
    """
    if voice and language:
        raise click.UsageError("give --voice or --language, not both")
    if clear and slots:
        raise click.UsageError("--clear takes no SLOT")
    if not (slots or clear):
        _show(voice, language, as_json)
        return
    done = _clear(voice, language) if clear else _set(slots, voice, language)
    if as_json:
        _show(voice, language, as_json)
    else:
        _tell(done)


def _tell(done: str) -> None:
    from voicebox_cli.config import tell_of_restart
    from voicebox_cli.tables import printable

    click.echo(printable(done))
    tell_of_restart()


class _Known(NamedTuple):
    """What is installed. Of a provider that never came up it is not known which voices it has."""

    providers: list[str]
    voices: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        return [f"{voice['provider']}/{voice['id']}" for voice in self.voices]

    @property
    def silent(self) -> set[str]:
        return set(self.providers) - {str(voice["provider"]) for voice in self.voices}


def _set(slots: tuple[str, ...], voice: str | None, language: str | None) -> str:
    from voicebox_cli import config_file
    from voicebox_cli.connect import connect
    from voicebox_cli.use import existing

    with connect(autostart=True) as box:
        known = _Known([str(each["id"]) for each in box.providers()], box.voices())
    chain = [_checked(slot, known, language) for slot in slots]
    if len(set(chain)) < len(chain):
        raise click.UsageError("a slot is given twice")
    if voice:
        voice = existing(voice, [(str(each["provider"]), str(each["id"])) for each in known.voices])
    config_file.change(_key(voice, language), chain)
    return f"{_whose(voice, language)}: {_ARROW.join(chain)}"


def _clear(voice: str | None, language: str | None) -> str:
    from voicebox_cli import config_file

    was = config_file.remove(_key(voice, language))
    return f"{_whose(voice, language)}: " + ("forgotten" if was else "there is none")


def _checked(slot: str, known: _Known, language: str | None) -> str:
    """The slot as it calls itself. Raises `NoSuchProvider`, `NoSuchVoice` or `NoSuchLanguage`."""
    from voicebox_protocol.capabilities import speaks
    from voicebox_protocol.errors import NoSuchLanguage, NoSuchProvider, NoSuchVoice
    from voicebox_protocol.fit import nearest

    provider, slash, _ = slot.partition("/")
    if provider.lower() not in known.providers:
        ids = known.providers if slash else [*known.providers, *known.names]
        raise NoSuchProvider(f"no provider is called {provider!r}{nearest(provider, ids)}")
    if provider.lower() in known.silent:
        return slot
    wanted = slot.lower()
    found = [name for name in (known.names if slash else known.providers) if name.lower() == wanted]
    if not found:
        raise NoSuchVoice(f"no voice is called {slot!r}{nearest(slot, known.names)}")
    own = [each for each, name in zip(known.voices, known.names, strict=True) if name == found[0] or not slash]
    spoken = [tag for each in own if each["provider"] == provider.lower() for tag in each.get("languages") or []]
    if language and not speaks(spoken, language):
        raise NoSuchLanguage(f"{found[0]} does not speak {language!r}; there is {', '.join(sorted(set(spoken)))}")
    return found[0]


def _key(voice: str | None, language: str | None) -> str:
    """The configuration's key; one that is written in another case stays."""
    from voicebox_cli import config_file

    if not (voice or language):
        return "order.default"
    table, name = ("voice", voice) if voice else ("language", (language or "").replace("_", "-"))
    there = config_file.entry(f"order.{table}").value or {}
    return f"order.{table}.{next((own for own in there if own.lower() == str(name).lower()), name)}"


def _whose(voice: str | None, language: str | None) -> str:
    return f"voice {voice}" if voice else f"language {language}" if language else "default"


def _show(voice: str | None, language: str | None, as_json: bool) -> None:
    from voicebox_cli import config_file
    from voicebox_cli.tables import show_json, show_table

    written = {name: config_file.entry(f"order.{name}").value for name in ("default", "voice", "language")}
    if as_json:
        show_json(written)
        return
    rows = [("default", written["default"])] if written["default"] else []
    rows += [(f"{table} {name}", chain) for table in ("voice", "language") for name, chain in written[table].items()]
    if voice or language:
        rows = [row for row in rows if row[0].lower() == _whose(voice, language).lower()]
    if rows:
        show_table(["for", "order"], [[whose, _ARROW.join(chain) or "nobody"] for whose, chain in rows])
    else:
        click.echo("none is written down" + f" for the {_whose(voice, language)}" * bool(voice or language))
