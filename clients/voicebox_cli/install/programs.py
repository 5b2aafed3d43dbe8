"""Programs that an install runs: each has a deadline, holds the lock while it lives, and says why it failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from voicebox_protocol.errors import DeadlineExceeded

_WORDS = 1200


class Ended(click.ClickException):
    """A program failed, or something is missing that it needs. The message has its own last words."""

    exit_code = 1

    def __init__(self, message: str, words: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.words = words
        self.code = code


def run(
    command: Sequence[str],
    doing: str,
    *,
    within: float,
    holding: int | None = None,
    environment: Mapping[str, str] | None = None,
    place: Path | None = None,
    told: str | None = None,
    shown: bool = False,
) -> str:
    """Run `command` in the directory `place`, else in ours, and give what it wrote to standard output.

    `told` is its input, `shown` lets its standard error through, and `holding` is a descriptor that it inherits. Raises `Ended`,
    or `DeadlineExceeded` after `within` seconds.
    """
    kept = () if holding is None or sys.platform == "win32" else (holding,)
    sys.stderr.flush()
    try:
        done = subprocess.run(
            command,
            input=told or "",
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=within,
            pass_fds=kept,
            env=dict(environment) if environment is not None else None,
            cwd=place,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{doing} took longer than {within:g} s") from None
    except OSError as error:
        raise Ended(f"{doing} failed: cannot run {command[0]}: {error.strerror}") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-_WORDS:]
        more = f":\n{words}" if words else f" (exit code {done.returncode})"
        raise Ended(f"{doing} failed{more}", words, done.returncode)
    return done.stdout


def isolated() -> dict[str, str]:
    """Our environment without what would make another Python look for packages elsewhere than in its own environment."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON")
    return {name: value for name, value in os.environ.items() if name not in foreign}
