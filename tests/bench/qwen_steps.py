"""Our decode loop and codec for Qwen3-TTS beside the package's own: python -m tests.bench.qwen_steps [--rounds 20] [--true-size]

The same random weights, one process, in turns: steps, each of which is a frame of codes, by the package's nested `generate` and by our
loop; and sound of codes in portions, by the package's decoder with 25 frames before each, as it streams, and by ours, which keeps its
past. Weights so small that nothing but overhead is left; with --true-size also those of the 0.6B model, in float32 and bfloat16 (12 GB of
memory and some minutes). --threads N, 1 as it comes: what holds for the daemon.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from tests.bench.claims import Claim, Part, in_turns, middle_and_late, paired, tell
from tests.qwen import tiny_checkpoint
from voicebox_provider.engines.qwen import package, reference
from voicebox_provider.engines.qwen.codec import CodecDecoder
from voicebox_provider.engines.qwen.frames import Decoder, Prompt, capture

ROUNDS = 20
LEAST_TINY = 2.5
LEAST_BFLOAT16 = 1.1
LEAST_INT8_TO_BFLOAT16 = 1.6
LEAST_INT8_TO_FLOAT32 = 3.5
MOST_APART = 1.0
MOST_STEPS_TO_SOUND = 2

THEIRS, OURS, OURS_INT8 = "qwen-tts", "ours", "ours, int8 code predictor"
TINY, BFLOAT16, FLOAT32 = "tiny, float32", "0.6B, bfloat16", "0.6B, float32"
_CHECKPOINTS = {
    TINY: ("tiny", torch.float32, 32),
    BFLOAT16: ("0.6b", torch.bfloat16, 6),
    FLOAT32: ("0.6b", torch.float32, 6),
}
_ASKED = {"text": "The harbour was quiet that morning.", "speaker": "ryan", "language": "English"}
_PORTIONS = (1, 4, 8)
_CONTEXT = 25
_FRAME = 1920

# Milliseconds of each round.
Times = dict[tuple[str, str], list[float]]


class Stage(NamedTuple):
    """A checkpoint that both sides have loaded: the package's model, our loops and our codec."""

    name: str
    steps: int
    wrapper: Any
    decoders: dict[str, Decoder]
    codec: CodecDecoder


def measure(rounds: int, names: list[str]) -> list[Part]:
    with ExitStack() as stack:
        stages = [stack.enter_context(_stage(name)) for name in names]
        steps = _rounds(rounds, {(stage.name, by): way for stage in stages for by, way in _step_ways(stage).items()})
        sounds = {
            portion: _rounds(
                rounds,
                {
                    (stage.name, by): partial(way, stage, portion)
                    for stage in stages
                    if stage.name != FLOAT32
                    for by, way in ((THEIRS, _their_sound), (OURS, _our_sound))
                },
            )
            for portion in _PORTIONS
        }
        first = {stage.name: [_first_sound(stage) for _ in range(rounds)] for stage in stages}
        alike = [_alike(stage) for stage in stages if stage.name == FLOAT32]
    waiting = {name: statistics.median(times) / statistics.median(steps[name, OURS]) for name, times in first.items()}
    return [
        Part(
            "Steps",
            "Milliseconds a step, which is 80 ms of sound, from the second on.",
            ("weights", "by", "median", "p99", "times as fast"),
            [
                (name, by, *middle_and_late(times), f"{paired(steps[name, THEIRS], times):.2f}")
                for (name, by), times in steps.items()
            ],
            [
                *_claims(steps),
                *(
                    Claim(f"{FLOAT32}: what int8 takes from the logits' cosine", 1000 * (1 - like), MOST_APART, "‰")
                    for like in alike
                ),
            ],
            f"On average the cosine of the code predictor's logits in int8 and in float32 is {alike[0]:.5f}."
            if alike
            else "",
        ),
        Part(
            "First sound",
            "From the prompt's end to the first samples, by ours.",
            ("weights", "median", "p99", "in steps"),
            [(name, *middle_and_late(times), f"{waiting[name]:.2f}") for name, times in first.items()],
            [
                Claim(f"{name}: first sound after the prompt, in steps", ratio, MOST_STEPS_TO_SOUND, "×")
                for name, ratio in waiting.items()
                # Where a step is all overhead, a step of the codec is as long.
                if name != TINY
            ],
        ),
        Part(
            "Sound",
            "Milliseconds a frame, in portions of so many.",
            ("weights", "frames at once", "by", "median", "p99", "times as fast"),
            [
                (name, str(portion), by, *middle_and_late(times), f"{paired(found[name, THEIRS], times):.2f}")
                for portion, found in sounds.items()
                for (name, by), times in found.items()
            ],
        ),
    ]


def _claims(steps: Times) -> list[Claim]:
    """All that is promised of what was measured."""
    int8 = FLOAT32, OURS_INT8
    promised = (
        ((TINY, THEIRS), (TINY, OURS), LEAST_TINY),
        ((BFLOAT16, THEIRS), (BFLOAT16, OURS), LEAST_BFLOAT16),
        ((BFLOAT16, THEIRS), int8, LEAST_INT8_TO_BFLOAT16),
        ((FLOAT32, THEIRS), int8, LEAST_INT8_TO_FLOAT32),
    )
    return [
        Claim(f"{', '.join(of)} to {', '.join(to)}, a step", paired(steps[of], steps[to]), least, "×", at_least=True)
        for of, to, least in promised
        if of in steps and to in steps
    ]


@contextmanager
def _stage(name: str) -> Iterator[Stage]:
    scale, dtype, steps = _CHECKPOINTS[name]
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        place = Path(directory) / "checkpoint"
        tiny_checkpoint.write(place, "custom_voice", scale=scale, dtype=str(dtype).removeprefix("torch."))
        wrapper = package.load(place, dtype, "cpu")
    codec = CodecDecoder(wrapper.model.speech_tokenizer.model.decoder.float())
    decoders = {OURS: Decoder(wrapper.model)}
    if name != TINY:
        decoders[OURS_INT8] = Decoder(wrapper.model, int8=True)
        # The package's modules hold the weights that were fused last: one copy is enough.
        decoders[OURS]._talker = decoders[OURS_INT8]._talker
    yield Stage(name, steps, wrapper, decoders, codec)


def _rounds(rounds: int, ways: dict[tuple[str, str], Callable[[], float]]) -> Times:
    found: Times = {name: [] for name in ways}
    for way in ways.values():
        way()
    keys = {" ".join(name): name for name in ways}
    for turn in range(rounds):
        for key in in_turns(list(keys), turn):
            found[keys[key]].append(ways[keys[key]]())
    return found


def _step_ways(stage: Stage) -> dict[str, Callable[[], float]]:
    return {
        THEIRS: partial(_each, partial(_their_steps, stage)),
        **{by: partial(_each, partial(_our_steps, stage, decoder)) for by, decoder in stage.decoders.items()},
    }


def _their_steps(stage: Stage) -> Iterator[torch.Tensor]:
    speak = partial(stage.wrapper.generate_custom_voice, **_ASKED, max_new_tokens=stage.steps + 1)
    return reference.frames(stage.wrapper, speak, 1)


def _our_steps(stage: Stage, decoder: Decoder) -> Iterator[torch.Tensor]:
    captured = capture(stage.wrapper, "generate_custom_voice", **_ASKED)
    return decoder.frames(captured.prompt, captured.sampling, 1, most=stage.steps)


def _each(frames: Callable[[], Iterator[torch.Tensor]]) -> float:
    """Milliseconds a step, without the first, to which the prompt belongs."""
    spoken = frames()
    next(spoken)
    begun = time.perf_counter()
    count = sum(1 for _ in spoken)
    return (time.perf_counter() - begun) * 1000 / count


def _first_sound(stage: Stage) -> float:
    """Milliseconds from the end of the prompt to samples."""
    captured = capture(stage.wrapper, "generate_custom_voice", **_ASKED)
    decoder, heard = stage.decoders[OURS], 0.0
    begin = decoder._begin

    def timed(prompt: Prompt, given: torch.Tensor, most: int) -> int:
        nonlocal heard
        position = begin(prompt, given, most)
        heard = time.perf_counter()
        return position

    decoder._begin = timed  # type: ignore[method-assign]
    try:
        codes = next(decoder.frames(captured.prompt, captured.sampling, 1, most=stage.steps))
        stage.codec.stream().decode(codes[:, None])
        return (time.perf_counter() - heard) * 1000
    finally:
        del decoder._begin


def _alike(stage: Stage) -> float:
    """The mean cosine of the code predictor's logits, in int8 and as they are, from the same codes."""
    captured = capture(stage.wrapper, "generate_custom_voice", **_ASKED)
    codes = torch.stack(list(_our_steps(stage, stage.decoders[OURS])))
    logits = [decoder.teacher_forced(captured.prompt, codes)[1] for decoder in stage.decoders.values()]
    return float(functional.cosine_similarity(*logits, dim=-1).mean())


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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--true-size", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    parts = measure(chosen.rounds, [TINY, BFLOAT16, FLOAT32] if chosen.true_size else [TINY])
    print("\n".join(part.text() for part in parts))
    return tell([claim for part in parts for claim in part.claims])


if __name__ == "__main__":
    sys.exit(main())
