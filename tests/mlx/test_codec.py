"""The codec's decoder for streams, held against the package's layers, which decode the whole at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

mx = pytest.importorskip("mlx.core")
for needed in ("transformers", "mlx_audio"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engines.qwen_mlx.codec import CodecDecoder, Stream  # noqa: E402
from voicebox_provider.engines.qwen_mlx.package import load, take_decoder  # noqa: E402

from .tiny_checkpoint import BOOK_SIZE  # noqa: E402

BOOKS = 16
TOLERANCE = 1e-5
WINDOWS = (72, 8, 1)


class Pair(NamedTuple):
    theirs: Any
    ours: CodecDecoder
    window: int

    def whole(self, codes: Any) -> Any:
        """All of it at once, by the package's layers, with the mask of the window that they were made for."""
        decoder = self.theirs
        age = mx.arange(codes.shape[1])[:, None] - mx.arange(codes.shape[1])
        mask = mx.where((age >= 0) & (age < self.window), 0.0, -math.inf)
        hidden = decoder.pre_conv(decoder.quantizer.decode(mx.array(codes[None])).transpose(0, 2, 1))
        hidden = decoder.pre_transformer(hidden, mask=mask)
        for layer in (*itertools.chain(*decoder.upsample), *decoder.decoder):
            hidden = layer(hidden)
        return np.array(mx.clip(hidden, -1, 1))[0, :, 0]


@pytest.fixture(scope="module")
def decoder(checkpoint: Callable[[str], Path]) -> Any:
    return take_decoder(load(checkpoint("custom_voice"), "float32"))


@pytest.fixture(scope="module", params=WINDOWS)
def pair(request: pytest.FixtureRequest, decoder: Any) -> Pair:
    return made(decoder, request.param)


@pytest.fixture(scope="module")
def small(decoder: Any) -> Pair:
    return made(decoder, 8)


def made(decoder: Any, window: int) -> Pair:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder.config, "sliding_window", window)
        return Pair(decoder, CodecDecoder(decoder), window)


def some_codes(frames: int, seed: int = 1) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, BOOK_SIZE, (BOOKS, frames))


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
    whole = pair.whole(some_codes(40))
    assert whole.std() > 0.03
    assert np.abs(whole).max() < 1


def test_any_portions_give_the_samples_of_the_whole(pair: Pair) -> None:
    codes = some_codes(100)
    whole = pair.whole(codes)
    for sizes in ([100], [1, 2, 4, 8], [33, 1, 40]):
        assert off(in_portions(pair.ours.stream(), codes, itertools.cycle(sizes)), whole) < TOLERANCE, sizes


def test_within_the_window_it_is_what_the_package_decodes(decoder: Any) -> None:
    codes = some_codes(72)
    theirs = np.array(decoder(mx.array(codes[None])))[0, 0]
    assert off(in_portions(made(decoder, 72).ours.stream(), codes, itertools.cycle([1, 5])), theirs) < TOLERANCE


def test_beyond_the_window_the_package_is_another_sound(decoder: Any) -> None:
    """Why there is a decoder of ours: the package's look back on everything."""
    codes = some_codes(100)
    theirs = np.array(decoder(mx.array(codes[None])))[0, 0]
    assert off(theirs, made(decoder, 72).whole(codes)) > 0.01


def test_portions_without_their_past_are_another_sound(small: Pair) -> None:
    codes = some_codes(40)
    portions = np.split(codes, 10, axis=1)
    forgetful = np.concatenate([small.ours.stream().decode(portion) for portion in portions])
    assert off(forgetful, small.whole(codes)) > 0.05


def test_streams_do_not_disturb_one_another(small: Pair) -> None:
    both = [some_codes(20, seed) for seed in (3, 4)]
    streams = [small.ours.stream() for _ in both]
    heard: list[list[Any]] = [[], []]
    for start in range(0, 20, 5):
        for stream, codes, sound in zip(streams, both, heard, strict=True):
            sound.append(stream.decode(codes[:, start : start + 5]))
    for codes, sound in zip(both, heard, strict=True):
        assert off(np.concatenate(sound), small.whole(codes)) < TOLERANCE


@pytest.mark.parametrize("portions", [[1], [12], [2, 3, 1], [70, 1]], ids=str)
def test_after_priming_sounds_the_rest_of_the_whole(pair: Pair, portions: list[int]) -> None:
    before = sum(portions)
    codes = some_codes(before + 12)
    stream, start = pair.ours.stream(), 0
    for portion in portions:
        stream.prime(codes[:, start : start + portion])
        start += portion
    rest = pair.whole(codes)[before * pair.ours.samples_per_frame :]
    assert off(in_portions(stream, codes[:, before:], itertools.cycle([1, 6])), rest) < TOLERANCE


@pytest.mark.parametrize("shape", [(BOOKS, 0), (BOOKS - 1, 4), (4, BOOKS), (1, BOOKS, 4), (BOOKS,)], ids=str)
def test_codes_of_another_shape_are_refused_and_change_nothing(small: Pair, shape: tuple[int, ...]) -> None:
    codes = some_codes(6)
    stream = small.ours.stream()
    start = stream.decode(codes[:, :3])
    for call in (stream.decode, stream.prime):
        with pytest.raises(ValueError, match="expected"):
            call(np.zeros(shape, np.int64))
    assert off(np.concatenate((start, stream.decode(codes[:, 3:]))), small.whole(codes)) < TOLERANCE


@pytest.mark.parametrize("code", [BOOK_SIZE, -1])
def test_a_code_that_its_book_lacks_is_refused(small: Pair, code: int) -> None:
    codes = some_codes(3)
    codes[0, 1] = code
    with pytest.raises(IndexError):
        small.ours.stream().decode(codes)
