"""flac, mp3 and opus: what they decode to, against the wav of the same samples; in files, in pipes, whole and broken off.

Decoded here by libsndfile, and by miniaudio's own decoders where a stream says nothing of its length.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniaudio
import numpy as np
import pytest
import soundfile

from tests.unit.client.fake_daemon import RATE, FakeDaemon
from voicebox_client import Voicebox, outputs, targets

WAIT_S = 20.0
ENCODED = ["flac", "mp3", "opus"]
RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]
# What the formats are held to, for what sounds like speech. Measured with the built-in voice at 24 kHz: 22 and 25 dB.
LEAST_SNR_DB = 20.0
LEAST_CORRELATION = 0.99
# An mp3 stream, which nobody can go back to, keeps its padding: an empty frame for the header, and LAME's and the
# decoder's delays of 576 and 529 samples in front; up to two frames more at the end.
DELAY = 1105

Samples = np.ndarray[Any, np.dtype[np.float32]]


def speechlike(rate: int, seconds: float = 3.0) -> Samples:
    """A voice's harmonics, with its pauses, and breath between: what speech codecs are made for."""
    time = np.arange(round(rate * seconds)) / rate
    pitch = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * time)) / rate
    voice = sum(np.sin(pitch * k) / k**1.5 for k in range(1, 16) if 170 * k < rate / 2)
    syllables = np.clip(np.sin(2 * np.pi * 1.5 * time) + 0.4, 0, 1)
    breath = np.random.default_rng(1).normal(0, 0.0005, time.size)
    return (0.2 * voice * syllables + breath).astype("<f4")


def chunks(samples: Samples, rate: int) -> Iterator[tuple[int, bytes]]:
    step = rate // 10
    for start in range(0, samples.size, step):
        yield start, samples[start : start + step].tobytes()


def write(output: outputs.Output, samples: Samples, rate: int, *, whole: bool = True) -> None:
    with output:
        for start, data in chunks(samples, rate):
            output.write(data, sample_rate=rate, start=start)
        if whole:
            output.finish(rate, samples.size)


def piped(kind: str, samples: Samples, rate: int, *, whole: bool = True) -> bytes:
    """What comes out at the other end of a pipe."""
    ours, theirs = os.pipe()
    found: list[bytes] = []

    def read() -> None:
        with os.fdopen(ours, "rb") as file:
            found.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    write(outputs.Output(targets.Target("a pipe", theirs, None), kind), samples, rate, whole=whole)
    reader.join(WAIT_S)
    return found[0]


def decoded(data: bytes) -> tuple[Samples, int]:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return samples, rate


def resampled(samples: Samples, rate: int, new: int) -> Samples:
    import soxr

    return samples if rate == new else soxr.resample(samples, rate, new)


def assert_near(found: Samples, given: Samples) -> None:
    length = min(found.size, given.size)
    error = given[:length] - found[:length]
    snr = 10 * np.log10(np.sum(given[:length] ** 2) / np.sum(error**2))
    assert snr >= LEAST_SNR_DB
    assert np.corrcoef(found[:length], given[:length])[0, 1] >= LEAST_CORRELATION


# --- lossless


@pytest.mark.parametrize("rate", RATES)
def test_flac_is_the_wav_sample_for_sample(tmp_path: Path, rate: int) -> None:
    samples = speechlike(rate)
    for suffix in ("wav", "flac"):
        write(outputs.create(tmp_path / f"x.{suffix}"), samples, rate)
    with wave.open(str(tmp_path / "x.wav")) as file:
        expected = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    found, found_rate = soundfile.read(tmp_path / "x.flac", dtype="int16")
    assert found_rate == rate
    assert np.array_equal(found, expected)
    info = soundfile.info(tmp_path / "x.flac")
    assert (info.frames, info.subtype, info.channels) == (samples.size, "PCM_16", 1)


@pytest.mark.parametrize("whole", [True, False])
def test_flac_in_a_pipe_is_the_wav_as_far_as_it_goes(whole: bool) -> None:
    samples = speechlike(RATE)
    found = miniaudio.decode(
        piped("flac", samples, RATE, whole=whole),
        output_format=miniaudio.SampleFormat.SIGNED16,
        nchannels=1,
        sample_rate=RATE,
    )
    assert np.array_equal(np.array(found.samples), np.frombuffer(piped("pcm", samples, RATE), "<i2"))


# --- lossy


@pytest.mark.parametrize("kind", ["mp3", "opus"])
@pytest.mark.parametrize("rate", RATES)
def test_a_lossy_file_is_near_and_as_long(tmp_path: Path, kind: str, rate: int) -> None:
    samples = speechlike(rate)
    write(outputs.create(tmp_path / f"x.{kind}"), samples, rate)
    found, found_rate = decoded((tmp_path / f"x.{kind}").read_bytes())
    assert found_rate == {("opus", 22_050): 24_000, ("opus", 44_100): 48_000}.get((kind, rate), min(rate, 48_000))
    assert found.size == round(samples.size * found_rate / rate)
    assert_near(found, resampled(samples, rate, found_rate))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("rate", [22_050, 24_000])
def test_opus_in_a_pipe_is_near_and_as_long(rate: int, whole: bool) -> None:
    samples = speechlike(rate)
    found, found_rate = decoded(piped("opus", samples, rate, whole=whole))
    expected = resampled(samples, rate, found_rate)
    assert found.size == expected.size
    assert_near(found, expected)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("rate", "frame"), [(24_000, 576), (48_000, 1152)])
def test_mp3_in_a_pipe_is_near_after_its_padding(rate: int, frame: int, whole: bool) -> None:
    samples = speechlike(rate)
    stream = piped("mp3", samples, rate, whole=whole)
    found, _ = decoded(stream)
    assert samples.size + frame + DELAY <= found.size <= samples.size + 2 * frame + DELAY
    assert_near(found[frame + DELAY :], samples)
    other = miniaudio.decode(stream, output_format=miniaudio.SampleFormat.FLOAT32, nchannels=1, sample_rate=rate)
    assert abs(len(other.samples) - found.size) <= frame


@pytest.mark.parametrize("kind", ENCODED)
def test_what_no_sample_can_be_is_still_encoded(tmp_path: Path, kind: str) -> None:
    samples = np.array([np.nan, np.inf, -np.inf, 7.0, -7.0] * 1000, "<f4")
    write(outputs.create(tmp_path / f"x.{kind}"), samples, RATE)
    found, _ = decoded((tmp_path / f"x.{kind}").read_bytes())
    assert found.size == samples.size
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ENCODED)
def test_no_sound_is_a_file_that_can_be_read(tmp_path: Path, kind: str) -> None:
    with outputs.create(tmp_path / f"x.{kind}") as output:
        output.finish(RATE, 0)
    assert decoded((tmp_path / f"x.{kind}").read_bytes())[0].size == 1


# --- as the sound comes, and never what was taken back


@pytest.mark.parametrize(("kind", "most_s"), [("flac", 0.2), ("mp3", 0.3), ("opus", 0.2)])
def test_sound_leaves_as_soon_as_the_codec_lets_it(kind: str, most_s: float) -> None:
    """An Ogg page of a whole second would hold back the first words of a stream for as long."""
    ours, theirs = os.pipe()
    samples, sizes = speechlike(RATE), []
    with os.fdopen(ours, "rb") as reader:
        os.set_blocking(ours, False)
        with outputs.Output(targets.Target("a pipe", theirs, None), kind) as output:
            for start, data in chunks(samples, RATE):
                output.write(data, sample_rate=RATE, start=start)
                sizes.append(len(reader.read() or b""))
            headers = {"flac": 86, "mp3": 192, "opus": 869}[kind]
            sent = np.cumsum(sizes)
            first = int(np.argmax(sent > headers)) + 1
            gaps = np.diff(np.flatnonzero(sizes))
    assert first * 0.1 <= most_s
    assert gaps.max() * 0.1 <= most_s


@pytest.mark.parametrize("kind", ENCODED)
def test_what_is_taken_back_is_not_in_the_file(tmp_path: Path, kind: str) -> None:
    voice = speechlike(RATE, 1.0)
    kept, void, again = voice[:9600], -voice[9600:19200], voice[9600:]
    with outputs.create(tmp_path / f"x.{kind}", hold=True) as output:
        for start, part, segment in ((0, kept, 0), (9600, void, 1), (9600, again, 1)):
            output.write(part.tobytes(), sample_rate=RATE, start=start, segment=segment)
        output.finish(RATE, voice.size)
    found, _ = decoded((tmp_path / f"x.{kind}").read_bytes())
    assert found.size == voice.size
    assert_near(found, voice)


@pytest.mark.parametrize("kind", ENCODED)
def test_a_tail_beyond_the_end_is_cut(tmp_path: Path, kind: str) -> None:
    voice = speechlike(RATE, 1.0)
    with outputs.create(tmp_path / f"x.{kind}") as output:
        output.write(voice.tobytes(), sample_rate=RATE, start=0)
        output.finish(RATE, 20_000)
    assert decoded((tmp_path / f"x.{kind}").read_bytes())[0].size == 20_000


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("whole", [True, False])
def test_a_redirected_standard_output_gets_its_header_either_way(tmp_path: Path, kind: str, whole: bool) -> None:
    voice = speechlike(RATE, 1.0)
    with (tmp_path / "x").open("wb") as file:
        file.write(b"before")
        file.flush()
        # By segments, the last of which is never heard the end of when it breaks off.
        output = outputs.Output(targets.StandardTarget(file.fileno(), "it"), kind)
        with output:
            output.write(voice[:12_000].tobytes(), sample_rate=RATE, start=0, segment=0)
            output.write(voice[12_000:].tobytes(), sample_rate=RATE, start=12_000, segment=1)
            if whole:
                output.finish(RATE, voice.size)
    found, _ = decoded((tmp_path / "x").read_bytes()[6:])
    assert found.size == (voice.size if whole else 12_000)
    assert_near(found, voice[: found.size])


@pytest.mark.parametrize("kind", ENCODED)
def test_giving_up_leaves_nothing(tmp_path: Path, kind: str) -> None:
    write(outputs.create(tmp_path / f"x.{kind}"), speechlike(RATE, 0.5), RATE, whole=False)
    assert os.listdir(tmp_path) == []


def test_giving_up_waits_for_no_reader() -> None:
    """Ctrl-C while the other end of a full pipe sleeps."""
    ours, theirs = os.pipe()
    with outputs.Output(targets.Target("a pipe", theirs, None), "flac") as output:
        output.write(speechlike(RATE, 0.1).tobytes(), sample_rate=RATE, start=0)
        os.set_blocking(theirs, False)
        try:
            while os.write(theirs, bytes(65_536)):
                pass
        except BlockingIOError:
            os.set_blocking(theirs, True)
        output.abandon()
    os.close(ours)


# --- by the library, and what it costs


@pytest.mark.parametrize("suffix", ["flac", "mp3", "opus", "ogg"])
def test_speech_and_audio_save_them(daemon: FakeDaemon, tmp_path: Path, suffix: str) -> None:
    with Voicebox() as box:
        assert box.say("hello").save(tmp_path / f"a.{suffix}").frames == 4800
        box.say("hello").collect().save(tmp_path / f"b.{suffix}")
    for name in ("a", "b"):
        assert decoded((tmp_path / f"{name}.{suffix}").read_bytes())[0].size == 4800


COUNTING = """
import sys
from voicebox_client import outputs
output = outputs.create(sys.argv[1], hold=True)
assert not {"numpy", "soundfile", "soxr"} & set(sys.modules), "before the first sample"
output.write(bytes(9600), sample_rate=24000, start=0)
output.finish(24000, 2400)
print(*sorted({"numpy", "soundfile", "soxr"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("name", "loaded"),
    [("x.wav", ""), ("x.pcm", ""), ("x.flac", "numpy soundfile"), ("x.opus", "numpy soundfile")],
)
def test_only_what_the_format_needs_is_loaded_and_late(tmp_path: Path, name: str, loaded: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path / name)], capture_output=True, text=True, timeout=WAIT_S
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, loaded), ended.stderr
