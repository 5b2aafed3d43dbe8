"""Whether Qwen3-TTS keeps memory from utterance to utterance: python -m tests.bench.qwen_memory [--rounds 50]

The engine speaks so many utterances of different lengths on random weights, with the loop and the codec that the provider uses. The memory
that the process has for itself (USS) is read after each; what counts is the slope of the straight line through the last four fifths.
Then the same with 256 KiB lost each time, which the measurement has to find.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import psutil
import torch

from tests.bench.claims import Claim, Part, alone, told
from tests.qwen import tiny_checkpoint
from voicebox_provider.engine import Utterance
from voicebox_provider.engines.qwen.engine import QwenEngine

ROUNDS = 50
MOST_KIB = 64.0
LEAK_KIB = 256

_FIFTHS = 5
_WORDS = "The harbour was quiet that morning, and nobody spoke of the night before."


def measure(rounds: int) -> list[Part]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        engine = QwenEngine({"model": str(tiny_checkpoint.write(Path(directory) / "tiny"))})
        engine.load(lambda milliseconds, note: None)
        kept, leaky = memory(engine, rounds), memory(engine, rounds, LEAK_KIB)
    return [
        Part(
            "Memory",
            f"{rounds} utterances of a few seconds by the engine, tiny weights. The process's own memory (USS) after each; the slope is "
            "that of the last four fifths. The leak was put there, to see that it is found.",
            ("", "at a fifth", "at the end", "slope for each utterance"),
            [
                (name, told(of[rounds // _FIFTHS] / 1024, "MiB"), told(of[-1] / 1024, "MiB"), told(slope(of), "KiB"))
                for name, of in (("as it is", kept), (f"{LEAK_KIB} KiB lost each time", leaky))
            ],
            [
                Claim("memory kept for each utterance: slope", slope(kept), MOST_KIB, "KiB"),
                Claim(
                    f"the slope that is found where {LEAK_KIB} KiB are lost",
                    slope(leaky),
                    MOST_KIB,
                    "KiB",
                    at_least=True,
                ),
            ],
        )
    ]


def memory(engine: QwenEngine, rounds: int, leak_kib: int = 0) -> list[float]:
    """KiB after each utterance."""
    lost, found = [], []
    process = psutil.Process()
    voice = engine.capabilities().voices[0].id
    for number in range(rounds):
        text = _WORDS[: 8 + number * 17 % (len(_WORDS) - 8)]
        for _ in engine.synthesize(Utterance(text=text, voice=voice, seed=number)):
            pass
        lost.append(b"\1" * leak_kib * 1024)
        found.append(process.memory_full_info().uss / 1024)
    return found


def slope(kibibytes: list[float]) -> float:
    """Of the last four fifths, in KiB for each utterance."""
    counted = kibibytes[len(kibibytes) // _FIFTHS :]
    return statistics.linear_regression(range(len(counted)), counted).slope


if __name__ == "__main__":
    sys.exit(alone(measure, __doc__, ROUNDS))
