"""Our decode loop says what the package's says where nothing is drawn, and what a seed says where something is."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

mx = pytest.importorskip("mlx.core")
for needed in ("transformers", "mlx_audio"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engine import PermanentFault, Reference  # noqa: E402
from voicebox_provider.engines.qwen import checkpoint as checkpoints  # noqa: E402
from voicebox_provider.engines.qwen.checkpoint import Defaults  # noqa: E402
from voicebox_provider.engines.qwen_mlx import cloning, prompts  # noqa: E402
from voicebox_provider.engines.qwen_mlx.frames import Decoder, Prompt  # noqa: E402
from voicebox_provider.engines.qwen_mlx.package import load  # noqa: E402

from . import oracle  # noqa: E402

FRAMES = 40
MARGIN = 1e-4
"""Where the two likeliest codes are closer, rounding may decide between them."""
GREEDY = Defaults(do_sample=False, subtalker_dosample=False)

Asked = Callable[[str], Prompt]


@pytest.fixture(scope="session")
def asked(loaded: Callable[[str], Any], checkpoint: Callable[[str], Path]) -> Asked:
    """The prompt for a kind of request; a recording goes through `prepare_voice`'s own bytes."""

    def made(kind: str) -> Prompt:
        model = loaded(oracle.VARIANTS[kind])
        if kind == "custom_voice":
            return prompts.described(model, oracle.TEXT, "english", "ryan", None)
        if kind == "voice_design":
            return prompts.described(model, oracle.TEXT, "auto", None, oracle.INSTRUCT)
        base = checkpoints.read(checkpoint("base"))
        said = oracle.SAID if kind == "in_context" else None
        with pytest.MonkeyPatch.context() as patch:
            # The package puts no silence behind a recording.
            patch.setattr("voicebox_provider.reference_audio.PAUSE_S", 0)
            data = cloning.listen(model, base, Reference(samples=oracle.recording(), sample_rate=24000, text=said))
        return prompts.cloned(model, oracle.TEXT, "auto", cloning.read(data, base, model))

    return made


def said(model: Any, prompt: Prompt, settings: Defaults, seed: int = 0, **more: Any) -> list[list[int]]:
    return list(Decoder(model).frames(prompt, settings, seed, **{"most": FRAMES, **more}))


@pytest.mark.parametrize("kind", oracle.VARIANTS)
def test_what_is_likeliest_to_the_package_is_what_we_say(kind: str, loaded: Callable[[str], Any], asked: Asked) -> None:
    model = loaded(oracle.VARIANTS[kind])
    theirs = oracle.speak(model, kind, FRAMES)
    assert theirs.codes.shape == (FRAMES, 16)
    close = (theirs.margins < MARGIN).any(1)
    print(f"{int(close.sum())} of {FRAMES} frames are too close to call")
    until = int(close.argmax()) if close.any() else FRAMES
    assert until >= 32
    assert said(model, asked(kind), GREEDY)[:until] == theirs.codes[:until].tolist()


def test_a_prompt_of_a_recording_is_the_one_that_the_package_makes_of_it(
    loaded: Callable[[str], Any], asked: Asked
) -> None:
    model, sound = loaded("base"), mx.array(oracle.recording())
    theirs = model._prepare_icl_generation_inputs(oracle.TEXT, sound, oracle.SAID)[0]
    assert mx.allclose(asked("in_context").embeds, theirs, rtol=0, atol=1e-6)
    theirs = model._prepare_generation_inputs(oracle.TEXT, ref_audio=sound)[0]
    assert mx.allclose(asked("x_vector").embeds, theirs, rtol=0, atol=1e-6)
    model._icl_cache.clear()


def test_a_seed_decides_all(loaded: Callable[[str], Any], asked: Asked) -> None:
    model, prompt = loaded("custom_voice"), asked("custom_voice")
    once = said(model, prompt, Defaults(), 5, most=8)
    assert said(model, prompt, Defaults(), 6, most=8) != once
    # Whatever is drawn from the generator that all of MLX shares.
    mx.random.seed(99)
    mx.eval(mx.random.uniform(shape=(7,)))
    assert said(model, prompt, Defaults(), 5, most=8) == once


def test_each_book_is_drawn_as_the_checkpoint_wants_it(loaded: Callable[[str], Any], asked: Asked) -> None:
    model, prompt = loaded("custom_voice"), asked("custom_voice")
    greedy, half = said(model, prompt, GREEDY, most=4), replace(GREEDY, do_sample=True)
    drawn = said(model, prompt, half, most=4)
    assert drawn != greedy
    # The predictor takes what is likeliest all the same: so does another seed wherever the first code is equal.
    seeds = [said(model, prompt, half, seed, most=1)[0] for seed in range(12)]
    by_first: dict[int, list[int]] = {}
    assert all(by_first.setdefault(frame[0], frame) == frame for frame in seeds)
    assert len(by_first) > 2


def test_an_utterance_ends_with_the_end_of_speech(loaded: Callable[[str], Any], asked: Asked) -> None:
    model, prompt = loaded("custom_voice"), asked("custom_voice")
    ended, cut = (len(said(model, prompt, Defaults(), seed, most=30)) for seed in (6, 0))
    assert ended < cut == 30


def test_the_end_of_speech_waits_for_two_frames(checkpoint: Callable[[str], Path], asked: Asked) -> None:
    model, prompt = load(checkpoint("custom_voice"), "float32"), asked("custom_voice")
    # The likeliest of all from the first step on.
    state = model.talker.model(prompt.embeds)[0, -1]
    head = np.array(model.talker.codec_head.weight)
    head[model.talker.config.codec_eos_token_id] = np.array(state) * 10
    model.talker.codec_head.weight = mx.array(head)
    assert len(said(model, prompt, GREEDY, most=9)) == 2


def test_what_was_spoken_before_is_heard_in_one_go(loaded: Callable[[str], Any], asked: Asked) -> None:
    model, prompt = loaded("custom_voice"), asked("custom_voice")
    whole = said(model, prompt, Defaults(), 2, most=20)
    for begun in (1, 11, len(whole) - 1):
        assert said(model, prompt, Defaults(), 2, most=20, given=whole[:begun]) == whole[begun:]
    assert said(model, prompt, Defaults(), 2, most=5, given=whole[:5]) == []


def test_whoever_stops_listening_may_ask_again(loaded: Callable[[str], Any], asked: Asked) -> None:
    model, prompt = loaded("custom_voice"), asked("custom_voice")
    whole = said(model, prompt, Defaults(), 1, most=9)
    decoder = Decoder(model)
    begun = decoder.frames(prompt, Defaults(), 1, most=9)
    assert list(islice(begun, 3)) == whole[:3]
    assert list(decoder.frames(prompt, Defaults(), 1, most=9)) == whole
    # An utterance holds what it needs itself, so even this one goes on.
    assert list(begun) == whole[3:]


def test_as_one_graph_it_says_the_same(
    loaded: Callable[[str], Any], asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a graphics processor a frame's other codes are one compiled graph; here that is not the rule."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    model, prompt = loaded("voice_design"), asked("voice_design")
    plain = [said(model, prompt, settings, 3, most=6) for settings in (GREEDY, Defaults())]
    mx.enable_compile()
    try:
        assert [said(model, prompt, settings, 3, most=6) for settings in (GREEDY, Defaults())] == plain
    finally:
        mx.disable_compile()


def test_frames_of_another_size_are_refused(loaded: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("custom_voice")
    monkeypatch.setattr(model.talker.config, "num_code_groups", 8)
    with pytest.raises(PermanentFault, match="8 codes"):
        Decoder(model)
