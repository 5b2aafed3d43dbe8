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
