"""The codec's decoder for streams, held against the package's own, which decodes the whole at once.

The weights are random, but no layer of them is idle: as the package makes them, codebooks are zero and residuals nearly so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
for needed in ("transformers", "qwen_tts"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engines.qwen.codec import CodecDecoder, Stream  # noqa: E402
from voicebox_provider.engines.qwen.package import import_qwen_tts  # noqa: E402

BOOKS = 16
BOOK_SIZE = 64
TOLERANCE = 1e-5
TINY = {
    "codebook_dim": 32,
    "codebook_size": BOOK_SIZE,
    "decoder_dim": 64,
    "latent_dim": 32,
    "hidden_size": 32,
    "intermediate_size": 64,
    "head_dim": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "num_quantizers": BOOKS,
    "upsample_rates": [8, 5, 4, 3],
    "upsampling_ratios": [2, 2],
}
SHAPES = {
    "window of 8": {"sliding_window": 8},
    "window of 72": {},
    "two wide blocks": {"sliding_window": 8, "codebook_dim": 24, "latent_dim": 40, "upsample_rates": [24, 20]},
    "odd ratios": {"sliding_window": 5, "upsample_rates": [5, 2], "upsampling_ratios": [3, 1, 2], "decoder_dim": 24},
    "shared keys, biases": {"sliding_window": 8, "num_attention_heads": 4, "attention_bias": True},
    "window of 1": {"sliding_window": 1, "num_hidden_layers": 1},
}


class Pair(NamedTuple):
    theirs: Any
    ours: CodecDecoder

    def whole(self, codes: Any) -> Any:
        with torch.inference_mode():
            return self.theirs(codes[None])[0, 0].numpy()


@pytest.fixture(scope="module", params=list(SHAPES.values()), ids=list(SHAPES))
def pair(request: pytest.FixtureRequest) -> Pair:
    return made(**request.param)


@pytest.fixture(scope="module")
def small() -> Pair:
    return made(sliding_window=8)


def made(**changes: Any) -> Pair:
    import_qwen_tts()
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2DecoderConfig
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Decoder

    torch.manual_seed(7)
    theirs = Qwen3TTSTokenizerV2Decoder(Qwen3TTSTokenizerV2DecoderConfig(**{**TINY, **changes})).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            randomize(name.rpartition(".")[2], parameter)
        last = theirs.decoder[-1].conv
        last.bias.zero_()
        # Small first, for the result is cut off at 1.
        last.weight.mul_(1e-6)
        last.weight.mul_(0.4 / theirs(some_codes(60)[None]).abs().max())
        last.bias.fill_(0.01)
    return Pair(theirs, CodecDecoder(theirs))


def randomize(kind: str, parameter: Any) -> None:
    if kind == "cluster_usage" or (kind == "weight" and parameter.dim() == 1):
        parameter.uniform_(0.5, 2)
    elif kind in ("scale", "gamma"):
        parameter.uniform_(0.2, 0.6)
    elif kind in ("alpha", "beta", "bias"):
        parameter.normal_(0, 0.2)
    elif kind == "weight":
        parameter.normal_(0, 0.8 * (parameter.shape[0] / parameter.numel()) ** 0.5)
    else:
        parameter.normal_()


def some_codes(frames: int, seed: int = 1) -> Any:
    return torch.randint(0, BOOK_SIZE, (BOOKS, frames), generator=torch.Generator().manual_seed(seed))


def in_portions(stream: Stream, codes: Any, sizes: Iterable[int]) -> Any:
    portions = []
    for size in sizes:
        portions.append(stream.decode(codes[:, :size]))
        assert portions[-1].dtype == np.float32
        codes = codes[:, size:]
        if not codes.shape[1]:
            break
    return np.concatenate(portions)


def off(sound: Any, expected: Any) -> float:
    assert sound.shape == expected.shape
    return float(np.abs(sound - expected).max())


def test_the_sound_is_neither_silent_nor_saturated(pair: Pair) -> None:
    """Else the comparisons below would compare nothing."""
    whole = pair.whole(some_codes(60))
    assert whole.std() > 0.03
    assert np.abs(whole).max() < 1


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=14), seed=st.integers(0, 1000))
def test_any_portions_give_the_samples_of_the_whole(pair: Pair, sizes: list[int], seed: int) -> None:
    codes = some_codes(min(60, sum(sizes)), seed)
    assert off(in_portions(pair.ours.stream(), codes, sizes), pair.whole(codes)) < TOLERANCE


def test_an_utterance_far_longer_than_the_window(pair: Pair) -> None:
    codes = some_codes(150)
    whole = pair.whole(codes)
    for sizes in ([150], [1], [4], [1, 2, 4, 8, 12], [33, 1, 40]):
        assert off(in_portions(pair.ours.stream(), codes, itertools.cycle(sizes)), whole) < TOLERANCE, sizes


def test_what_the_package_decodes_at_once_by_itself(small: Pair) -> None:
    codes = some_codes(300)
    with torch.inference_mode():
        theirs = small.theirs.chunked_decode(codes[None], 300, 25)[0, 0].numpy()
    assert off(in_portions(small.ours.stream(), codes, itertools.cycle([8])), theirs) < TOLERANCE


def test_portions_without_their_past_are_another_sound(small: Pair) -> None:
    codes = some_codes(60)
    forgetful = np.concatenate([small.ours.stream().decode(portion) for portion in codes.split(4, dim=1)])
    assert off(forgetful, small.whole(codes)) > 0.05


def test_streams_do_not_disturb_one_another(small: Pair) -> None:
    one, other = some_codes(40, seed=3), some_codes(40, seed=4)
    streams = small.ours.stream(), small.ours.stream()
    portions = [
        (streams[0].decode(mine), streams[1].decode(theirs))
        for mine, theirs in zip(one.split(3, dim=1), other.split(3, dim=1), strict=True)
    ]
    for codes, sound in zip((one, other), zip(*portions, strict=True), strict=True):
        assert off(np.concatenate(sound), small.whole(codes)) < TOLERANCE


@pytest.mark.parametrize("portions", [[1], [12], [2, 3, 1], [100, 1], [20, 1, 7]], ids=str)
def test_after_priming_sounds_the_rest_of_the_whole(pair: Pair, portions: list[int]) -> None:
    before = sum(portions)
    codes = some_codes(before + 20)
    stream = pair.ours.stream()
    for portion in codes[:, :before].split(portions, dim=1):
        stream.prime(portion)
    rest = pair.whole(codes)[before * pair.ours.samples_per_frame :]
    assert off(in_portions(stream, codes[:, before:], itertools.cycle([1, 6])), rest) < TOLERANCE


def test_priming_goes_on_from_what_has_been_said(small: Pair) -> None:
    codes = some_codes(90)
    stream = small.ours.stream()
    start = in_portions(stream, codes[:, :10], [10])
    stream.prime(codes[:, 10:80])
    sound = np.concatenate((start, stream.decode(codes[:, 80:])))
    whole = small.whole(codes).reshape(90, -1)
    assert off(sound, np.concatenate((whole[:10], whole[80:])).ravel()) < TOLERANCE


def test_a_second_utterance_needs_a_stream_of_its_own(small: Pair) -> None:
    codes = some_codes(5)
    stream = small.ours.stream()
    assert off(stream.decode(codes), stream.decode(codes)) > 0.05
    stream.close()
    stream.close()
    for call in (stream.decode, stream.prime):
        with pytest.raises(RuntimeError, match="closed"):
            call(codes)


@pytest.mark.parametrize("shape", [(BOOKS, 0), (BOOKS - 1, 4), (4, BOOKS), (1, BOOKS, 4), (BOOKS,)], ids=str)
def test_codes_of_another_shape_are_refused_and_change_nothing(small: Pair, shape: tuple[int, ...]) -> None:
    codes = some_codes(6)
    stream = small.ours.stream()
    start = stream.decode(codes[:, :3])
    for call in (stream.decode, stream.prime):
        with pytest.raises(ValueError, match="expected"):
            call(torch.zeros(shape, dtype=torch.int64))
    assert off(np.concatenate((start, stream.decode(codes[:, 3:]))), small.whole(codes)) < TOLERANCE


def test_a_code_that_its_book_lacks_is_not_read_from_the_next_book(small: Pair) -> None:
    codes = some_codes(3)
    codes[0, 1] = BOOK_SIZE
    with pytest.raises(IndexError):
        small.ours.stream().decode(codes)


def test_the_module_may_be_dropped_and_is_left_as_it_was() -> None:
    theirs, ours = made(sliding_window=8)
    codes = some_codes(20)
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    whole = Pair(theirs, ours).whole(codes)
    sound = ours.stream().decode(codes)
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())
    del theirs
    assert off(sound, whole) < TOLERANCE


def test_half_the_precision_is_still_near() -> None:
    theirs, _ = made(sliding_window=8)
    codes = some_codes(30)
    expected = Pair(theirs, CodecDecoder(theirs)).whole(codes)
    sound = in_portions(CodecDecoder(theirs.to(torch.bfloat16)).stream(), codes, itertools.cycle([4]))
    assert np.square(sound - expected).mean() < 0.01 * np.square(expected).mean()
