"""A checkpoint that has no room, through a daemon: refused before it is loaded, with the numbers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.daemon import running
from tests.integration.wire_client import WireClient
from voicebox_provider import host_memory

for needed in ("torch", "transformers", "qwen_tts"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

Checkpoints = Callable[[str], Path]
CONFIG = """
[provider.large]
engine = "voicebox_provider.engines.qwen.engine:QwenEngine"
settings = {{ model = "{model}" }}
quarantine_s = 600
"""


def swollen(source: Path, place: Path, weights: int) -> Path:
    """A copy with so many float32 weights more, which are a hole in its file: they take no disk."""
    shutil.copytree(source, place)
    file = place / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    header["hole"] = {"dtype": "F32", "shape": [weights], "data_offsets": [len(tensors), len(tensors) + 4 * weights]}
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text + tensors)
        opened.truncate(8 + len(text) + len(tensors) + 4 * weights)
    return place


@pytest.mark.parametrize(
    ("share", "state"),
    [
        pytest.param(2.0, "failed", id="more than there is"),
        pytest.param(0.99, "quarantined", id="more than is free"),
    ],
)
def test_a_model_that_has_no_room_is_refused_before_it_is_loaded(
    checkpoint: Checkpoints, tmp_path: Path, share: float, state: str
) -> None:
    """It would have the machine swap, or the kernel end somebody, minutes later."""
    room = host_memory.room()
    if room is None or room.free > 0.97 * room.total:
        pytest.skip("needs a machine that tells, and uses some of its memory")
    needs = share * room.total
    model = swollen(checkpoint("custom_voice"), tmp_path / "tts-large", int((needs - 350_000_000) / 1.3 / 4))
    with running(CONFIG.format(model=model)) as daemon, WireClient(daemon.place) as client:
        end = client.speak("Hello.", provider="large").end
        (large,) = (each for each in daemon.status()["providers"] if each["id"] == "large")
    assert (end["kind"], end["code"]) == ("Failed", "PROVIDER_FAILED")
    assert (large["state"], large["epoch"], large["restarts"]) == (state, 1, 0)
    told = re.match(r"tts-large needs ([\d.]+) GB of memory on cpu in float32, and .* GB.*bfloat16", large["reason"])
    assert told is not None
    assert float(told.group(1)) == pytest.approx(needs / 1e9, rel=0.01, abs=0.1)
