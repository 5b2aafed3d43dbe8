"""Libraries that report home are told not to: what is spoken on this machine is nobody else's business."""

from __future__ import annotations

import os

# onnxruntime sends usage events from its 1.31 on, and looks its server up every few seconds where there is no network.
_VARIABLES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def switch_off() -> None:
    """Works only before the libraries are imported."""
    for variable in _VARIABLES:
        os.environ[variable] = "1"
