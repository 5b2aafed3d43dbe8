"""Our decode loop and codec for Qwen3-TTS beside the package's own: python -m tests.bench.qwen_steps [--rounds 20] [--true-size]

The same random weights, one process and one thread, in turns: frames of codes by the package's nested `generate` and by our loop; and
sound of codes in portions, by the package's decoder with 25 frames before each, as it streams, and by ours, which keeps its past.
Weights so small that nothing but overhead is left; with --true-size also those of the 0.6B model (8 GB of memory and some minutes).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.bench.claims import Claim, Part, Row, in_turns, middle_and_late, paired, tell
from tests.qwen import tiny_checkpoint
from voicebox_provider.engines.qwen import package, reference
from voicebox_provider.engines.qwen.codec import CodecDecoder
from voicebox_provider.engines.qwen.frames import Decoder, capture

ROUNDS = 20
LEAST_TINY = 2.5
LEAST_TRUE_SIZE = 1.1

THEIRS, OURS = "qwen-tts", "ours"
_SCALES = {"tiny": (torch.float32, 32, LEAST_TINY), "0.6b": (torch.bfloat16, 6, LEAST_TRUE_SIZE)}
_NAMES = {"tiny": "tiny, float32", "0.6b": "0.6B, bfloat16"}
_ASKED = {"text": "The harbour was quiet that morning.", "speaker": "ryan", "language": "English"}
_PORTIONS = (1, 4, 8)
_CONTEXT = 25
_FRAME = 1920

# Milliseconds a frame, of each round.
Times = dict[str, list[float]]


class Stage(NamedTuple):
    """A checkpoint that both sides have loaded: the package's model, our loop and our codec."""

    scale: str
    wrapper: Any
    decoder: Decoder
    codec: CodecDecoder


def measure(rounds: int, scales: list[str]) -> list[Part]:
    torch.set_num_threads(1)
    steps: list[Row] = []
    sounds: list[Row] = []
    claims: list[Claim] = []
    for scale in scales:
        with _stage(scale) as stage:
            found = _rounds(rounds, {THEIRS: partial(_their_steps, stage), OURS: partial(_our_steps, stage)})
            ratio = paired(found[THEIRS], found[OURS])
            steps += [
                (_NAMES[scale], name, *middle_and_late(found[name]), f"{paired(found[THEIRS], found[name]):.2f}")
                for name in found
            ]
            claims.append(
                Claim(f"{_NAMES[scale]}: qwen-tts to ours, a step", ratio, _SCALES[scale][2], "×", at_least=True)
            )
            for portion in _PORTIONS:
                found = _rounds(
                    rounds, {THEIRS: partial(_their_sound, stage, portion), OURS: partial(_our_sound, stage, portion)}
                )
                sounds += [
                    (
                        _NAMES[scale],
                        str(portion),
                        name,
                        *middle_and_late(found[name]),
                        f"{paired(found[THEIRS], found[name]):.2f}",
                    )
                    for name in found
                ]
    head = ("median", "p99", "times as fast")
    return [
        Part(
            "Steps",
            "Milliseconds a frame, which is 80 ms of sound; the prompt is in it.",
            ("weights", "by", *head),
            steps,
            claims,
        ),
        Part(
            "Sound", "Milliseconds a frame, in portions of so many.", ("weights", "frames at once", "by", *head), sounds
        ),
    ]


@contextmanager
def _stage(scale: str) -> Iterator[Stage]:
    dtype = _SCALES[scale][0]
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        place = Path(directory) / "checkpoint"
        tiny_checkpoint.write(place, "custom_voice", scale=scale, dtype=str(dtype).removeprefix("torch."))
        wrapper = package.load(place, dtype, "cpu")
        codec = CodecDecoder(wrapper.model.speech_tokenizer.model.decoder.float())
        yield Stage(scale, wrapper, Decoder(wrapper.model), codec)


def _rounds(rounds: int, ways: dict[str, Callable[[], float]]) -> Times:
    found: Times = {name: [] for name in ways}
    for way in ways.values():
        way()
    for turn in range(rounds):
        for name in in_turns(list(ways), turn):
            found[name].append(ways[name]())
    return found


def _their_steps(stage: Stage) -> float:
    speak = partial(stage.wrapper.generate_custom_voice, **_ASKED, max_new_tokens=_SCALES[stage.scale][1] + 1)
    return _each(lambda: reference.frames(stage.wrapper, speak, 1))


def _our_steps(stage: Stage) -> float:
    def frames() -> Iterator[torch.Tensor]:
        captured = capture(stage.wrapper, "generate_custom_voice", **_ASKED)
        return stage.decoder.frames(captured.prompt, captured.sampling, 1, most=_SCALES[stage.scale][1])

    return _each(frames)


def _each(frames: Callable[[], Iterator[torch.Tensor]]) -> float:
    begun = time.perf_counter()
    count = sum(1 for _ in frames())
    return (time.perf_counter() - begun) * 1000 / count


def _codes(stage: Stage, frames: int) -> torch.Tensor:
    size = stage.wrapper.model.speech_tokenizer.model.decoder.config.codebook_size
    return torch.randint(0, size, (16, frames), generator=torch.Generator().manual_seed(1))


def _their_sound(stage: Stage, portion: int) -> float:
    decoder = stage.wrapper.model.speech_tokenizer.model.decoder
    codes = _codes(stage, _CONTEXT + portion)
    with torch.inference_mode():
        begun = time.perf_counter()
        decoder(codes[None])[..., _CONTEXT * _FRAME :]
        return (time.perf_counter() - begun) * 1000 / portion


def _our_sound(stage: Stage, portion: int) -> float:
    codes = _codes(stage, _CONTEXT + portion)
    stream = stage.codec.stream()
    stream.prime(codes[:, :_CONTEXT])
    begun = time.perf_counter()
    stream.decode(codes[:, _CONTEXT:])
    return (time.perf_counter() - begun) * 1000 / portion


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--true-size", action="store_true")
    chosen = parser.parse_args()
    parts = measure(chosen.rounds, list(_SCALES) if chosen.true_size else ["tiny"])
    print("\n".join(part.text() for part in parts))
    return tell([claim for part in parts for claim in part.claims])


if __name__ == "__main__":
    sys.exit(main())
