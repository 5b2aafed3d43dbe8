"""`voicebox provider install`: an engine with all its packages, in an environment of its own."""

from __future__ import annotations

import sys
from typing import Any

import click

from voicebox_cli import exit_codes
from voicebox_cli.install import INSTALLABLE
from voicebox_cli.model import complete_target

_THAT_OF_A_RECORDING = "that of a recording: voicebox say TEXT --clone FILE"
_NONE = "none for now"


@click.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="pytorch-cpu|pytorch-cuda|mlx", type=click.Choice(INSTALLABLE))
@click.option(
    "--model",
    metavar="NAME|DIR|REPO",
    shell_complete=complete_target,
    help="The model that speaks where a request names none.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to standard error."
)
def install(provider_id: str, model: str | None, as_json: bool) -> None:
    """Install an engine for Qwen3-TTS with all that it needs, a gigabyte or several, in an environment of its own. It speaks a
    sentence before it is taken into use; a provider of that name from an earlier install speaks until then.

    \b
    voicebox provider install pytorch-cpu --model ~/Qwen3-TTS-12Hz-0.6B-CustomVoice
    """
    from voicebox_cli.install import installing, recipes
    from voicebox_cli.tables import show_json

    if model is None and sys.stdin.isatty() and sys.stderr.isatty():
        model = _asked()
    report = installing.install(recipes.recipe(provider_id), model)
    if as_json:
        show_json(report)
    else:
        _tell(report)


def _asked() -> str | None:
    """Which model, on a terminal: those that are known, and those that can be had."""
    from voicebox_cli.install import recipes, store

    known = store.known()
    offered = [*known, *(repo for repo in recipes.OFFICIAL if repo.split("/")[1] not in known)]
    if not known:
        # One that is known speaks anyhow where a request names none.
        offered.append(_NONE)
    for number, each in enumerate(offered, 1):
        click.echo(f"{number:>3}  {each}{' (to be fetched)' if '/' in each else ''}", err=True)
    number = click.prompt("Which model shall speak?", type=click.IntRange(1, len(offered)), default=1, err=True)
    return None if offered[number - 1] == _NONE else offered[number - 1]


def _tell(report: dict[str, Any]) -> None:
    from voicebox_cli.tables import printable

    provider, model = report["provider"], report["model"]
    if model is None:
        click.echo(
            f"installed {provider} on {report['device']}; it speaks once it has a model: voicebox model add REPO|DIR"
        )
        return
    seconds = report["frames"] / report["sample_rate"]
    said = f"it said {seconds:.1f} s" if seconds else "it is loaded"
    voices = ", ".join(map(printable, report["voices"])) or _THAT_OF_A_RECORDING
    click.echo(f"installed {provider} on {printable(report['device'])} with {printable(model)}; {said}")
    click.echo(f"voices: {voices}")
