"""`voicebox daemon`: run, start, stop, restart, and what it logged."""

from __future__ import annotations

import os
import sys

import click

from voicebox_cli import exit_codes
from voicebox_cli.main import complain


@click.group()
def daemon() -> None:
    """Look after the daemon. It starts by itself at the first `say`; these are for when you want to see to it."""


@daemon.command(epilog=exit_codes.HELP)
def run() -> None:
    """Run the daemon in the foreground, until Ctrl-C. Ends with exit code 1 if one runs already.

    \b
    voicebox daemon run
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "voiceboxd", "--foreground"])  # noqa: S606


@daemon.command(epilog=exit_codes.HELP)
def start() -> None:
    """Start the daemon in the background, unless one runs already; done once it answers.

    \b
    voicebox daemon start
    """
    from voicebox_client import Voicebox, daemon_process, is_running

    started = not is_running()
    if started:
        daemon_process.start("--started").close()
    with Voicebox(autostart=False) as box:
        found = box.connect()
    click.echo(f"voiceboxd {found.version} {'runs' if started else 'runs already'} (pid {found.pid})")


@daemon.command(epilog=exit_codes.HELP)
def stop() -> int:
    """End the daemon; what it was speaking is cancelled. Done once it is gone.

    \b
    voicebox daemon stop
    """
    return _stop()


@daemon.command(epilog=exit_codes.HELP)
@click.pass_context
def restart(ctx: click.Context) -> int:
    """End the daemon, if one runs, and start the installed one.

    \b
    voicebox daemon restart
    """
    if (code := _stop()) == 0:
        ctx.invoke(start)
    return code


@daemon.command(epilog=exit_codes.HELP)
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
def logs(lines: int, follow: bool) -> int:
    """Show the end of the daemon's log.

    \b
    voicebox daemon logs -n 100 -f
    """
    from voicebox_cli import log_tail

    return log_tail.show(log_tail.of_daemon(), lines, follow=follow)


def _stop() -> int:
    from voicebox_cli.connect import GONE_S
    from voicebox_client import Voicebox, daemon_process, is_running

    if not is_running():
        click.echo("no daemon runs")
        return 0
    with Voicebox(autostart=False) as box:
        found = box.connect()
        with daemon_process.Vigil(found.pid) as vigil:
            box.shutdown()
            if vigil.wait(GONE_S):
                click.echo(f"voiceboxd has ended (pid {found.pid})")
                return 0
    complain(f"voiceboxd (pid {found.pid}) was asked to end, but has not within {GONE_S:g} s")
    return 1
