"""Tiny checkpoints, and the models that are loaded from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a variant's checkpoint, written once."""
    from .tiny_checkpoint import write

    return cache(lambda variant: write(tmp_path_factory.mktemp("checkpoints") / variant, variant))


@pytest.fixture(scope="session")
def loaded(checkpoint: Callable[[str], Path]) -> Callable[[str], Any]:
    """A variant's `Qwen3TTSModel`, in float32, that nobody may change: what is ours is held against it."""
    import torch

    from voicebox_provider.engines.qwen.package import load

    return cache(lambda variant: load(checkpoint(variant), torch.float32, "cpu"))


@pytest.fixture(scope="session", autouse=True)
def _package() -> Iterator[None]:
    """The package, imported before any test: what it opens then it keeps. One thread, for nets so small are slower on two."""
    if find_spec("torch") is None or find_spec("qwen_tts") is None:
        yield
        return
    import torch

    from voicebox_provider.engines.qwen.package import import_qwen_tts

    import_qwen_tts()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
