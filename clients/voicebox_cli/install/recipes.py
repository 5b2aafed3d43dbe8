"""What can be installed: each engine with the lists of the packages that it needs, which lie beside our runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

_RUNTIME = "voicebox_provider"
_PYTORCH = "engines/qwen"
_MLX = "engines/qwen_mlx"

OFFICIAL = (
    "Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice",
    "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice",
    "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign",
    "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
    "Qwen/Qwen3-TTS-12Hz-1.7B-Base",
)
"""The models as their makers publish them."""


class Recipe(NamedTuple):
    """One engine: `requirements` are files of exact versions; those of `alone` are installed without what they would bring
    along. `torch` says which build of PyTorch it needs, where it needs one."""

    id: str
    engine: str
    settings: dict[str, Any]
    requirements: tuple[Path, ...]
    alone: Path | None = None
    torch: Literal["cpu", "cuda"] | None = None


def recipe(provider: str) -> Recipe:
    """That of an id of `INSTALLABLE`."""
    runtime = package(_RUNTIME)
    common = runtime / "requirements-runtime.txt"
    if provider == "mlx":
        engine = "voicebox_provider.engines.qwen_mlx.engine:QwenMlxEngine"
        return Recipe(provider, engine, {}, (common, runtime / _MLX / "requirements-mlx.txt"))
    device: Literal["cpu", "cuda"] = "cuda" if provider == "pytorch-cuda" else "cpu"
    return Recipe(
        provider,
        "voicebox_provider.engines.qwen.engine:QwenEngine",
        {"device": device},
        (common, runtime / _PYTORCH / "requirements-pytorch.txt"),
        runtime / _PYTORCH / "requirements-pytorch-alone.txt",
        device,
    )


def package(name: str) -> Path:
    """Where the files of one of our packages lie. It is not imported: the command line loads nothing of a provider's."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
