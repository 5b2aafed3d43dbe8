"""What all engines are asked in the same words."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from voicebox_provider.engine import Engine, Mark, Utterance

Floats = npt.NDArray[np.float32]


def speak(engine: Engine, text: str, **wishes: Any) -> tuple[Floats, list[Mark]]:
    """The whole sound of a segment, and its marks."""
    arrays: list[Floats] = [np.zeros(0, np.float32)]
    found: list[Mark] = []
    for sound in engine.synthesize(Utterance(text=text, **wishes)):
        samples, marks = sound if isinstance(sound, tuple) else (sound, ())
        arrays.append(samples)
        found += marks
    return np.concatenate(arrays), found


def sound_of(engine: Engine, text: str, **wishes: Any) -> Floats:
    return speak(engine, text, **wishes)[0]


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
