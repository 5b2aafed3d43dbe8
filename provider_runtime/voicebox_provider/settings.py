"""The part of the user's configuration that an engine gets: what it does not know is refused with the nearest name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voicebox_protocol.fit import nearest
from voicebox_provider.engine import PermanentFault


def check_settings(engine: str, settings: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise `PermanentFault` for the first setting that `engine` does not have."""
    for name in settings:
        if name not in known:
            raise PermanentFault(f"{engine} has no setting {name!r}{nearest(name, known)}")


def one_of(settings: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    """A setting that takes one of a few words, the first if there is none. Raises `PermanentFault` for another."""
    value = settings.get(name, known[0])
    if value not in known:
        raise PermanentFault(f"the setting `{name}` is {value!r}; it takes {' or '.join(known)}")
    return str(value)
