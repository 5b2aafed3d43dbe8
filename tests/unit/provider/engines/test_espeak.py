"""espeak-ng: all its voices, no word lost in silence, equal samples whatever was said before, words marked to the frame."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra `espeak` is not installed")

from voicebox_protocol.capabilities import Voice, speaks
from voicebox_protocol.errors import Unspeakable
from voicebox_protocol.schema import Chunk, SegmentCancelled
from voicebox_provider.engine import Utterance
from voicebox_provider.engines.espeak import EspeakEngine
from voicebox_provider.engines.espeak_library import SAMPLE_RATE, Library
from voicebox_provider.engines.espeak_text import pieces

from ..fake_daemon import provider
from .speech import descriptors, sound_of, speak

SENTENCES = (
    "The harbour was quiet that morning, and the gulls had gone out to search. Hello there! Is it not fine today?"
)
GREETINGS = {
    "de": "Guten Morgen, Welt.",
    "fr": "Bonjour à tous.",
    "ru": "Доброе утро, мир.",
    "el": "Καλημέρα κόσμε.",
    "cmn": "你好，世界。",
    "ja": "おはよう。",
    "ar": "صباح الخير",
    "he": "בוקר טוב",
    "hi": "सुप्रभात",
    "th": "สวัสดี",
    "ko": "안녕하세요",
    "am": "ሰላም",
    "te": "శుభోదయం",
    "my": "မင်္ဂလာပါ",
}


@pytest.fixture(scope="module")
def engine() -> EspeakEngine:
    made = EspeakEngine({})
    made.load(lambda milliseconds, note: None)
    return made


@pytest.fixture(scope="module")
def voices(engine: EspeakEngine) -> dict[str, Voice]:
    return {voice.id: voice for voice in engine.capabilities().voices}


def test_over_a_hundred_languages(voices: dict[str, Voice]) -> None:
    assert len({voice.languages[0].partition("-")[0] for voice in voices.values()}) > 100
    assert [voice.id for voice in voices.values() if voice.default] == ["en-us"]
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in voices)
    assert all(voice.name and voice.languages for voice in voices.values())


@pytest.mark.parametrize(
    ("voice", "languages"),
    [
        ("en-us", ["en-US"]),
        ("en-gb", ["en-GB", "en"]),
        ("en-gb-scotland", ["en-GB-scotland"]),
        ("fr", ["fr-FR", "fr"]),
        ("fr-be", ["fr-BE"]),
        ("ca-va", ["ca-valencia"]),
        ("fa-latn", ["fa-Latn"]),
        ("vi-vn-x-central", ["vi-VN-x-central"]),
    ],
)
def test_languages_are_bcp_47(voices: dict[str, Voice], voice: str, languages: list[str]) -> None:
    assert voices[voice].languages == languages


def test_a_country_s_english_is_not_the_default_voice_s(voices: dict[str, Voice]) -> None:
    assert not speaks(voices["en-us"].languages, "en-GB")
    assert speaks(voices["en-gb"].languages, "en-AU")


def test_every_voice_speaks(engine: EspeakEngine, voices: dict[str, Voice]) -> None:
    for name in voices:
        assert len(sound_of(engine, "a m a", voice=name)) > SAMPLE_RATE // 5, name


@pytest.mark.parametrize("voice", ["sjn", "chr", "cv"])
def test_numbers_that_a_language_has_no_words_for_are_named(engine: EspeakEngine, voice: str) -> None:
    with pytest.raises(Unspeakable, match="“12”"):
        sound_of(engine, "mama 12", voice=voice)


@pytest.mark.parametrize("voice", GREETINGS)
def test_a_language_s_own_script_is_read(engine: EspeakEngine, voice: str) -> None:
    sound, marks = speak(engine, GREETINGS[voice], voice=voice)
    assert len(sound) > SAMPLE_RATE // 3
    assert marks


@pytest.mark.parametrize(
    ("voice", "text", "words"),
    [
        ("en-us", "Say 日本 now, привет.", ["日本", "привет"]),
        ("ru", "привет שלום", ["שלום"]),
        ("ja", "おはよう日本", ["おはよう日本"]),
    ],
)
def test_words_that_it_would_only_spell_are_named(
    engine: EspeakEngine, voice: str, text: str, words: list[str]
) -> None:
    with pytest.raises(Unspeakable) as caught:
        sound_of(engine, text, voice=voice)
    assert all(word in str(caught.value) for word in words)


def test_emoji_do_no_harm(engine: EspeakEngine) -> None:
    sound, marks = speak(engine, "Hi 😀 there 👩‍👩‍👧 end", voice="en-us")
    assert len(sound) > SAMPLE_RATE
    assert [mark.char_start for mark in marks] == [0, 5, 17]


@pytest.mark.parametrize("text", ["<b>bold</b> words", "[[h@loU]] words", "a\0b words", "&amp; {words} words"])
def test_markup_is_read_and_not_obeyed(engine: EspeakEngine, text: str) -> None:
    _, marks = speak(engine, text, voice="en-us")
    spoken = [text[mark.char_start : mark.char_end] for mark in marks]
    assert set(re.findall(r"[a-z]+|amp", text)) - {"h", "loU"} <= set(re.findall(r"[a-z]+", " ".join(spoken)))


@pytest.mark.parametrize(
    ("voice", "unit"),
    [("en-us", "ab"), ("en-us", "W"), ("en-us", "é"), ("en-us", "7"), ("th", "ก"), ("hi", "क"), ("ja", "あ")],
)
def test_overlong_words_are_read_to_their_end(engine: EspeakEngine, voice: str, unit: str) -> None:
    """espeak alone stops after 160 bytes, 200 phonemes or 32 digits of a word."""
    half, whole = (len(sound_of(engine, unit * (count // len(unit)), voice=voice)) for count in (200, 400))
    assert whole == pytest.approx(2 * half, rel=0.05)


@pytest.mark.parametrize("words", ["123456789 ", "77777 ", "word "])
def test_overlong_clauses_are_read_to_their_end(engine: EspeakEngine, words: str) -> None:
    """espeak alone stops after 1,000 phonemes of a clause."""
    few, many = (len(sound_of(engine, words * (count // len(words)), voice="en-us")) for count in (100, 400))
    assert many == pytest.approx(4 * few, rel=0.05)


@pytest.mark.parametrize("text", [SENTENCES, "Dr. Smith e.g. paid $9.99 on 5/6. And so on.", "z" * 300, "a\0b", ""])
def test_pieces_hold_the_whole_text(text: str) -> None:
    found = list(pieces(text))
    places = [
        place for piece in found for place, letter in zip(piece.places, piece.text, strict=True) if letter.strip()
    ]
    assert places == [index for index, letter in enumerate(text.replace("\0", " ")) if letter.strip()]


def test_sentence_by_sentence_it_sounds_as_at_once(engine: EspeakEngine) -> None:
    assert len(list(pieces(SENTENCES))) == 3
    with Library(lambda: False) as library:
        library.voice("gmw/en-US")
        at_once, _ = library.speak(SENTENCES, pause=True)
    parts = sound_of(engine, SENTENCES, voice="en-us")
    assert np.array_equal((parts * 32768).astype(np.int16), np.frombuffer(at_once, np.int16))


def test_equal_texts_give_equal_samples_whatever_came_between(engine: EspeakEngine) -> None:
    first = sound_of(engine, SENTENCES, voice="en-us", seed=1)
    for voice in ("de", "ru", "vi", "en-us"):
        sound_of(engine, "1 2 3 and so on.", voice=voice, speed=1.7, pitch=0.7)
        interrupted = engine.synthesize(Utterance(text=SENTENCES, voice=voice if voice != "ru" else "fr"))
        next(interrupted)
        interrupted.close()  # type: ignore[attr-defined]
        assert np.array_equal(first, sound_of(engine, SENTENCES, voice="en-us", seed=2))


def test_marks_lie_on_words_in_order_and_within_the_sound(engine: EspeakEngine) -> None:
    sound, marks = speak(engine, SENTENCES, voice="en-us")
    assert [SENTENCES[mark.char_start : mark.char_end] for mark in marks] == re.findall(r"\w+", SENTENCES)
    assert all(one.frame < other.frame and one.char_end <= other.char_start for one, other in pairwise(marks))
    assert marks[0].frame == 0
    assert marks[-1].frame < len(sound)


def test_a_marked_word_begins_where_it_is_heard(engine: EspeakEngine) -> None:
    """Between two sentences there is silence: the word's mark stands at the end of it."""
    sound, marks = speak(engine, "The harbour. Quiet.", voice="en-us")
    quiet = marks[2]
    assert float(np.abs(sound[quiet.frame - 2000 : quiet.frame - 200]).max()) < 0.01
    assert float(np.abs(sound[quiet.frame : quiet.frame + 2500]).max()) > 0.05


@pytest.mark.parametrize("speed", [0.46, 0.7, 1.4, 2.57])
def test_speed_changes_the_length(engine: EspeakEngine, speed: float) -> None:
    plain = len(sound_of(engine, SENTENCES, voice="en-us"))
    sound, marks = speak(engine, SENTENCES, voice="en-us", speed=speed)
    assert plain / len(sound) == pytest.approx(speed, rel=0.2)
    assert marks[-1].frame < len(sound)


@pytest.mark.parametrize("volume", [0.0, 0.25, 0.5])
def test_volume_scales(engine: EspeakEngine, volume: float) -> None:
    loud, soft = (sound_of(engine, SENTENCES, voice="en-us", volume=factor) for factor in (1.0, volume))
    assert float(soft.std()) == pytest.approx(volume * float(loud.std()), rel=0.1)


@pytest.mark.parametrize("pitch", [0.6, 0.8, 1.4, 1.8])
def test_pitch_changes_the_voice_s_frequency(engine: EspeakEngine, pitch: float) -> None:
    plain, other = (_hertz(sound_of(engine, SENTENCES, voice="en-us", pitch=factor)) for factor in (1.0, pitch))
    assert other / plain == pytest.approx(pitch, rel=0.12)


def _hertz(sound: np.ndarray) -> float:  # type: ignore[type-arg]
    found = []
    for start in range(0, len(sound) - 2048, 1024):
        window = sound[start : start + 2048]
        if float(window.std()) > 0.05:
            likeness = np.correlate(window, window, "full")[2047:]
            found.append(SAMPLE_RATE / (60 + int(np.argmax(likeness[60:450]))))
    return float(np.median(found))


def test_cancelling_stops_it_within_a_sentence(engine: EspeakEngine) -> None:
    text = "one two three four five six seven eight nine ten " * 5
    asked = iter([False] * 3)
    began = time.process_time()
    stopped = sound_of(engine, text, voice="en-us", cancelled=lambda: next(asked, True))
    halfway = time.process_time()
    assert len(stopped) == 0
    assert len(sound_of(engine, text, voice="en-us")) > 10 * SAMPLE_RATE
    assert halfway - began < time.process_time() - halfway


def test_twenty_sentences_leave_no_descriptor_open(engine: EspeakEngine) -> None:
    sound_of(engine, SENTENCES, voice="en-us")
    before = descriptors()
    for number in range(20):
        sound_of(engine, f"This is sentence {number}.", voice="en-us")
    assert descriptors() == before


def test_the_provider_sends_marks_at_the_request_s_rate(short_dir: str) -> None:
    with provider(short_dir, "espeak") as peer:
        peer.load()
        own = peer.speak(SENTENCES, voice="en-us", sample_rate=SAMPLE_RATE)
        other = peer.speak(SENTENCES, voice="en-us", sample_rate=2 * SAMPLE_RATE)
        marks = [mark for chunk, _ in own.chunks for mark in chunk.marks or []]
        assert [2 * mark["frame"] for mark in marks] == [
            m["frame"] for chunk, _ in other.chunks for m in chunk.marks or []
        ]
        assert [SENTENCES[mark["char_start"] : mark["char_end"]] for mark in marks] == re.findall(r"\w+", SENTENCES)
        rest = peer.speak(SENTENCES, voice="en-us", sample_rate=SAMPLE_RATE, from_frame=50_000, attempt=2)
        assert np.array_equal(rest.samples(), own.samples()[50_000:])
        assert [m for chunk, _ in rest.chunks for m in chunk.marks or []] == [m for m in marks if m["frame"] >= 50_000]
        assert peer.leave() == 0


def test_the_provider_hears_a_cancel(short_dir: str) -> None:
    with provider(short_dir, "espeak") as peer:
        peer.load()
        began = time.monotonic()
        for number in range(20):
            peer.ask("one two three four five six seven eight nine ten " * 8, voice="en-us", req=f"r{number}")
            peer.cancel(f"r{number}")
        ends = [peer.answer().end for _ in range(20)]
        assert any(isinstance(end, SegmentCancelled) for end in ends)
        assert time.monotonic() - began < 30
        peer.ask("hello", voice="en-us", req="last")
        assert peer.expect(Chunk).req == "last"
