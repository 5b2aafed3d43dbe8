"""Tiny checkpoints, and the models that are loaded from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FRAMES = 24
"""Of what a checkpoint says at most by itself: on a processor MLX takes its time."""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a variant's checkpoint, written once."""
    from .tiny_checkpoint import write

    def made(variant: str) -> Path:
        return write(tmp_path_factory.mktemp("checkpoints") / variant, variant, max_new_tokens=FRAMES + 1)

    return cache(made)


@pytest.fixture(scope="session")
def loaded(checkpoint: Callable[[str], Path]) -> Callable[[str], Any]:
    """A variant's model as the package reads it, in float32, that nobody may change: what is ours is held against it."""
    from voicebox_provider.engines.qwen_mlx.package import load

    return cache(lambda variant: load(checkpoint(variant), "float32"))


@pytest.fixture(scope="session", autouse=True)
def _package() -> None:
    """The package, imported before any test: what it opens then it keeps. On the processor, wherever the tests run."""
    if find_spec("mlx") is None or find_spec("mlx_audio") is None:
        return
    from voicebox_provider.engines.qwen_mlx import package

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tqdm
        import transformers  # noqa: F401

    # Its loop has a progress bar, and that a thread.
    tqdm.tqdm.monitor_interval = 0
    package.use("cpu")
