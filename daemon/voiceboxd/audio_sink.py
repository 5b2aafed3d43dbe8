"""Where the loudspeaker's sound goes: to the device, or to what stands for it in tests and on machines without sound."""

from __future__ import annotations

import os
from collections.abc import Mapping

from voicebox_protocol.errors import InvalidConfig

SINK = "VOICEBOX_AUDIO_SINK"
DEVICE, NULL, WAV = "device", "null", "wav:"


def sink_of(environment: Mapping[str, str]) -> str:
    """What the environment says: `device`, `null` or `wav:` and an absolute path. Raises `InvalidConfig`."""
    said = environment.get(SINK) or DEVICE
    if said in (DEVICE, NULL):
        return said
    if not said.startswith(WAV) or said == WAV:
        raise InvalidConfig(f"{SINK} is {said!r}; it takes wav:PATH or null")
    path = os.path.abspath(said.removeprefix(WAV))  # noqa: PTH100 (pathlib is not loaded yet)
    if not os.path.isdir(os.path.dirname(path)):  # noqa: PTH112, PTH120
        raise InvalidConfig(f"{SINK}: there is no directory {os.path.dirname(path)}")  # noqa: PTH120
    return f"{WAV}{path}"
