"""`voicebox audio`: the loudspeaker's device, and how it is."""

from __future__ import annotations

from typing import Any

import click

from voicebox_cli import exit_codes

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
_DEFAULT = "default"
_ANY = "the loudspeaker"


@click.group(invoke_without_command=True, epilog=exit_codes.HELP)
@_JSON
@click.pass_context
def audio(ctx: click.Context, as_json: bool) -> None:
    """Show the loudspeaker, or choose its device. Shown are the device, the volume, who speaks and how many wait.

    \b
    voicebox audio
    voicebox audio list
    voicebox audio use "USB Headset"
    voicebox audio test
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json goes behind {ctx.invoked_subcommand}")
        return
    from voicebox_cli.audio_text import audio_lines
    from voicebox_cli.tables import show_json

    found = _ask()
    if as_json:
        show_json(found)
        return
    for line in audio_lines(found):
        click.echo(line)


@audio.command("list", epilog=exit_codes.HELP)
@_JSON
def list_devices(as_json: bool) -> None:
    """List the devices that there are to play at.

    \b
    voicebox audio list
    """
    from voicebox_cli.tables import show_json, show_table

    found = _ask(devices=True)
    devices = found.get("devices") or []
    if as_json:
        show_json(devices)
    elif not devices:
        click.echo(found.get("trouble") or "there is no sound device")
    else:
        show_table(
            ["device", "system", "default", "in use"],
            [
                [
                    each["name"],
                    each.get("backend"),
                    "yes" if each.get("default") else "",
                    "yes" if each["name"] == found.get("device") else "",
                ]
                for each in devices
            ],
        )


@audio.command(epilog=exit_codes.HELP)
@click.argument("device")
@_JSON
def use(device: str, as_json: bool) -> None:
    """Play at DEVICE from now on, by its name in `voicebox audio list`; `default` is whichever the system plays at.

    \b
    voicebox audio use "USB Headset"
    voicebox audio use default
    """
    from voicebox_cli.audio_text import DEFAULT
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import printable, show_json

    with connect(autostart=True) as box:
        name = ""
        if device.lower() != _DEFAULT:
            name = existing(device, [str(each["name"]) for each in box.audio(devices=True).get("devices") or []])
        found = box.audio(device=name)
    if as_json:
        show_json(found)
    else:
        click.echo(f"the loudspeaker plays at {printable(name or DEFAULT)}")


@audio.command(epilog=exit_codes.HELP)
@_JSON
def test(as_json: bool) -> int:
    """Speak a sentence through the loudspeaker, which names the device. Ends when it was heard.

    \b
    voicebox audio test
    """
    from voicebox_cli.speaking import Speaking

    text = f"You hear this through {spoken_name(_ask(devices=True))}."
    speaking = Speaking(lambda box, **fields: box.say(text, sink="speaker", **fields), plain=False, as_json=as_json)
    return speaking.aloud(detached=False)


def existing(device: str, names: list[str]) -> str:
    """A device as it is called. Raises `NotFound` with the nearest."""
    from voicebox_protocol.errors import NotFound
    from voicebox_protocol.fit import nearest

    for known in names:
        if known.lower() == device.lower():
            return known
    raise NotFound(f"no device is called {device!r}{nearest(device, names)}; see: voicebox audio list")


def spoken_name(audio: dict[str, Any]) -> str:
    """What plays, in what any English voice can speak."""
    if audio.get("sink") != "device":
        return _ANY
    defaults = [each["name"] for each in audio.get("devices") or [] if each.get("default")]
    name = str(audio.get("device") or next(iter(defaults), ""))
    words = "".join(sign if sign.isascii() and sign.isalnum() else " " for sign in name).split()
    return " ".join(words) or _ANY


def _ask(*, devices: bool = False) -> dict[str, Any]:
    from voicebox_cli.connect import connect

    with connect(autostart=True) as box:
        return box.audio(devices=devices)
