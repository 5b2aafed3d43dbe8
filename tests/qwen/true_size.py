"""Our loop and codec against the package's, in float32, at the size of the 0.6B model: python -m tests.qwen.true_size [DIRECTORY]

What the tests prove on small weights, once on large ones, which are random too. They are written to DIRECTORY, or read if they are there;
it takes 6 GB of memory, 4 GB of disk and some minutes. Ends with 1 if anything differs.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tests.qwen import oracle, tiny_checkpoint
from voicebox_provider.engines.qwen import package
from voicebox_provider.engines.qwen.codec import CodecDecoder
from voicebox_provider.engines.qwen.frames import Captured, Decoder, capture
from voicebox_provider.engines.qwen.noise import uniforms
from voicebox_provider.engines.qwen.sampling import FirstBook, Sampling

FRAMES = 64
SAMPLED = 16
MARGIN = 1e-4
"""Where the two likeliest codes are closer, rounding may decide between them."""
LOGITS_APART = 1e-4
SAMPLES_APART = 1e-5


def scores_of(
    decoder: Decoder, prompt: Any, sampling: Sampling, codes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two likeliest choices of each of the codes (F, 16), and by how much the first is likelier: (F, 16) each."""
    first, other = decoder.teacher_forced(prompt, codes)
    book = FirstBook(first.shape[1], decoder._end, first.device)
    scores = []
    for step, frame in enumerate(codes):
        scores.append(book.scores(first[step : step + 1], torch.tensor([step])))
        book.say(frame[:1], sampling.repetition_penalty)
    tops = torch.stack(scores).topk(2), other.topk(2)
    values = torch.cat([top.values for top in tops], 1)
    return torch.cat([top.indices for top in tops], 1)[..., 0], values[..., 0] - values[..., 1]


def greedy(wrapper: Any, decoder: Decoder) -> bool:
    request = oracle.ask("custom_voice", max_new_tokens=FRAMES + 1, **oracle.GREEDY)
    asked = _captured(wrapper, request)
    theirs = oracle.speak(wrapper, request)
    chosen, margins = scores_of(decoder, asked.prompt, asked.sampling, theirs.codes)
    close = (margins < MARGIN).any(1)
    equal = bool(chosen[~close].equal(theirs.codes[~close]))
    until = int(close.int().argmax()) if close.any() else FRAMES
    ours = torch.stack(list(islice(decoder.frames(asked.prompt, asked.sampling, 0, most=FRAMES), until)))
    equal &= bool(ours.equal(theirs.codes[:until]))
    told = f"{len(theirs.codes)} steps of 16 codes, {int(close.sum())} of them skipped, spoken by itself as far as step {until}"
    first, other = decoder.teacher_forced(asked.prompt, theirs.codes)
    apart = float(max((first - theirs.first).abs().max(), (other - theirs.other).abs().max()))
    return all(
        [
            _tell("the likeliest codes", equal and len(theirs.codes) == FRAMES, told),
            _tell("logits, teacher-forced", apart < LOGITS_APART, f"{apart:.1e} apart at most"),
        ]
    )


def shared_noise(wrapper: Any, decoder: Decoder) -> bool:
    request = oracle.ask("custom_voice", max_new_tokens=SAMPLED + 1)
    asked = _captured(wrapper, request)
    noise = uniforms(1, 0, SAMPLED + 1)
    with oracle.noise(noise):
        theirs = oracle.speak(wrapper, request)
    ours = torch.stack(list(decoder.frames(asked.prompt, asked.sampling, 1, most=asked.most)))
    return _tell("codes drawn from the same noise", bool(ours.equal(theirs.codes)), f"{len(theirs.codes)} steps")


def codec(wrapper: Any) -> bool:
    module = wrapper.model.speech_tokenizer.model.decoder
    books = module.config.codebook_size
    codes = torch.randint(0, books, (16, FRAMES), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        whole = module(codes[None]).flatten().clamp(-1, 1)
    decoder = CodecDecoder(module)
    apart = max(_apart(decoder, codes, whole, portions) for portions in ((1,), (1, 2, 4, 8), (5, 19), (FRAMES,)))
    return _tell(
        "sound in portions",
        apart < SAMPLES_APART,
        f"{apart:.1e} from the whole at most, of a loudness of {float(whole.std()):.2f}",
    )


def main(arguments: Sequence[str]) -> int:
    torch.set_num_threads(1)
    packages = ", ".join(f"{name} {version(name)}" for name in ("qwen-tts", "torch", "transformers"))
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {packages}, {torch.cpu.get_capabilities().get('cpu_name', platform.machine())}, 1 thread"
    )
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        place = Path(*arguments[:1]) if arguments else Path(directory)
        if not (place / "config.json").exists():
            tiny_checkpoint.write(place, "custom_voice", scale="0.6b")
        wrapper = package.load(place, torch.float32, "cpu")
    decoder = Decoder(wrapper.model)
    return 0 if all([codec(wrapper), shared_noise(wrapper, decoder), greedy(wrapper, decoder)]) else 1


def _captured(wrapper: Any, request: oracle.Request) -> Captured:
    return capture(wrapper, request.method, **request.asked)


def _apart(decoder: CodecDecoder, codes: torch.Tensor, whole: torch.Tensor, portions: Sequence[int]) -> float:
    """How far from the whole the sound is that comes of so many frames at once, then so many, the last again and again."""
    stream, sounds, begun, turn = decoder.stream(), [], 0, 0
    while begun < codes.shape[1]:
        frames = portions[min(turn, len(portions) - 1)]
        sounds.append(torch.from_numpy(stream.decode(codes[:, begun : begun + frames])))
        begun, turn = begun + frames, turn + 1
    return float((torch.cat(sounds) - whole).abs().max())


def _tell(what: str, right: bool, how: str) -> bool:
    print(f"{'ok' if right else 'DIFFERS'}: {what}: {how}", flush=True)
    return right


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
