"""Voice prompts: what is written is read again, and bytes from anybody are refused by one error and no other."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicebox_protocol import wire
from voicebox_protocol.errors import BadPrompt
from voicebox_provider import voice_prompt
from voicebox_provider.voice_prompt import BOOKS, MAX_STEPS, MAX_TEXT, MAX_WIDTH, VoicePrompt

KEY = "0123456789abcdef" * 4


def prompt(**changed: Any) -> VoicePrompt:
    codes = np.arange(3 * BOOKS, dtype="<i2").tobytes()
    known = {"mode": "in_context", "codes": codes, "text": "Nobody spoke."}
    embedding = np.linspace(-1, 1, 5).astype("<f4").tobytes()
    return VoicePrompt(**{"key": KEY, "model": "base", "revision": "r1", "embedding": embedding, **known, **changed})


ALONE: dict[str, Any] = {"mode": "x_vector", "codes": b"", "text": ""}
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
PROMPTS = st.builds(
    lambda codes, text, embedding, alone: prompt(
        embedding=np.array(embedding, "<f4").tobytes(),
        **(ALONE if alone else {"codes": np.array(codes, "<i2").tobytes(), "text": text}),
    ),
    codes=st.lists(st.lists(st.integers(0, 32767), min_size=BOOKS, max_size=BOOKS), min_size=1, max_size=20),
    text=st.text(min_size=1, max_size=50),
    embedding=st.lists(FLOATS, min_size=1, max_size=20),
    alone=st.booleans(),
)


@given(PROMPTS)
def test_what_is_written_is_read(written: VoicePrompt) -> None:
    data = voice_prompt.encode(written)
    read = voice_prompt.decode(data)
    assert read == written
    assert voice_prompt.encode(read) == data
    assert read.code_steps.shape == (len(written.codes) // (2 * BOOKS), BOOKS)
    assert read.speaker.shape == (len(written.embedding) // 4,)


def test_the_largest_fits_its_bounds_and_the_wire() -> None:
    largest = prompt(
        codes=bytes(2 * BOOKS * MAX_STEPS), embedding=bytes(4 * MAX_WIDTH), text="猫" * MAX_TEXT, model="m" * 128
    )
    data = voice_prompt.encode(largest)
    assert len(data) <= voice_prompt.MAX_BYTES <= wire.MAX_PROMPT
    # A minute of sound, and the silence behind it.
    assert (wire.REFERENCE_S[1] + 0.5) * 12.5 <= MAX_STEPS


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"key": "x" * 64}, "damaged"),
        ({"codes": bytes(2 * BOOKS + 2)}, "damaged"),
        ({"codes": b""}, "damaged"),
        ({"text": ""}, "damaged"),
        ({"mode": "x_vector"}, "damaged"),
        ({"embedding": bytes(6)}, "damaged"),
        ({"embedding": b""}, "embedding"),
        ({"embedding": np.array([1, np.nan], "<f4").tobytes()}, "not finite"),
        ({"embedding": np.array([1, np.inf], "<f4").tobytes()}, "not finite"),
        ({"codes": np.full(BOOKS, -1, "<i2").tobytes()}, "code"),
        ({"codes": bytes(2 * BOOKS * (MAX_STEPS + 1))}, "codes"),
        ({"embedding": bytes(4 * (MAX_WIDTH + 1))}, "embedding"),
        ({"text": "x" * (MAX_TEXT + 1)}, "text"),
        ({"mode": "another"}, "mode"),
        ({"model": ""}, "model"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], words: str) -> None:
    plain = {name: getattr(prompt(), name) for name in VoicePrompt.__struct_fields__}
    with pytest.raises(BadPrompt, match=words):
        voice_prompt.decode(msgpack.packb(plain | changed))
    with pytest.raises(BadPrompt):
        voice_prompt.encode(prompt(**changed))


def test_it_is_of_a_model_and_of_its_tables() -> None:
    data = voice_prompt.encode(prompt())
    assert voice_prompt.decode(data, model="base", revision="r1", book_size=48, width=5) == prompt()
    assert voice_prompt.decode(data, model="my name for it", revision="r1") == prompt()
    for bounds, words in (
        ({"book_size": 47}, "not below 47"),
        ({"width": 6}, "5 numbers, and the model's has 6"),
        ({"model": "base", "revision": "r2"}, "other weights of base"),
        ({"model": "other", "revision": "r2"}, "made for base, and other speaks here"),
    ):
        with pytest.raises(BadPrompt, match=words):
            voice_prompt.decode(data, **bounds)  # type: ignore[arg-type]


def test_a_key_names_all_that_a_prompt_is_made_from() -> None:
    one = np.zeros(10, np.float32)
    asked = [
        (one, 24000, "a", "m", "r"),
        (one, 24000, "", "m", "r"),
        (one, 16000, "a", "m", "r"),
        (one, 24000, "a", "mr", ""),
    ]
    asked += [(one[:9], 24000, "a", "m", "r"), (one + 1, 24000, "a", "m", "r"), (one, 24000, "a", "m", "r2")]
    keys = [voice_prompt.key_of(*each) for each in asked]
    assert len(set(keys)) == len(keys)
    assert keys[0] == voice_prompt.key_of(*asked[0])
    assert all(len(key) == 64 for key in keys)


# --- hostile bytes

WHOLE = voice_prompt.encode(prompt())


def read_somehow(data: bytes) -> None:
    told = "read"
    try:
        voice_prompt.encode(voice_prompt.decode(data))
    except BadPrompt as error:
        told = str(error)
    assert 0 < len(told) < 2000


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    read_somehow(data)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_cut_short(length: int) -> None:
    with pytest.raises(BadPrompt):
        voice_prompt.decode(WHOLE[:length])


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6))
def test_overwritten(changes: list[tuple[int, bytes]]) -> None:
    broken = bytearray(WHOLE)
    for at, new in changes:
        broken[at : at + len(new)] = new
    read_somehow(bytes(broken))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * 100_000,
        b"\x81\xa6format" + b"\x91" * 60_000,
        b"\x81\xa6format\xdd\xff\xff\xff\xff",
        b"\x82\xa6format\x01\xa5codes\xc6\xff\xff\xff\xff",
        WHOLE + b"\0",
        bytes(voice_prompt.MAX_BYTES + 1),
        b"\x80",
        b"",
    ],
)
def test_a_bomb_does_not_go_off(bomb: bytes) -> None:
    with pytest.raises(BadPrompt):
        voice_prompt.decode(bomb)
