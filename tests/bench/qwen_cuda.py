"""Our loop for Qwen3-TTS on a card beside others: python -m tests.bench.qwen_cuda [--rounds 20] [--opponent PYTHON]

Random weights of the 1.7B model's size in bfloat16: milliseconds a step by the package's own loop and by ours, and from a request to its
first sound. With --opponent, the interpreter of another environment in which faster-qwen3-tts is installed (it cannot be in ours: it
needs another transformers), its own loop on the same checkpoint too. Without a CUDA device nothing is measured, and that is said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.bench.claims import Claim, Part, in_turns, middle_and_late, paired, tell
from tests.qwen import tiny_checkpoint
from voicebox_provider.engines.qwen import package, reference
from voicebox_provider.engines.qwen.codec import CodecDecoder
from voicebox_provider.engines.qwen.frames import Decoder, capture
from voicebox_provider.engines.qwen.graphs import Graphs

ROUNDS = 20
STEPS = 64
LEAST_TO_PACKAGE = 20.0
LEAST_TO_OPPONENT = 3.0
MOST_FIRST_SOUND_MS = 30.0

_ASKED = {"text": "The harbour was quiet that morning.", "speaker": "ryan", "language": "English"}
_OPPONENT_S = 1200
# Its generate tells nobody when the prompt was heard: what twice the steps take longer is what the second half took.
_OPPONENT = """
import json, sys, time
import torch
from faster_qwen3_tts import FasterQwen3TTS
model = FasterQwen3TTS.from_pretrained(sys.argv[1], device="cuda")
rounds, asked, steps = int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
def spoken(steps):
    begun = time.perf_counter()
    model.generate_custom_voice(**asked, do_sample=False, min_new_tokens=steps, max_new_tokens=steps)
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) * 1000
spoken(steps)
print(json.dumps([(spoken(2 * steps) - spoken(steps)) / steps for _ in range(rounds)]))
"""


def measure(rounds: int, opponent: str | None) -> Part:
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        place = tiny_checkpoint.write(Path(directory) / "checkpoint", scale="1.7b", dtype="bfloat16")
        wrapper = package.load(place, torch.bfloat16, "cuda")
        codec = CodecDecoder(wrapper.model.speech_tokenizer.model.decoder.float())
        decoder = Decoder(wrapper.model, graphs=Graphs())
        ways: dict[str, Callable[[], Iterator[torch.Tensor]]] = {
            "qwen-tts": partial(_their_frames, wrapper),
            "ours": partial(_our_frames, wrapper, decoder),
        }
        for way in ways.values():
            _each(way)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name in in_turns(list(ways), turn):
                found[name].append(_each(ways[name]))
        first = sorted(_first_sound(wrapper, decoder, codec) for _ in range(rounds))
        if opponent:
            found["faster-qwen3-tts"] = _opponents(opponent, place, rounds)
    claims = [
        Claim(
            "qwen-tts to ours, a step", paired(found["qwen-tts"], found["ours"]), LEAST_TO_PACKAGE, "×", at_least=True
        ),
        Claim("first sound, median", first[len(first) // 2], MOST_FIRST_SOUND_MS, "ms"),
    ]
    if opponent:
        ratio = paired(found["faster-qwen3-tts"], found["ours"])
        claims.append(Claim("faster-qwen3-tts to ours, a step", ratio, LEAST_TO_OPPONENT, "×", at_least=True))
    rows = [(name, *middle_and_late(times)) for name, times in found.items()]
    how = f"{torch.cuda.get_device_name()}, 1.7B, bfloat16, random weights; a step is 80 ms of sound."
    return Part(
        "Steps on a card", how, ("by", "median", "p99"), [*rows, ("first sound", *middle_and_late(first))], claims
    )


def _their_frames(wrapper: Any) -> Iterator[torch.Tensor]:
    return reference.frames(wrapper, partial(wrapper.generate_custom_voice, **_ASKED, max_new_tokens=STEPS + 1), 1)


def _our_frames(wrapper: Any, decoder: Decoder) -> Iterator[torch.Tensor]:
    captured = capture(wrapper, "generate_custom_voice", **_ASKED)
    return decoder.frames(captured.prompt, captured.sampling, 1, most=STEPS)


def _each(way: Callable[[], Iterator[torch.Tensor]]) -> float:
    """Milliseconds a step, without the first, to which the prompt belongs."""
    spoken = way()
    next(spoken)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    count = sum(1 for _ in spoken)
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) * 1000 / count


def _first_sound(wrapper: Any, decoder: Decoder, codec: CodecDecoder) -> float:
    begun = time.perf_counter()
    codec.stream().decode(next(_our_frames(wrapper, decoder))[:, None])
    return (time.perf_counter() - begun) * 1000


def _opponents(python: str, place: Path, rounds: int) -> list[float]:
    words = (python, "-c", _OPPONENT, str(place), str(rounds), json.dumps(_ASKED), str(STEPS))
    said = subprocess.run(words, capture_output=True, text=True, timeout=_OPPONENT_S, check=True)
    found: list[float] = json.loads(said.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--opponent", help="an interpreter that has faster-qwen3-tts")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        print("Nothing was measured: there is no CUDA device here that this PyTorch can use.")
        return 0
    part = measure(chosen.rounds, chosen.opponent)
    print(part.text())
    return tell(part.claims)


if __name__ == "__main__":
    sys.exit(main())
