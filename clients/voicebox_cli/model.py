"""`voicebox model`: the models that engines load; which there are, and how they come and go."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from voicebox_cli import exit_codes


def complete_name(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The models that are known."""
    from voicebox_cli.install import store

    return [CompletionItem(name) for name in store.known() if name.startswith(incomplete)]


def complete_target(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The models that are known, and the repositories; directories too, where none begins so."""
    from voicebox_cli.install import recipes

    found = complete_name(ctx, parameter, incomplete)
    found += [CompletionItem(repo) for repo in recipes.OFFICIAL if repo.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


@click.group()
def model() -> None:
    """Look after the models that the engines for Qwen3-TTS load."""


@model.command(epilog=exit_codes.HELP)
@click.argument("target", metavar="REPO|DIR", shell_complete=complete_target)
@click.option("--name", metavar="NAME", help="How it shall be known; else by the last part of REPO or DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def add(target: str, name: str | None, as_json: bool) -> None:
    """Make a model known to every installed engine that can load it. One in a directory stays where it lies; a repository is
    fetched from the hub, and a fetch that was interrupted is gone on with.

    \b
    voicebox model add ~/Qwen3-TTS-12Hz-0.6B-CustomVoice
    voicebox model add Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice
    """
    from voicebox_cli.install import adding
    from voicebox_cli.tables import printable, show_json

    added = adding.add(target, name)
    found = adding.look(added.directory)
    told = _tell_providers()
    if as_json:
        show_json(_entry(added.name, added.directory, own=added.own, found=found) | {"providers": told})
        return
    click.echo(f"added {printable(added.name)}: {_words(found)}")
    click.echo(f"its files {'are in' if added.own else 'stay in'} {printable(added.directory)}")
    click.echo(
        f"known to {', '.join(told)}"
        if told
        else "no engine for it is installed: voicebox provider install pytorch-cpu"
    )


@model.command("list", epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_models(as_json: bool) -> None:
    """List the models that are known.

    \b
    voicebox model list
    """
    from voicebox_cli.install import adding, store
    from voicebox_cli.tables import megabytes, show_json, show_table
    from voicebox_protocol.errors import BadRequest

    entries = []
    for known in store.known().values():
        try:
            entries.append(_entry(known.name, known.directory, own=known.own, found=adding.look(known.directory)))
        except BadRequest as error:
            entries.append({**_entry(known.name, known.directory, own=known.own, found={}), "error": str(error)})
    if as_json:
        show_json(entries)
        return
    rows = [[e["name"], e["variant"], e["size"], megabytes(e["bytes"]), e["directory"], e["error"]] for e in entries]
    show_table(["model", "variant", "size", "disk", "directory", "trouble"], rows)


@model.command(epilog=exit_codes.HELP)
@click.argument("name", metavar="NAME", shell_complete=complete_name)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def remove(name: str, as_json: bool) -> None:
    """Forget a model. Files that were fetched are deleted; a directory of yours stays as it is.

    \b
    voicebox model remove Qwen3-TTS-12Hz-0.6B-CustomVoice
    """
    from voicebox_cli.install import adding
    from voicebox_cli.tables import printable, show_json

    gone = adding.remove(name)
    told = _tell_providers()
    if as_json:
        show_json({"name": gone.name, "directory": str(gone.directory), "deleted": gone.own, "providers": told})
    else:
        kept = "its files are deleted" if gone.own else f"its files stay in {printable(gone.directory)}"
        click.echo(f"removed {printable(gone.name)}; {kept}")


def _tell_providers() -> list[str]:
    """A daemon is started for it only where there is somebody to tell."""
    from voicebox_cli.connect import connect
    from voicebox_cli.install import adding

    if not adding.ours():
        return []
    with connect(autostart=True, timeout=adding.TELL_S) as box:
        return adding.tell(box)


def _entry(name: str, directory: object, *, own: bool, found: dict[str, Any]) -> dict[str, Any]:
    facts = {key: found.get(key) for key in ("variant", "size", "bytes", "voices", "languages")}
    return {"name": name, "directory": str(directory), "fetched": own, **facts, "error": None}


def _words(found: dict[str, Any]) -> str:
    voices = ", ".join(found["voices"]) or "that of a recording (say --clone FILE)"
    return f"{found['variant']} {found['size']}, voices: {voices}"
