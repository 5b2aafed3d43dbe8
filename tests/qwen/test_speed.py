"""What can be said of speed and memory without a clock: how many steps a listener waits for, and that nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("transformers", "qwen_tts"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from tests.bench import qwen_memory  # noqa: E402
from voicebox_provider.engine import Utterance  # noqa: E402
from voicebox_provider.engines.qwen.engine import QwenEngine  # noqa: E402
from voicebox_provider.engines.qwen.layers import Stack  # noqa: E402

MOST_STEPS_TO_SOUND = 2
UTTERANCES = 8
MOST_KIB = 1024
"""A frame's hidden states of all layers, or a second of sound, of each utterance would be more."""


@pytest.fixture(scope="module")
def engine(checkpoint: Callable[[str], Path]) -> QwenEngine:
    engine = QwenEngine({"model": str(checkpoint("custom_voice"))})
    engine.load(lambda milliseconds, note: None)
    return engine


def test_the_first_sound_comes_within_two_steps_of_the_prompt(
    engine: QwenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    step = Stack.step_at

    def counted(self: Stack, *where: Any) -> Any:
        nonlocal steps
        steps += 1
        return step(self, *where)

    monkeypatch.setattr(Stack, "step_at", counted)
    spoken = engine.synthesize(Utterance(text="Nobody spoke.", voice="ryan", seed=1))
    assert len(next(iter(spoken))) > 0
    assert 1 <= steps <= MOST_STEPS_TO_SOUND


def test_utterances_leave_no_memory_behind(engine: QwenEngine) -> None:
    qwen_memory.memory(engine, UTTERANCES // 4)
    assert qwen_memory.slope(qwen_memory.memory(engine, UTTERANCES)) < MOST_KIB
