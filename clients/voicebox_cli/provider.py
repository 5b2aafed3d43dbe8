"""`voicebox provider`: the engines that are installed; adding, trying and removing one."""

from __future__ import annotations

import sys
from typing import Any

import click

from voicebox_cli import exit_codes, provider_control
from voicebox_cli.order import order
from voicebox_cli.provider_install import install

_LAST_LINES = 5


@click.group()
def provider() -> None:
    """Look after the providers, each an engine in a process of its own."""


_by_hand = (provider_control.start, provider_control.stop, provider_control.restart, provider_control.ping)
for _command in (*_by_hand, order, install):
    provider.add_command(_command)


@provider.command("list", epilog=exit_codes.HELP)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with what each provider can do.")
def list_providers(as_json: bool) -> None:
    """List the providers that are installed.

    \b
    voicebox provider list
    """
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import show_json, show_table

    with connect(autostart=True) as box:
        found = box.providers()
    if as_json:
        show_json(found)
        return
    columns = ["id", "engine", "source", "state", "reason"]
    show_table(["provider", *columns[1:]], [[entry.get(name) for name in columns] for entry in found])


@provider.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(provider_id: str, as_json: bool) -> None:
    """Show what one provider can do, how it is, and the last lines of its log.

    \b
    voicebox provider show builtin
    """
    from voicebox_cli import log_tail
    from voicebox_cli.connect import connect
    from voicebox_cli.tables import show_json

    with connect(autostart=True) as box:
        found = box.providers()
    entry = next((each for each in found if each["id"] == provider_id), None)
    if entry is None:
        raise _no_such(provider_id, [each["id"] for each in found])
    path = log_tail.of_provider(provider_id)
    lines = [line.rstrip("\n") for line in log_tail.read(path, _LAST_LINES, follow=False)] if path.exists() else []
    if as_json:
        show_json({**entry, "log": lines})
    else:
        _describe(entry, lines)


@provider.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
def logs(provider_id: str, lines: int, follow: bool) -> int:
    """Show the end of a provider's log: what its process wrote.

    \b
    voicebox provider logs builtin -n 100
    """
    from voicebox_cli import log_tail

    return log_tail.show(log_tail.of_provider(provider_id), lines, follow=follow)


@provider.command(epilog=exit_codes.HELP)
@click.argument("target", metavar="FILE.py|MODULE[:CLASS]|PACKAGE|PROGRAM")
@click.option("--id", "provider_id", metavar="ID", help="What it shall be called; else its file's or module's name.")
def add(target: str, provider_id: str | None) -> None:
    """Install a provider: an engine in a Python file (a copy of it is kept), in a module or package that is installed, or a
    program that speaks the wire. It is started once and asked what it can do; one that fails is not installed.

    \b
    voicebox provider add ./my_engine.py
    voicebox provider add ./my_engine.py:MyEngine --id mine
    """
    from voicebox_cli.connect import connect
    from voicebox_cli.installing import wanted

    asked = wanted(target, provider_id)
    with connect(autostart=True, timeout=60.0) as box:
        for each in asked:
            added = box.add_provider(each.id, engine=each.engine, program=each.program, source=each.source)
            able = added.get("capabilities") or {}
            voices = ", ".join(str(voice.get("id")) for voice in able.get("voices") or []) or "none"
            click.echo(f"added {each.id}; voices: {voices}")


@provider.command(epilog=exit_codes.HELP)
@click.argument("provider_id", metavar="ID")
def remove(provider_id: str) -> None:
    """Remove a provider that was added or installed, with its environment; what it was speaking fails.

    \b
    voicebox provider remove mine
    """
    from voicebox_cli.connect import connect
    from voicebox_protocol import configuration, places

    if configuration.is_id(provider_id) and (places.environments_dir() / provider_id).is_dir():
        from voicebox_cli.install import installing

        installing.remove(provider_id)
    else:
        with connect(autostart=True, timeout=60.0) as box:
            box.remove_provider(provider_id)
    click.echo(f"removed {provider_id}")


@provider.command(epilog=exit_codes.HELP)
@click.argument("target", metavar="ID|FILE.py[:CLASS]|MODULE[:CLASS]|PROGRAM")
@click.option("--only", metavar="CHECK", multiple=True, help="Run this check alone, with what it needs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def test(target: str, only: tuple[str, ...], as_json: bool) -> int:
    """Try whether a provider keeps the protocol: one line a check, with the paragraph of docs/protocol.md that was broken.
    Ends with 0 or 1. Takes up to 3 minutes, and no daemon.

    \b
    voicebox provider test ./my_engine.py
    """
    import subprocess

    chosen = [argument for name in only for argument in ("--only", name)] + ["--json"] * as_json
    sys.stdout.flush()
    # A program of its own: the command line loads nothing that belongs to providers.
    return subprocess.run(
        [sys.executable, "-m", "voicebox_provider.conformance", *chosen, "--", target], check=False
    ).returncode


def _no_such(provider_id: str, known: list[str]) -> Exception:
    from voicebox_protocol.errors import NoSuchProvider
    from voicebox_protocol.fit import nearest

    return NoSuchProvider(f"no provider is called {provider_id!r}{nearest(provider_id, known)}")


def _describe(entry: dict[str, Any], lines: list[str]) -> None:
    from voicebox_cli.tables import printable

    able = entry.get("capabilities") or {}
    facts = {
        "engine": f"{able.get('engine') or entry.get('engine') or '-'} {able.get('version') or ''}".strip(),
        **{name: entry.get(name) for name in ("source", "state", "reason")},
        "voices": ", ".join(_voice(voice) for voice in able.get("voices") or []) or None,
        **{name.replace("_", " "): _brief(value) for name, value in able.items() if name not in _TOLD},
    }
    click.echo(printable(entry["id"]))
    for name, value in facts.items():
        click.echo(f"  {name:<14} {printable(value)}")
    click.echo("  log" + ("" if lines else "            -"))
    for line in lines:
        click.echo(f"    {printable(line)}")


_TOLD = ("engine", "version", "voices")


def _voice(voice: dict[str, Any]) -> str:
    return f"{voice.get('id')} ({' '.join(voice.get('languages') or []) or '-'})"


def _brief(value: Any) -> object:
    """A value of the capability document for one line."""
    import json

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " to ".join(map(str, value)) if _is_range(value) else ", ".join(map(str, value)) or None
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) and value else value or None


def _is_range(value: list[Any]) -> bool:
    return len(value) == 2 and all(isinstance(each, int | float) for each in value)
