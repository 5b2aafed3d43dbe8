"""Importing the client costs what pyzmq and msgpack cost, and little more."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import voicebox_client

HEAVY = {
    "anyio",
    "asyncio",
    "concurrent",
    "dataclasses",
    "email",
    "http",
    "httpx",
    "inspect",
    "logging",
    "msgspec",
    "multiprocessing",
    "numpy",
    "pathlib",
    "platformdirs",
    "soundfile",
    "soxr",
    "ssl",
    "subprocess",
    "voicebox_provider",
    "voiceboxd",
}


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = "import json, sys, voicebox_client; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout
    assert not HEAVY & set(json.loads(loaded))


def test_the_public_names_are_these() -> None:
    assert voicebox_client.__all__ == [
        "Accepted",
        "AsyncSpeech",
        "AsyncVoicebox",
        "Chunk",
        "Daemon",
        "Event",
        "Heard",
        "Notice",
        "Reset",
        "Result",
        "Speech",
        "Touched",
        "VoicePrompt",
        "Voicebox",
        "VoiceboxError",
        "is_running",
    ]


@pytest.mark.parametrize("name", voicebox_client.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(voicebox_client, name) is not None
