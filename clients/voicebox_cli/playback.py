"""`voicebox pause`, `resume` and `skip`: what acts on the loudspeaker while it speaks, whoever asked it to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicebox_cli import exit_codes

if TYPE_CHECKING:
    from voicebox_client import Touched

_REQUEST = click.argument("request", required=False)
_ALL = click.option("--all", "everything", is_flag=True, help="Every request for the loudspeaker.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object: {requests, total}.")


@click.command(epilog=exit_codes.HELP)
@_REQUEST
@_ALL
@_JSON
def pause(request: str | None, everything: bool, as_json: bool) -> None:
    """Silence the loudspeaker, until `resume`. That goes on with the very next sample. With REQUEST, only that one is held, and
    others go on.

    \b
    voicebox pause
    voicebox pause 3f0c9ab1d24e5f60718293a4b5c6d7e8
    """
    touched = _act("pause", request, everything)
    tell(touched, "paused 1 request" if request else "the loudspeaker is paused", as_json=as_json)


@click.command(epilog=exit_codes.HELP)
@_REQUEST
@_ALL
@_JSON
def resume(request: str | None, everything: bool, as_json: bool) -> None:
    """Go on after `voicebox pause`. Not a sample is lost.

    \b
    voicebox resume
    """
    touched = _act("resume", request, everything)
    tell(touched, "resumed 1 request" if request else "the loudspeaker goes on", as_json=as_json)


@click.command(epilog=exit_codes.HELP)
@_REQUEST
@_ALL
@_JSON
def skip(request: str | None, everything: bool, as_json: bool) -> None:
    """End what is being spoken, for the next one. Or one REQUEST by its id, or with --all every one for the loudspeaker.

    \b
    voicebox skip
    voicebox skip 3f0c9ab1d24e5f60718293a4b5c6d7e8
    """
    touched = _act("skip", request, everything)
    tell(touched, counted(touched, "skipped", "nothing is being spoken"), as_json=as_json)


def check(request: str | None, everything: bool) -> None:
    """Raise a usage error where both are given."""
    if request is not None and everything:
        raise click.UsageError("give a request or --all, not both")


def counted(touched: Touched, done: str, nothing: str) -> str:
    """What was `done`, and to how many."""
    return f"{done} {touched.total} request{'s' if touched.total > 1 else ''}" if touched.total else nothing


def tell(touched: Touched, words: str, *, as_json: bool) -> None:
    """Print what was reached."""
    if as_json:
        from voicebox_cli.tables import show_json

        show_json(touched._asdict())
    else:
        click.echo(words)


def _act(action: str, request: str | None, everything: bool) -> Touched:
    check(request, everything)
    from voicebox_cli.connect import connect

    with connect(autostart=False) as box:
        touched: Touched = getattr(box, action)(request, all=everything)
    return touched
