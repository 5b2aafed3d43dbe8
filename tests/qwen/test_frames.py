"""Our decode loop says what the package's says: the same codes from the same logits, and the same draws from the same noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")
for needed in ("transformers", "qwen_tts"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engine import PermanentFault  # noqa: E402
from voicebox_provider.engines.qwen.frames import Captured, Decoder, Prompt, capture  # noqa: E402
from voicebox_provider.engines.qwen.layers import Stack  # noqa: E402
from voicebox_provider.engines.qwen.noise import uniforms  # noqa: E402
from voicebox_provider.engines.qwen.package import load  # noqa: E402
from voicebox_provider.engines.qwen.sampling import FirstBook, Sampling  # noqa: E402

from . import oracle  # noqa: E402

KINDS = ("custom_voice", "voice_design", "x_vector", "in_context")
FRAMES = 64
TOLERANCE = 1e-4
MARGIN = 1e-4
"""Where the two likeliest codes are closer, rounding may decide between them."""


class Pair(NamedTuple):
    """One checkpoint, loaded twice: as the package reads it, and with our loop upon it."""

    theirs: Any
    mine: Any
    decoder: Decoder


@pytest.fixture(scope="session")
def pair(checkpoint: Callable[[str], Path], loaded: Callable[[str], Any]) -> Callable[[str], Pair]:
    @cache
    def make(variant: str) -> Pair:
        mine = load(checkpoint(variant), torch.float32, "cpu")
        return Pair(loaded(variant), mine, Decoder(mine.model))

    return make


def captured(pair: Pair, request: oracle.Request) -> Captured:
    return capture(pair.mine, request.method, **request.asked)


def spoken(pair: Pair, asked: Captured, seed: int) -> Any:
    return torch.stack(list(pair.decoder.frames(asked.prompt, asked.sampling, seed, most=asked.most)))


class Greedy(NamedTuple):
    """An utterance in which the likeliest code is said each time: the package's, and what we are to say it from."""

    theirs: oracle.Spoken
    asked: Captured


@pytest.fixture(scope="session")
def greedy(pair: Callable[[str], Pair]) -> Callable[[str, bool], Greedy]:
    @cache
    def make(kind: str, non_streaming_mode: bool) -> Greedy:
        request = oracle.ask(kind, non_streaming_mode=non_streaming_mode, max_new_tokens=FRAMES + 1, **oracle.GREEDY)
        both = pair(request.variant)
        return Greedy(oracle.speak(both.theirs, request), captured(both, request))

    return make


def margins(both: Pair, asked: Captured, codes: Any) -> Any:
    """By how much each of the codes (F, 16) that are likeliest is likelier than the next."""
    first, other = both.decoder.teacher_forced(asked.prompt, codes)
    book = FirstBook(first.shape[1], both.decoder._end, first.device)
    scores = []
    for step, frame in enumerate(codes):
        scores.append(book.scores(first[step : step + 1], torch.tensor([step])))
        book.say(frame[:1], asked.sampling.repetition_penalty)
    top = torch.cat((torch.stack(scores).topk(2).values, other.topk(2).values), 1)
    return top[..., 0] - top[..., 1]


@pytest.mark.parametrize("non_streaming_mode", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_likeliest_to_the_package_is_what_we_say(
    kind: str, non_streaming_mode: bool, pair: Callable[[str], Pair], greedy: Callable[[str, bool], Greedy]
) -> None:
    theirs, asked = greedy(kind, non_streaming_mode)
    both = pair(oracle.ask(kind).variant)
    assert theirs.codes.shape == (FRAMES, 16)
    close = (margins(both, asked, theirs.codes) < MARGIN).any(1)
    print(f"{int(close.sum())} of {FRAMES} frames are too close to call")
    until = int(close.int().argmax()) if close.any() else FRAMES
    assert until > FRAMES // 2
    assert spoken(both, asked, seed=0)[:until].equal(theirs.codes[:until])


@pytest.mark.parametrize("non_streaming_mode", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_packages(
    kind: str, non_streaming_mode: bool, pair: Callable[[str], Pair], greedy: Callable[[str, bool], Greedy]
) -> None:
    """Wherever one choice of many led, this goes on from the package's."""
    theirs, asked = greedy(kind, non_streaming_mode)
    first, other = pair(oracle.ask(kind).variant).decoder.teacher_forced(asked.prompt, theirs.codes)
    assert (first - theirs.first).abs().max() < TOLERANCE
    assert (other - theirs.other).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", ["custom_voice", "voice_design"])
def test_with_half_the_bits_we_err_no_more_than_the_package(
    kind: str, checkpoint: Callable[[str], Path], pair: Callable[[str], Pair]
) -> None:
    request = oracle.ask(kind, max_new_tokens=17, **oracle.GREEDY)
    whole = pair(request.variant)
    theirs, mine = (load(checkpoint(request.variant), torch.bfloat16, "cpu") for _ in range(2))
    said = oracle.speak(theirs, request)
    ours = Decoder(mine.model).teacher_forced(capture(mine, request.method, **request.asked).prompt, said.codes)
    exact = whole.decoder.teacher_forced(captured(whole, request).prompt, said.codes)
    for true, other, our in zip(exact, (said.first, said.other), ours, strict=True):
        assert our.dtype == torch.bfloat16
        assert (our - true).norm() < 1.1 * (other - true).norm() < 0.1 * true.norm()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {}) for kind in KINDS),
        ("custom_voice", {"repetition_penalty": 1.5, "temperature": 0.7, "subtalker_temperature": 1.3}),
        ("custom_voice", {"top_k": 20, "top_p": 0.8, "subtalker_top_k": 0, "subtalker_top_p": 0.6}),
        ("custom_voice", {"subtalker_dosample": False}),
    ],
    ids=str,
)
def test_equal_noise_draws_equal_codes(kind: str, settings: dict[str, Any], pair: Callable[[str], Pair]) -> None:
    """It would show, too, if the end of speech came elsewhere: some of these utterances end before their time."""
    request = oracle.ask(kind, max_new_tokens=24, **settings)
    both = pair(request.variant)
    asked = captured(both, request)
    for seed in range(3):
        noise = uniforms(seed, 0, 24)
        # Where the other books are not sampled, the package draws only the first.
        with oracle.noise(noise if asked.sampling.subtalker_dosample else noise[:, :1]):
            theirs = oracle.speak(both.theirs, request)
        assert spoken(both, asked, seed).equal(theirs.codes)


def test_an_utterance_ends_with_the_end_of_speech(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice", max_new_tokens=200))
    lengths = [len(spoken(both, asked, seed)) for seed in range(4)]
    assert min(lengths) < asked.most
    assert len(set(lengths)) > 1


def test_the_end_of_speech_waits_for_two_frames(checkpoint: Callable[[str], Path]) -> None:
    theirs, mine = (load(checkpoint("custom_voice"), torch.float32, "cpu") for _ in range(2))
    decoder = Decoder(mine.model)
    request = oracle.ask("custom_voice", max_new_tokens=30, **oracle.GREEDY)
    asked = capture(mine, request.method, **request.asked)
    # The likeliest of all from the first step on.
    with torch.inference_mode():
        eager = decoder._talker.prefill(asked.prompt.embeds[0])[0] * 10
    for wrapper in (theirs, mine):
        wrapper.model.talker.codec_head.weight.data[decoder._end] = eager.clone()
    codes = torch.stack(list(decoder.frames(asked.prompt, asked.sampling, 0, most=asked.most)))
    assert len(codes) == 2
    assert codes.equal(oracle.speak(theirs, request).codes)


def test_a_seed_decides_all(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice"))
    once = spoken(both, asked, seed=5)
    assert not once[:4].equal(spoken(both, asked, seed=6)[:4])
    assert spoken(both, asked, seed=5).equal(once)


def test_whoever_stops_listening_may_ask_again(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice"))
    whole = spoken(both, asked, seed=1)
    begun = list(islice(both.decoder.frames(asked.prompt, asked.sampling, 1, most=asked.most), 5))
    assert torch.stack(begun).equal(whole[:5])
    assert spoken(both, asked, seed=1).equal(whole)


@pytest.mark.parametrize(
    "settings", [{}, oracle.GREEDY, {"repetition_penalty": 1.9}], ids=["sampled", "greedy", "penalty"]
)
@pytest.mark.parametrize("kind", ["custom_voice", "in_context"])
def test_what_was_spoken_already_is_gone_on_from(
    kind: str, settings: dict[str, Any], pair: Callable[[str], Pair]
) -> None:
    """Not drawn again: the text that is due, the noise and what may not be repeated are those of the step at which it goes on."""
    request = oracle.ask(kind, non_streaming_mode=False, max_new_tokens=50, **settings)
    both = pair(request.variant)
    asked = captured(both, request)
    whole = spoken(both, asked, seed=5)
    text = asked.prompt.trailing_text.shape[1]
    assert 2 < text < len(whole) - 3
    for begun in (0, 1, 2, text - 1, text, text + 3, len(whole) - 1):
        rest = both.decoder.frames(asked.prompt, asked.sampling, 5, most=asked.most, given=whole[:begun])
        assert torch.stack(list(rest)).equal(whole[begun:])


def test_nothing_follows_what_was_spoken_whole(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice"))
    given = torch.zeros(5, 16, dtype=torch.int64)
    for most in (4, 5):
        assert list(both.decoder.frames(asked.prompt, asked.sampling, 0, most=most, given=given)) == []


def test_frames_come_one_by_one(pair: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice"))
    steps = 0

    def counted(self: Stack, inputs: Any, *where: Any) -> Any:
        nonlocal steps
        steps += self is both.decoder._talker
        return step(self, inputs, *where)

    step = Stack.step_at
    monkeypatch.setattr(Stack, "step_at", counted)
    for number, codes in enumerate(both.decoder.frames(asked.prompt, asked.sampling, 0, most=6), 1):
        assert codes.shape == (16,)
        assert steps == number


def test_the_cache_grows_with_the_utterance(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice", **oracle.GREEDY))
    fresh = Decoder(both.mine.model)
    short = list(fresh.frames(asked.prompt, asked.sampling, 0, most=3))
    long = list(fresh.frames(asked.prompt, asked.sampling, 0, most=300))
    assert len(long) == 300
    assert torch.stack(short).equal(torch.stack(long[:3]))
    asked = captured(both, oracle.ask("custom_voice"))
    longer = islice(fresh.frames(asked.prompt, asked.sampling, 0, most=900), 3)
    assert torch.stack(list(longer)).equal(spoken(both, asked, seed=0)[:3]), "the noise was lost on the way"


def test_nothing_is_said_where_nothing_may_be(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice", max_new_tokens=1))
    assert list(both.decoder.frames(asked.prompt, asked.sampling, 0, most=asked.most)) == []


def test_inference_mode_is_not_the_consumers(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice"))
    for _ in both.decoder.frames(asked.prompt, asked.sampling, 0, most=2):
        assert not torch.is_inference_mode_enabled()


def test_the_package_goes_on_working_with_the_same_weights(pair: Callable[[str], Pair]) -> None:
    both = pair("voice_design")
    request = oracle.ask("voice_design", max_new_tokens=9, **oracle.GREEDY)
    theirs, mine = oracle.speak(both.theirs, request), oracle.speak(both.mine, request)
    assert mine.codes.equal(theirs.codes)
    attention = both.mine.model.talker.model.layers[0].self_attn
    assert attention.q_proj.weight.untyped_storage().data_ptr() == attention.v_proj.weight.untyped_storage().data_ptr()


def test_capturing_leaves_the_model_as_it_was(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    before = set(vars(both.mine.model.talker))
    captured(both, oracle.ask("custom_voice"))
    with pytest.raises(ValueError, match="nobody"):
        captured(both, oracle.ask("custom_voice", speaker="nobody"))
    assert set(vars(both.mine.model.talker)) == before


def test_capturing_notes_what_was_asked(pair: Callable[[str], Pair]) -> None:
    both = pair("custom_voice")
    asked = captured(both, oracle.ask("custom_voice", temperature=0.5, subtalker_top_k=7, non_streaming_mode=False))
    assert asked.sampling == Sampling(temperature=0.5, subtalker_top_k=7)
    assert (asked.max_new_tokens, asked.most) == (64, 63)
    assert isinstance(asked.prompt, Prompt)
    assert asked.prompt.embeds.shape[2] == asked.prompt.pad.shape[2] == 64
    assert asked.prompt.trailing_text.shape[1] > 1


def test_three_equal_axes_of_positions_are_one() -> None:
    from qwen_tts.core.models.modeling_qwen3_tts import apply_multimodal_rotary_pos_emb, apply_rotary_pos_emb

    heads = torch.randn(1, 3, 5, 128)
    angles = torch.randn(1, 5, 64)
    cosines, sines = (torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin())
    plain = apply_rotary_pos_emb(heads, heads, cosines, sines)
    axes = (cosines.expand(3, 1, 5, 128), sines.expand(3, 1, 5, 128))
    for interleaved in (True, False):
        multimodal = apply_multimodal_rotary_pos_emb(heads, heads, *axes, [24, 20, 20], interleaved)
        assert all(one.equal(other) for one, other in zip(plain, multimodal, strict=True))


def test_layers_of_another_kind_are_refused(loaded: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("custom_voice").model
    monkeypatch.setattr(model.talker.model.config, "hidden_act", "gelu")
    with pytest.raises(PermanentFault, match="reference"):
        Decoder(model)
