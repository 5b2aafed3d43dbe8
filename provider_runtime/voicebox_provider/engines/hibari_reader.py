"""From text to hibari's phonemes without losing a word.

hibari 0.2.1 drops or bends what it cannot read, in silence. What that is, found by trying: markup `[text](x)` loses x;
an unknown word ends after 24 letters; letters outside its alphabet vanish; a number or accented letter that the tagger takes
for punctuation vanishes; a number of more than 36 digits raises IndexError. Here each is read, or named in `Unspeakable`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from hibari.g2p import ASSETS, G2P, PUNCT_TAGS, SUBTOKEN_RE
from hibari.g2p.oov import OOV

from voicebox_protocol.errors import Unspeakable
from voicebox_provider.speakable import quoted, speakable

MAX_PHONEMES = 400
"""Longest run of phonemes that the model is given at once: 1,000 would take 240 MB, and keep it."""

_DIGITS_AS_NUMBER = 36
_LONG_NUMBER = re.compile(rf"(?:\d,?){{{_DIGITS_AS_NUMBER},}}\d")
_WORDLESS_LETTERS = ("Lm",)  # apostrophe-like, as in Hawaiʻi


def tidied(text: str) -> str:
    """The text as hibari should see it: composed letters, no markup, very long numbers digit by digit in threes."""
    text = unicodedata.normalize("NFC", text).replace("](", "] (")
    return _LONG_NUMBER.sub(_spelled, text)


def runs(phonemes: str) -> Iterator[str]:
    """A sentence's phonemes cut at spaces, so that no run is longer than `MAX_PHONEMES`."""
    while len(phonemes) > MAX_PHONEMES:
        cut = phonemes.rfind(" ", 1, MAX_PHONEMES) + 1 or MAX_PHONEMES
        yield phonemes[:cut].rstrip()
        phonemes = phonemes[cut:]
    yield phonemes


class Reader:
    """Owns one accent's dictionaries and the record of words that found no sound. Call it as hibari calls its G2P."""

    def __init__(self, *, british: bool) -> None:
        self._lost: list[str] = []
        self._g2p = _WholeG2P(british=british, lost=self._lost)

    def __call__(self, sentence: str) -> str:
        """One sentence to phonemes."""
        phonemes: str = self._g2p(sentence)
        return phonemes

    def check(self) -> None:
        """Raise `Unspeakable` for the words that were lost since the last time."""
        lost, self._lost[:] = tuple(self._lost), ()
        if lost:
            raise Unspeakable(f"this voice cannot read {quoted(lost)}")


class _WholeG2P(G2P):  # type: ignore[misc]
    """hibari's G2P, made to notice what it skips. Every token that ends without a sound is added to `lost`."""

    def __init__(self, *, british: bool, lost: list[str]) -> None:
        super().__init__(oov=_UnknownWords(british=british, lost=lost), british=british)
        self._lost = lost

    def tokenize(self, text: str) -> list[Any]:
        tokens: list[Any] = super().tokenize(text)
        for token in tokens:
            if token.tag in PUNCT_TAGS and _vanishes(token.text):
                token.tag = "CD" if any(map(_is_digit, token.text)) else "NN"
        return tokens

    def phonemize_tokens(self, tokens: list[Any]) -> list[Any]:
        spoken: list[Any] = super().phonemize_tokens(tokens)
        for token in spoken:
            if _has_words(token.text) and not speakable(token.phonemes or ""):
                self._lost.append(token.text)
        return spoken


class _UnknownWords:
    """hibari's net for words that no dictionary has, called for one word at a time and never cut short."""

    def __init__(self, *, british: bool, lost: list[str]) -> None:
        self._net = OOV(f"{ASSETS}/oov_gb.onnx" if british else f"{ASSETS}/oov.onnx")
        self._lost = lost

    def __call__(self, word: str) -> str | None:
        plain = unicodedata.normalize("NFKC", word)
        if not all(map(self._reads, plain)):
            self._lost.append(word)
        return "".join(self._net(part) or "" for part in self._parts(plain)) or None

    def _reads(self, letter: str) -> bool:
        """Other scripts' letters are in the net's alphabet too, but what it makes of them is no speech."""
        if not letter.isalnum() or unicodedata.category(letter) in _WORDLESS_LETTERS:
            return True
        return letter in self._net.cin and unicodedata.name(letter, "").startswith("LATIN")

    def _parts(self, word: str) -> list[str]:
        """Equal parts, none longer than the net reads."""
        count = -(-len(word) // self._net.maxlen) or 1
        length = -(-len(word) // count)
        return [word[start : start + length] for start in range(0, len(word), length)]


def _vanishes(text: str) -> bool:
    """Whether hibari would drop part of a token that it takes for punctuation: it keeps parts of plain a to z, as in US$."""
    return any(speakable(part) and not (part.isascii() and part.isalpha()) for part in SUBTOKEN_RE.findall(text))


def _is_digit(letter: str) -> bool:
    """Digits that are no decimal ones, as Ethiopic's, hibari cannot turn into a number."""
    return unicodedata.normalize("NFKC", letter).isdecimal()


def _has_words(text: str) -> bool:
    return any(letter.isalnum() and unicodedata.category(letter) not in _WORDLESS_LETTERS for letter in text)


def _spelled(number: re.Match[str]) -> str:
    digits = number.group().replace(",", "")
    threes = (" ".join(digits[start : start + 3]) for start in range(0, len(digits), 3))
    return f" {', '.join(threes)} "
