"""`voicebox completion`: what makes a shell complete our commands."""

from __future__ import annotations

import click

from voicebox_cli import exit_codes

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=exit_codes.HELP)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete commands and options. To have it in every shell, write:

    \b
    echo 'eval "$(voicebox completion bash)"' >> ~/.bashrc
    echo 'eval "$(voicebox completion zsh)"' >> ~/.zshrc      (behind compinit)
    voicebox completion fish > ~/.config/fish/completions/voicebox.fish
    """
    from click.shell_completion import get_completion_class

    from voicebox_cli.main import commands

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(commands, {}, "voicebox", "_VOICEBOX_COMPLETE").source())
