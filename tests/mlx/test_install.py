"""From nothing to speech on MLX: what a stranger types, against the package index that pip is configured with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.qwen.stranger import nowhere, ran, spoken

if find_spec("mlx") is None:
    pytest.skip("needs mlx", allow_module_level=True)


@pytest.mark.timeout(3600)
def test_from_nothing_to_speech(checkpoint: Callable[[str], Path]) -> None:
    with nowhere() as place:
        if shutil.which("uv", path=place.environment["PATH"]):
            pytest.skip("there is a uv on the system's own path")
        done = ran(place, "provider", "install", "mlx", "--model", str(checkpoint("custom_voice")), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["frames"] > 0
        assert spoken(place, "-v", "mlx/Vivian") > 0
        added = ran(place, "model", "add", str(checkpoint("voice_design")), "--name", "design", "--json")
        assert json.loads(added.stdout)["providers"] == ["mlx"], added.stderr
        assert spoken(place, "--provider", "mlx", "--model", "design", "--instruct", "an old man") > 0
        assert ran(place, "provider", "remove", "mlx").returncode == 0
        assert not (place.root / "data" / "environments" / "mlx").exists()
