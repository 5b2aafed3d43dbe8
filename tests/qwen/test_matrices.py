"""Weights in eight bits: how near they come, and where they are chosen."""

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

from voicebox_provider.engine import PermanentFault  # noqa: E402
from voicebox_provider.engines.qwen import processor  # noqa: E402
from voicebox_provider.engines.qwen.engine import QwenEngine  # noqa: E402
from voicebox_provider.engines.qwen.frames import Decoder, capture  # noqa: E402
from voicebox_provider.engines.qwen.matrices import Int8, Whole  # noqa: E402
from voicebox_provider.engines.qwen.package import load  # noqa: E402

from . import oracle  # noqa: E402

LEAST_ALIKE = 0.999
SENTENCE = "The harbour was quiet that morning."
# Those of the 0.6B model's code predictor.
SHAPES = ((4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072), (2048, 1024))


def alike(one: Any, other: Any) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1)).mean())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_in_eight_bits_is_nearly_the_same(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    # Rows of very different size, as in trained weights: each has steps of its own.
    weight = torch.randn(shape, generator=generator) * torch.rand(shape[0], 1, generator=generator)
    for rows in (1, 2):
        x, plus = torch.randn(rows, shape[1], generator=generator), torch.randn(rows, shape[0], generator=generator)
        rounded, whole = Int8(weight), Whole(weight)
        assert alike(rounded(x), whole(x)) > LEAST_ALIKE
        assert torch.equal(rounded.added(plus, x), rounded(x) + plus)
        assert torch.allclose(whole.added(plus, x), whole(x) + plus, rtol=1e-3, atol=1e-3)


def test_a_row_of_noughts_stays_one() -> None:
    weight = torch.randn(8, 16)
    weight[3] = 0
    assert Int8(weight)(torch.randn(1, 16))[0, 3] == 0


@pytest.fixture(scope="module")
def both(checkpoint: Callable[[str], Path]) -> tuple[Any, Decoder, Decoder]:
    """A model, our loop upon it as it is, and with the code predictor in eight bits."""
    wrapper = load(checkpoint("custom_voice"), torch.float32, "cpu")
    return wrapper, Decoder(wrapper.model), Decoder(wrapper.model, int8=True)


def test_the_code_predictor_in_eight_bits_nearly_agrees(both: tuple[Any, Decoder, Decoder]) -> None:
    wrapper, whole, rounded = both
    request = oracle.ask("custom_voice", max_new_tokens=17)
    asked = capture(wrapper, request.method, **request.asked)
    codes = torch.stack(list(whole.frames(asked.prompt, asked.sampling, 1, most=16)))
    first, other = whole.teacher_forced(asked.prompt, codes)
    our_first, our_other = rounded.teacher_forced(asked.prompt, codes)
    assert our_first.equal(first), "the talker is not rounded"
    assert not our_other.equal(other)
    assert alike(our_other, other) > LEAST_ALIKE


def test_in_eight_bits_too_a_seed_decides_all(both: tuple[Any, Decoder, Decoder]) -> None:
    wrapper, _, rounded = both
    request = oracle.ask("custom_voice", max_new_tokens=20)
    asked = capture(wrapper, request.method, **request.asked)
    once = torch.stack(list(rounded.frames(asked.prompt, asked.sampling, 5, most=asked.most)))
    other = torch.stack(list(rounded.frames(asked.prompt, asked.sampling, 6, most=asked.most)))
    assert not once[:4].equal(other[:4])
    again = torch.stack(
        list(Decoder(wrapper.model, int8=True).frames(asked.prompt, asked.sampling, 5, most=asked.most))
    )
    assert again.equal(once)
    rest = rounded.frames(asked.prompt, asked.sampling, 5, most=asked.most, given=once[:7])
    assert torch.stack(list(rest)).equal(once[7:])


@pytest.mark.parametrize("seed", [2, 5, 23])
def test_in_eight_bits_too_what_was_spoken_is_gone_on_from_to_the_last_bit(
    seed: int, both: tuple[Any, Decoder, Decoder]
) -> None:
    """Rounding makes another code of a difference in the last bit, sooner or later: with these seeds, on one processor at least, it
    does so within a few frames if what was spoken is heard in one go."""
    wrapper, _, rounded = both
    asked = capture(wrapper, "generate_custom_voice", text=SENTENCE, language="Auto", speaker="ryan")
    once = torch.stack(list(rounded.frames(asked.prompt, asked.sampling, seed, most=60)))
    given = once[: len(once) // 4]
    rest = rounded.frames(asked.prompt, asked.sampling, seed, most=60, given=given)
    assert torch.stack(list(rest)).equal(once[len(given) :])


def test_the_fingerprint_says_how_it_is_rounded(checkpoint: Callable[[str], Path]) -> None:
    def fingerprint(**settings: Any) -> str:
        return QwenEngine({"model": str(checkpoint("custom_voice")), **settings}).capabilities().fingerprint

    assert "int8" in fingerprint(quantize="int8")
    assert "int8" not in fingerprint(quantize="none")
    assert ("int8" in fingerprint()) is processor.has_int8_products()
    assert "int8" not in fingerprint(loop="reference")
    assert "int8" not in fingerprint(device="cuda")
    for settings in ({"device": "cuda"}, {"loop": "reference"}):
        with pytest.raises(PermanentFault, match="on the processor"):
            QwenEngine({"model": str(checkpoint("custom_voice")), "quantize": "int8", **settings})


def test_what_the_processor_can_is_read_from_linux(tmp_path: Path) -> None:
    for name, flags, expected in (
        ("old", "flags\t\t: fpu avx2", False),
        ("new", "flags\t\t: fpu avx512_vnni avx2", True),
        ("arm", "Features\t: asimd", False),
        ("strange", "nothing", False),
    ):
        place = tmp_path / name
        place.write_text(f"processor\t: 0\n{flags}\n", encoding="utf-8")
        assert processor.has_int8_products(place) is expected
    assert not processor.has_int8_products(tmp_path / "missing")
