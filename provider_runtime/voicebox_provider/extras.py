"""Engines that are extras of voiceboxd: their packages are not there until somebody asks for them."""

from __future__ import annotations

from importlib.util import find_spec

from voicebox_provider.engine import PermanentFault


def require(extra: str, *modules: str) -> None:
    """Raise `PermanentFault` with the command that installs `extra`, unless all of its `modules` are there."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise PermanentFault(f"{missing[0]} is not installed; `pip install 'voiceboxd[{extra}]'` installs it")
