"""Nothing that is spoken is told to anybody: libraries are kept from reporting before they are imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from voicebox_provider import telemetry

ENGINE = """
import json, os, sys
from voicebox_protocol.startline import StartLine
from voicebox_provider.greeting import greet
assert "onnxruntime" not in sys.modules
greet(StartLine(address="", provider="p", epoch=1, token="t", parent_pid=1, engine="builtin"))
print(json.dumps({name: os.environ.get(name) for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")}))
"""


def test_an_engine_finds_reporting_switched_off() -> None:
    """onnxruntime looked up its maker's server every few seconds in a provider that was at rest."""
    said = subprocess.run([sys.executable, "-c", ENGINE], capture_output=True, text=True, check=True, timeout=60)
    assert set(json.loads(said.stdout).values()) == {"1"}


def test_what_the_user_set_does_not_switch_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    telemetry.switch_off()
    import os

    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
