"""The entry point `voicebox`: finds the command, loads no more than that, and turns every error into words and a code."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from voicebox_cli import exit_codes
from voicebox_cli.tables import printable
from voicebox_protocol import __version__
from voicebox_protocol.errors import VoiceboxError

# Where each command lives: loading one must not load the others.
_COMMANDS = {
    "audio": "voicebox_cli.audio",
    "completion": "voicebox_cli.completion",
    "config": "voicebox_cli.config",
    "daemon": "voicebox_cli.daemon",
    "doctor": "voicebox_cli.doctor",
    "model": "voicebox_cli.model",
    "mute": "voicebox_cli.volume",
    "pause": "voicebox_cli.playback",
    "provider": "voicebox_cli.provider",
    "replay": "voicebox_cli.replay",
    "resume": "voicebox_cli.playback",
    "say": "voicebox_cli.say",
    "skip": "voicebox_cli.playback",
    "status": "voicebox_cli.status",
    "stop": "voicebox_cli.stop",
    "use": "voicebox_cli.use",
    "voices": "voicebox_cli.voices",
    "volume": "voicebox_cli.volume",
}


class _Commands(click.Group):
    """Loads a command when it is asked for; ends quietly on Ctrl-C and when nobody reads what it prints."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            outcome = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(exit_codes.BROKEN_PIPE) from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(exit_codes.INTERRUPTED) from None
        return outcome


@click.group(cls=_Commands, epilog=exit_codes.HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="voicebox", message="%(prog)s %(version)s")
def commands() -> None:
    """The machine's voice: have text spoken, and look after the service that does it.

    \b
    voicebox say "The kettle is on."
    voicebox say -f story.txt -o story.wav
    """


def complain(message: str) -> None:
    """A message on standard error, with nothing in it that a terminal would obey: it may quote a provider."""
    lines = [printable(line) for line in message.splitlines() or [""]]
    click.echo("voicebox: " + "\n".join(lines), err=True)


def main(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    try:
        outcome = commands.main(list(arguments), prog_name="voicebox", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\n", err=True)
        complain(error.format_message())
        return error.exit_code
    except click.Abort:
        return exit_codes.INTERRUPTED
    except VoiceboxError as error:
        complain(str(error))
        return error.exit_code
    return outcome if isinstance(outcome, int) else 0


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = main(sys.argv[1:])
    # What is left goes with the process; to search it for cycles first would take a tenth of a short command's time.
    gc.freeze()
    sys.exit(code)


def _forget_stdout() -> None:
    """Let the interpreter's last flush of standard output find somebody."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
