"""What the engine on MLX says before, or without, its packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mlx.tiny_checkpoint import write
from voicebox_provider.engine import PermanentFault
from voicebox_provider.engines.qwen import checkpoint
from voicebox_provider.engines.qwen_mlx import package
from voicebox_provider.engines.qwen_mlx.engine import QwenMlxEngine


@pytest.mark.parametrize("variant", ["custom_voice", "voice_design", "base"])
def test_without_its_packages_it_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    directory = write(tmp_path / variant, variant)
    assert checkpoint.read(directory).variant == variant
    with pytest.raises(PermanentFault, match=r"mlx is not installed; `pip install -r (.*)`") as fault:
        QwenMlxEngine({"model": str(directory)})
    requirements = Path(str(fault.value).split("`")[1].removeprefix("pip install -r "))
    pins = [line for line in requirements.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    assert f"mlx-audio=={package.WRITTEN_FOR}" in pins


def test_nothing_heavy_comes_in_with_it() -> None:
    heavy = "{'mlx', 'mlx_audio', 'numpy', 'transformers'}"
    lines = f"import sys, voicebox_provider.engines.qwen_mlx.engine; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
