"""`voicebox volume` and `voicebox mute`: how loud the loudspeaker is."""

from __future__ import annotations

import re
from typing import NamedTuple

import click

from voicebox_cli import exit_codes

_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print how the loudspeaker is, as `voicebox audio --json`."
)


class Level(NamedTuple):
    """A volume in percent, or a step from where it is."""

    percent: int
    step: bool

    def of(self, now: float) -> float:
        """The volume, 0 to 1, that follows `now`."""
        percent = round(100 * now) + self.percent if self.step else self.percent
        return max(0, min(100, percent)) / 100


def _level(ctx: click.Context, param: click.Parameter, said: str | None) -> Level | None:
    if said is None:
        return None
    step = said[0] in "+-" if said else False
    if not re.fullmatch(r"[+-]?\d{1,3}", said, re.A) or (not step and int(said) > 100):
        raise click.BadParameter(f"{said!r} is neither 0 to 100 nor a step such as +10 or -10", ctx, param)
    return Level(int(said), step)


@click.command(epilog=exit_codes.HELP, context_settings={"ignore_unknown_options": True})
@click.argument("level", metavar="[0-100|+N|-N]", required=False, callback=_level)
@_JSON
def volume(level: Level | None, as_json: bool) -> None:
    """Set the loudspeaker's volume, or print it. It is in percent, or a step; what is being spoken follows at once.

    \b
    voicebox volume
    voicebox volume 70
    voicebox volume -10
    """
    from voicebox_cli.audio_text import show_volume
    from voicebox_cli.connect import connect

    with connect(autostart=True) as box:
        found = box.audio()
        if level is not None:
            found = box.audio(volume=level.of(found["volume"]))
    show_volume(found, as_json=as_json)


@click.command(epilog=exit_codes.HELP)
@click.argument("state", type=click.Choice(["on", "off"]), default="on")
@_JSON
def mute(state: str, as_json: bool) -> None:
    """Have nothing heard, while all goes on. `voicebox mute off` ends that.

    \b
    voicebox mute
    voicebox mute off
    """
    from voicebox_cli.audio_text import show_volume
    from voicebox_cli.connect import connect

    with connect(autostart=True) as box:
        found = box.audio(muted=state == "on")
    show_volume(found, as_json=as_json)
