"""Every format holds what was spoken, as a file and as a stream, and the answer says to the frame how much that is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniaudio
import numpy as np
import pytest
import soundfile

from tests.integration.daemon import Daemon, running
from tests.integration.wire_client import Ending, WireClient
from voicebox_client import formats

TEXT = "The tide was out, and the harbour lay quiet. Nobody expected the gulls to be gone. Had they ever been there?"
SEED = 7
LOSSLESS, LOSSY = ("wav", "flac", "pcm"), ("mp3", "opus")
# docs/client.md promises these.
LEAST_SNR_DB = 20.0
LEAST_CORRELATION = 0.99
# An mp3 stream keeps its padding: so much in front, at 24 kHz, and up to two frames at the end.
MP3_FRONT, MP3_FRAME = 1681, 576

Samples = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def spoken(daemon: Daemon) -> Ending:
    """What the daemon sends for the text."""
    with WireClient(daemon.place) as client:
        ending = client.speak(TEXT, seed=SEED)
    assert ending.end["kind"] == "Done"
    return ending


@pytest.fixture(scope="module")
def whole(spoken: Ending) -> Samples:
    """Its samples as 16-bit numbers."""
    return np.round(np.frombuffer(spoken.samples, "<f4").astype(float) * 32767).astype("<i2")


def said(daemon: Daemon, kind: str, file: Path | None) -> tuple[bytes, dict[str, Any]]:
    """The sound in one format, from a file or from standard output, and what `--json` says of it."""
    target = ["-o", str(file)] if file else ["-o", "-", "--format", kind]
    command = [sys.executable, "-m", "voicebox_cli", "say", TEXT, "--seed", str(SEED), "--json", *target]
    done = subprocess.run(
        command, env=daemon.place.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return (file.read_bytes(), json.loads(done.stdout)) if file else (done.stdout, json.loads(done.stderr))


def decoded(data: bytes, kind: str) -> Samples:
    """16-bit samples of a lossless format, floats of a lossy one."""
    if kind == "pcm":
        return np.frombuffer(data, "<i2")
    if kind == "wav":
        with wave.open(io.BytesIO(data)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    if kind == "flac":  # libsndfile wants a length, which the header of a stream does not have
        found = miniaudio.decode(data, nchannels=1, sample_rate=24_000)
        return np.array(found.samples, "<i2")
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 24_000
    return np.asarray(samples)


def test_these_are_all_formats() -> None:
    assert {*LOSSLESS, *LOSSY} == set(formats.FORMATS)


@pytest.mark.parametrize("streamed", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_format_holds_the_very_samples(
    daemon: Daemon, spoken: Ending, whole: Samples, tmp_path: Path, kind: str, streamed: bool
) -> None:
    data, answer = said(daemon, kind, None if streamed else tmp_path / f"x.{kind}")
    assert np.array_equal(decoded(data, kind), whole)
    assert_exact(answer, spoken)


@pytest.mark.parametrize("streamed", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_format_is_as_near_as_the_page_says(
    daemon: Daemon, spoken: Ending, whole: Samples, tmp_path: Path, kind: str, streamed: bool
) -> None:
    data, answer = said(daemon, kind, None if streamed else tmp_path / f"x.{kind}")
    found, given = decoded(data, kind), whole / np.float32(32767)
    if kind == "mp3" and streamed:
        assert whole.size + MP3_FRONT <= found.size <= whole.size + MP3_FRONT + 2 * MP3_FRAME
        found = found[MP3_FRONT : MP3_FRONT + whole.size]
    assert found.size == whole.size
    snr = 10 * np.log10(np.sum(given**2) / np.sum((given - found) ** 2))
    assert snr >= LEAST_SNR_DB
    assert np.corrcoef(found, given)[0, 1] >= LEAST_CORRELATION
    assert_exact(answer, spoken)


def assert_exact(answer: dict[str, Any], spoken: Ending) -> None:
    """Durations are those of the samples, to the frame: on the wire and at the command line."""
    frames, rate = len(spoken.samples) // 4, spoken.end["sample_rate"]
    assert (spoken.end["frames"], rate) == (frames, 24_000)
    assert (answer["frames"], answer["sample_rate"]) == (frames, rate)
    assert answer["duration_s"] == round(frames / rate, 6)
