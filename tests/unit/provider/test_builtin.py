"""The built-in voice on the real hibari: nothing is lost in silence, and equal seeds give equal samples."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from hibari import Hibari
from hibari.voices import VOICES, cache_dir

from voicebox_protocol.errors import Unspeakable
from voicebox_provider.engine import PermanentFault, Utterance
from voicebox_provider.engines.builtin import BuiltinEngine, cache_directory
from voicebox_provider.engines.hibari_reader import MAX_PHONEMES, runs, tidied

NORMAL = [
    "The harbour was quiet that morning, and the gulls had gone out to sea.",
    "“Don't!” she said – it's O'Neil’s ‘rock'n'roll’… isn't it?",
    "Dr. Smith (born 1972) paid $9.99, €5, £3.50 and ¥100; 100% of US$5.",
    "See https://example.com/a-b?q=1&r=2#z or mail foo.bar@example.co.uk at 12:30 pm.",
    "e.g. the U.S.A., i.e. Ph.D.s at 5 a.m. on 2024-05-06, the 21st, 5/6 of 3D v2.0.1.",
    "naïve café Ångström œuvre Łódź Straße İstanbul Hawaiʻi ﬁne d'Été",
    "It is . -5 (é) - 5 °C, x² + y³ ≠ ½ cup, 5µm, ª º №",
    "C++ and C#, snake_case, __init__.py, a/b/c, {x} [y] <z>, O(n log n), #tag @name AT&T",
    "Hi 😀 there 👩‍👩‍👧 → • ★ ✓ ™ © ® end.",
    "192.168.0.1 1e10 0x1F 1,250,000.75 MMXXIV Chapter IV",
    "pneumonoultramicroscopicsilicovolcanoconiosis and zyxglop",
]


@pytest.fixture(scope="module")
def engine() -> BuiltinEngine:
    made = BuiltinEngine({})
    made.load(lambda milliseconds, note: None)
    return made


@pytest.fixture(scope="module")
def hibari() -> Hibari:
    return Hibari()


def speak(engine: BuiltinEngine, text: str, seed: int = 7) -> np.ndarray:  # type: ignore[type-arg]
    arrays = list(engine.synthesize(Utterance(text=text, voice="heart", seed=seed)))
    return np.concatenate(arrays) if arrays else np.zeros(0, np.float32)


@pytest.mark.parametrize("text", NORMAL)
def test_normal_english_is_spoken(engine: BuiltinEngine, text: str) -> None:
    assert len(speak(engine, text)) > 12000


@pytest.mark.parametrize("text", NORMAL[:3])
def test_it_sounds_as_hibari_does(engine: BuiltinEngine, hibari: Hibari, text: str) -> None:
    assert np.array_equal(speak(engine, text), hibari(text, seed=7))


def test_equal_seeds_give_equal_samples(engine: BuiltinEngine) -> None:
    first, same, other = speak(engine, NORMAL[0]), speak(engine, NORMAL[0]), speak(engine, NORMAL[0], seed=8)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_sentences_come_one_by_one(engine: BuiltinEngine) -> None:
    assert len(list(engine.synthesize(Utterance(text="One. Two. Three.", voice="heart")))) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Say 日本 now.", ["日本"]),
        ("A cat日本 here, and привет.", ["cat日本", "привет"]),
        ("shalom שלום", ["שלום"]),
        ("日本", ["日本"]),
    ],
)
def test_words_without_sound_are_named_before_any_sound(engine: BuiltinEngine, text: str, words: list[str]) -> None:
    arrays = engine.synthesize(Utterance(text=text, voice="heart"))
    with pytest.raises(Unspeakable) as caught:
        next(arrays)
    assert all(word in str(caught.value) for word in words)
    assert len(speak(engine, "The next text is spoken.")) > 0


def phonemes(engine: BuiltinEngine, text: str) -> str:
    return " ".join(engine._voice("heart").phonemize(tidied(text)))


def test_markup_is_read_and_not_obeyed(engine: BuiltinEngine) -> None:
    assert "wˈɜɹld" in phonemes(engine, "[hello](world)")
    assert "wxyz" not in phonemes(engine, "[hello](/wxyz/)")


def test_overlong_words_are_read_to_their_end(engine: BuiltinEngine) -> None:
    """hibari alone reads 24 letters of a word that no dictionary has."""
    word = "brandomixtulaperogansidavelutikomarensapidol"
    assert len(phonemes(engine, word * 3)) > 2.5 * len(phonemes(engine, word))


@pytest.mark.parametrize("text", ["1" * 37, "1" * 400, "9," * 100 + "9", "$" + "7" * 60 + ".50"])
def test_numbers_beyond_hibari_s_words_are_read_digit_by_digit(engine: BuiltinEngine, text: str) -> None:
    assert len(speak(engine, text[:120])) > 24000


def test_a_number_that_looks_like_punctuation_is_read(engine: BuiltinEngine, hibari: Hibari) -> None:
    assert "fˈIv" not in " ".join(hibari.phonemize("(é) 5-"))
    assert "fˈIv" in phonemes(engine, "(é) 5-")


def test_long_sentences_are_cut_where_words_end() -> None:
    long = " ".join(["fˈIv"] * 300)
    cut = list(runs(long))
    assert " ".join(cut) == long
    assert all(len(run) <= MAX_PHONEMES for run in cut)
    assert list(runs("həlˈO")) == ["həlˈO"]
    assert "".join(runs("a" * 1000)) == "a" * 1000


def test_the_document_names_what_lies_in_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    able = BuiltinEngine({}).capabilities()
    assert [(voice.id, voice.languages, voice.default) for voice in able.voices] == [("heart", ["en-US"], True)]
    assert (able.sample_rate, able.deterministic, able.concurrency) == (24000, True, 1)


def test_cached_voices_are_listed_only_when_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    with Path(tmp_path, VOICES["emma"]["file"]).open("wb") as file:
        file.truncate(VOICES["emma"]["bytes"])
    Path(tmp_path, VOICES["kore"]["file"]).write_bytes(b"half")
    assert [voice.id for voice in BuiltinEngine({}).capabilities().voices] == ["heart", "emma"]


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch, engine: BuiltinEngine) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("reached for the network"))
    speak(engine, "Hello.")


@pytest.mark.parametrize("home", [{"HIBARI_HOME": "/h"}, {"XDG_CACHE_HOME": "/x"}, {}])
def test_the_cache_is_where_hibari_keeps_it(monkeypatch: pytest.MonkeyPatch, home: dict[str, str]) -> None:
    for name in ("HIBARI_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in home.items():
        monkeypatch.setenv(name, value)
    assert str(cache_directory()) == cache_dir()


def test_the_fingerprint_tells_thread_counts_apart() -> None:
    assert BuiltinEngine({"threads": 2}).capabilities().fingerprint != BuiltinEngine({}).capabilities().fingerprint


@pytest.mark.parametrize("settings", [{"thread": 1}, {"threads": 0}, {"threads": "2"}, {"threads": True}])
def test_settings_that_do_not_exist_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(PermanentFault, match="threads"):
        BuiltinEngine(settings)
