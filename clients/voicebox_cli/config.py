"""`voicebox config`: reads and changes config.toml, as its user wrote it."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

import click

from voicebox_cli import exit_codes

_EDITOR = "vi"


@click.group()
def config() -> None:
    """Read and change the configuration, a TOML file of yours. The daemon reads it when it starts."""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    from voicebox_protocol.configuration import KEYS

    return [key for key in KEYS if key.startswith(incomplete)]


@config.command("list", epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_keys(as_json: bool) -> None:
    """List every key with its value and its origin: the file, or else the default. Names the file first, and the variable
    of the environment if that is what leads there.

    \b
    voicebox config list
    """
    from voicebox_cli import config_file
    from voicebox_cli.tables import show_json, show_table
    from voicebox_protocol import places

    path = places.config_file()
    origin = "environment" if os.environ.get(places.CONFIG) else "default"
    found = list(config_file.entries())
    if as_json:
        show_json(
            {"file": str(path), "origin": origin, "exists": path.exists(), "keys": [each._asdict() for each in found]}
        )
        return
    note = "" if path.exists() else ", which does not exist"
    click.echo(f"{path}{note}" + f" (from {places.CONFIG})" * (origin == "environment"))
    show_table(
        ["key", "value", "origin"], [[each.key, config_file.as_text(each.value) or None, each.origin] for each in found]
    )


@config.command(epilog=exit_codes.HELP)
@click.argument("key", shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the value's origin.")
def get(key: str, as_json: bool) -> None:
    """Print the value of one key; an empty line if it has none.

    \b
    voicebox config get daemon.idle_minutes
    """
    from voicebox_cli import config_file
    from voicebox_cli.tables import show_json

    found = config_file.entry(key)
    if as_json:
        show_json(found._asdict())
    else:
        click.echo(config_file.as_text(found.value))


@config.command("set", epilog=exit_codes.HELP, context_settings={"ignore_unknown_options": True})
@click.argument("key", shell_complete=_complete)
@click.argument("value")
def set_key(key: str, value: str) -> None:
    """Set one key. VALUE is what may stand behind the equals sign in TOML; anything else is taken as a string. Comments and
    order stay; a file with a mistake is never written.

    \b
    voicebox config set daemon.idle_minutes 60
    voicebox config set speech.voice heart
    """
    from voicebox_cli import config_file

    config_file.change(key, config_file.from_text(value))
    tell_of_restart()


@config.command(epilog=exit_codes.HELP)
def edit() -> None:
    """Open the file in $VISUAL, else $EDITOR, else vi. What has a mistake does not take its place.

    \b
    voicebox config edit
    """
    import tempfile

    from voicebox_cli import config_file
    from voicebox_protocol import configuration, places
    from voicebox_protocol.errors import InvalidConfig

    path = places.config_file()
    descriptor, name = tempfile.mkstemp(prefix="voicebox-config-", suffix=".toml")
    before = path.read_bytes() if path.exists() else b""
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor)
        file.write(before)
    draft = Path(name)
    _edit(draft)
    if not draft.exists() or draft.read_bytes() == before:
        draft.unlink(missing_ok=True)
        click.echo("nothing has changed")
        return
    try:
        configuration.load(draft)
    except InvalidConfig as error:
        raise InvalidConfig(f"{error}\n{path} is as it was; what you wrote is in {draft}") from None
    config_file.write(path, configuration.read(draft))
    draft.unlink()
    tell_of_restart()


def tell_of_restart() -> None:
    """Say what applies a change, if a daemon runs that has read the old configuration."""
    from voicebox_client import is_running
    from voicebox_protocol.errors import VoiceboxError

    with contextlib.suppress(VoiceboxError):
        if is_running():
            click.echo(
                "the running daemon has read the old configuration; `voicebox daemon restart` applies the new one"
            )


def _edit(draft: Path) -> None:
    """Raises a usage error, and leaves no draft, if the editor cannot be run or fails."""
    import subprocess

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _EDITOR
    try:
        code = subprocess.run([*shlex.split(editor), str(draft)], check=False).returncode
    except (OSError, ValueError) as error:
        draft.unlink()
        raise click.UsageError(f"cannot run the editor {editor!r}: {error}; set EDITOR") from None
    if code != 0:
        draft.unlink(missing_ok=True)
        raise click.UsageError(f"the editor {editor!r} ended with {code}; nothing has changed")
