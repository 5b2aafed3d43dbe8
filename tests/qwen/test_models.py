"""One provider with several checkpoints: each request has the one that it means, and nothing of the one before is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicebox_protocol.errors import BadOption, NoSuchVoice
from voicebox_provider.engine import PermanentFault, Utterance

if find_spec("torch") is None or find_spec("qwen_tts") is None:
    pytest.skip("needs torch and qwen_tts", allow_module_level=True)

from voicebox_provider.engines.qwen.engine import QwenEngine

DESIGN = {"voice": "designed", "instruct": "an old man"}


def said(engine: QwenEngine, **wishes: Any) -> Any:
    return np.concatenate(list(engine.synthesize(Utterance(text="Hello there.", seed=7, **wishes))))


@pytest.fixture
def directories(checkpoint: Callable[[str], Path], tmp_path: Path) -> dict[str, str]:
    """Of which the second may be damaged."""
    design = shutil.copytree(checkpoint("voice_design"), tmp_path / "design")
    return {"preset": str(checkpoint("custom_voice")), "design": str(design)}


@pytest.fixture
def engine(directories: dict[str, str]) -> QwenEngine:
    engine = QwenEngine({"model": "preset", "models": directories})
    engine.load(lambda milliseconds, note: None)
    return engine


def test_each_request_has_the_model_that_it_means(engine: QwenEngine) -> None:
    assert engine.capabilities().models == ["preset", "design"]
    first = said(engine, voice="ryan")
    designed = said(engine, model="design", **DESIGN)
    assert np.array_equal(said(engine, **DESIGN), designed)
    assert np.array_equal(said(engine, voice="ryan"), first)
    assert not np.array_equal(first, designed)


def test_what_a_model_cannot_do_is_refused_without_loading_it(engine: QwenEngine) -> None:
    with pytest.raises(NoSuchVoice):
        said(engine, voice="ryan", model="design", instruct="an old man")
    with pytest.raises(BadOption, match="design"):
        said(engine, voice="designed", model="desing")
    assert engine._checkpoint.name == "preset"


def test_one_that_is_damaged_meanwhile_fails_alone(engine: QwenEngine, directories: dict[str, str]) -> None:
    first = said(engine, voice="ryan")
    weights = Path(directories["design"]) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(Exception, match="truncated") as caught:
        said(engine, **DESIGN)
    assert not isinstance(caught.value, PermanentFault)
    assert np.array_equal(said(engine, voice="ryan"), first)
