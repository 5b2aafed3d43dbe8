"""A recording that can be read at any time, whatever ends its writer."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile

from voicebox_player.turn import Samples
from voicebox_player.wave_file import WaveFile

RATE = 48_000
SOUND = np.linspace(-1, 1, 480, dtype=np.float32)


def read(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.asarray(samples, np.float32)


def test_it_is_whole_after_every_block(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    file = WaveFile(str(path), RATE)
    assert len(read(path)) == 0
    assert soundfile.info(path).subtype == "FLOAT"
    file.append(SOUND.tobytes())
    assert np.array_equal(read(path), SOUND)
    file.silence(1000)
    file.append(SOUND.data)
    assert np.array_equal(read(path), np.concatenate([SOUND, np.zeros(1000, np.float32), SOUND]))
    assert file.frames == 1960
    file.close()


def test_what_was_written_and_not_counted_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    file = WaveFile(str(path), RATE)
    file.append(SOUND.tobytes())
    file.append(SOUND.tobytes())
    file.close()
    with path.open("ab") as torn:
        torn.write(b"\1\2\3")
    again = WaveFile(str(path), RATE, 500)
    assert again.frames == 500
    again.append(SOUND.tobytes())
    again.close()
    assert np.array_equal(read(path), np.concatenate([SOUND, SOUND[:20], SOUND]))


def test_more_than_there_is_cannot_be_kept(tmp_path: Path) -> None:
    file = WaveFile(str(tmp_path / "heard.wav"), RATE, 500)
    assert file.frames == 0
    file.close()


def test_one_that_outgrows_its_sizes_says_the_most_that_it_can(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    file = WaveFile(str(path), RATE)
    file.silence(2**30 + 9)
    file.close()
    with path.open("rb") as written:
        header = written.read(58)
    assert struct.unpack_from("<I", header, 4)[0] <= 2**32 - 1
    assert 2**32 - 100 < struct.unpack_from("<I", header, 54)[0] <= 2**32 - 1
