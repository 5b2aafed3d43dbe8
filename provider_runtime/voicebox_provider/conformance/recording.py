"""A recording of nobody, for engines that listen: it has a pitch, formants and syllables, as a voice has."""

from __future__ import annotations

import numpy as np

SECONDS = 3
RATE = 24_000

_HERTZ = 130.0
_HARMONICS = 25
_VOWELS = ((700, 1200), (400, 2000), (300, 800), (550, 1700))
_SYLLABLES_A_SECOND = 4
_LOUDNESS = 0.3


def recording() -> bytes:
    """Samples, float32 little-endian mono, the same each time."""
    when = np.arange(SECONDS * RATE) / RATE
    # It falls a little, as a voice does towards the end of a sentence.
    phase = 2 * np.pi * _HERTZ * (when - 0.02 * when**2)
    vowels = [_VOWELS[number % len(_VOWELS)] for number in range(SECONDS * _SYLLABLES_A_SECOND)]
    formants = np.repeat(np.array(vowels, float), RATE // _SYLLABLES_A_SECOND, axis=0)
    sound = np.zeros(len(when))
    for harmonic in range(1, _HARMONICS + 1):
        away = np.abs(harmonic * _HERTZ - formants).min(axis=1)
        sound += np.exp(-away / 150) * np.sin(harmonic * phase)
    syllables = np.abs(np.sin(np.pi * _SYLLABLES_A_SECOND * when))
    return bytes((_LOUDNESS * syllables * sound / np.abs(sound).max()).astype("<f4").data)
