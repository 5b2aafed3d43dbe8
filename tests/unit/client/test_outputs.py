"""Sound files: the bytes, and that a file is either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_daemon import RATE, FakeDaemon, tone
from voicebox_client import Voicebox, encoders, formats, outputs, targets
from voicebox_protocol.errors import BadFormat, OutputFailed

WAIT_S = 20.0
QUARTER = round(0.25 * 32767)


def write(output: outputs.Output, *pieces: tuple[int, bytes], frames: int, segments: tuple[int, ...] = ()) -> None:
    with output:
        for index, (start, data) in enumerate(pieces):
            segment = segments[index] if segments else 0
            output.write(data, sample_rate=RATE, start=start, segment=segment)
        output.finish(RATE, frames)


def read_wav(path: Path | io.BytesIO) -> list[int]:
    with wave.open(path if isinstance(path, io.BytesIO) else str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return list(array("h", file.readframes(file.getnframes())))


@pytest.fixture(params=["nameless", "named"])
def beside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to write beside: without a name (Linux), and as `.voicebox-*.part`."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@given(levels=st.lists(st.floats(-1, 1, width=32), max_size=50))
def test_wave_reads_what_was_written(tmp_path_factory: pytest.TempPathFactory, levels: list[float]) -> None:
    path = tmp_path_factory.mktemp("wav") / "x.wav"
    data = array("f", levels)
    write(outputs.create(path), (0, data.tobytes()), frames=len(data))
    assert read_wav(path) == [round(level * 32767) for level in data]
    assert path.read_bytes()[20:22] == b"\x01\x00"


def test_pcm_is_the_bare_samples(tmp_path: Path) -> None:
    write(outputs.create(tmp_path / "x.pcm"), (0, tone(3)), frames=3)
    assert (tmp_path / "x.pcm").read_bytes() == array("h", [QUARTER] * 3).tobytes()


def test_no_sound_is_a_whole_file_too(tmp_path: Path) -> None:
    write(outputs.create(tmp_path / "x.wav"), frames=0)
    assert read_wav(tmp_path / "x.wav") == []


@pytest.mark.parametrize("suffix", ["wav", "pcm"])
def test_what_is_taken_back_is_not_in_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    write(outputs.create(path), (0, tone(100, 0.1)), (100, tone(200, 0.2)), (100, tone(50, 0.25)), frames=150)
    samples = read_wav(path) if suffix == "wav" else list(array("h", path.read_bytes()))
    assert samples == [round(array("f", [0.1])[0] * 32767)] * 100 + [QUARTER] * 50


def test_a_tail_beyond_the_end_is_cut(tmp_path: Path) -> None:
    write(outputs.create(tmp_path / "x.wav"), (0, tone(100)), frames=60)
    assert len(read_wav(tmp_path / "x.wav")) == 60


@pytest.mark.usefixtures("beside")
def test_the_file_is_seen_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"old")
    output = outputs.create(path)
    output.write(tone(10), sample_rate=RATE, start=0)
    assert path.read_bytes() == b"old"
    output.finish(RATE, 10)
    assert len(read_wav(path)) == 10
    assert os.listdir(tmp_path) == ["x.wav"]


@pytest.mark.usefixtures("beside")
def test_giving_up_leaves_all_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with outputs.create(path) as output:
        output.write(tone(10), sample_rate=RATE, start=0)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("beside")
def test_a_links_target_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.wav", tmp_path / "link.wav"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(outputs.create(link), (0, tone(10)), frames=10)
    assert link.is_symlink()
    assert len(read_wav(target)) == 10


def test_a_dangling_link_gets_its_target(tmp_path: Path) -> None:
    link = tmp_path / "link.wav"
    link.symlink_to(tmp_path / "target.wav")
    write(outputs.create(link), (0, tone(10)), frames=10)
    assert link.is_symlink()
    assert len(read_wav(tmp_path / "target.wav")) == 10


@pytest.mark.usefixtures("beside")
def test_a_new_files_mode_follows_the_umask_and_an_old_ones_is_kept(tmp_path: Path) -> None:
    new, old = tmp_path / "new.wav", tmp_path / "old.wav"
    old.touch()
    old.chmod(0o604)
    before = os.umask(0o027)
    try:
        write(outputs.create(new), frames=0)
        write(outputs.create(old), frames=0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/x.wav", "No such file or directory"),
        ("", "it is a directory"),
        ("sub/", "it is a directory"),
        ("file/x.wav", "Not a directory"),
        ("loop.wav", "symbolic links"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    place = f"{tmp_path}/{name}"
    with pytest.raises(OutputFailed, match=reason) as raised:
        outputs.create(place, "wav")
    assert place in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "loop.wav"]


def test_an_empty_name_is_said_to_be_one() -> None:
    with pytest.raises(OutputFailed, match="the name is empty"):
        outputs.create("")


def test_a_read_only_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.wav").touch()
    # Root may write everything, and tests run as root: the answer is given for it.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputFailed, match="it is read-only"):
        outputs.create(tmp_path / "x.wav")


def test_a_full_device_is_a_failure() -> None:
    with outputs.create("/dev/full", "pcm") as output, pytest.raises(OutputFailed, match="No space left"):
        output.write(tone(10), sample_rate=RATE, start=0)


@pytest.mark.usefixtures("beside")
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = outputs.create(tmp_path / "x.wav")

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(targets.os, "write", full)
    with pytest.raises(OutputFailed, match=r"x\.wav: No space left"), output:
        output.write(tone(10), sample_rate=RATE, start=0)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


@contextlib.contextmanager
def reader_of(path: Path) -> Iterator[list[bytes]]:
    """What another process would read from a FIFO, complete after the block."""
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(path.read_bytes()))
    thread.start()
    yield found
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_fifo_is_written_as_the_sound_comes(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    with reader_of(fifo) as found:
        write(outputs.create(fifo), (0, tone(10)), (10, tone(5)), frames=15)
    assert read_wav(io.BytesIO(found[0])) == [QUARTER] * 15
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_pipe_gets_a_segment_only_once_it_stands(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    with reader_of(fifo) as found:
        write(
            outputs.create(fifo, "pcm", hold=True),
            (0, tone(10, 0.1)),
            (10, tone(10, 0.2)),
            (10, tone(4, 0.25)),
            frames=14,
            segments=(0, 1, 1),
        )
    assert list(array("h", found[0])) == [round(array("f", [0.1])[0] * 32767)] * 10 + [QUARTER] * 4


def test_a_redirected_standard_output_gets_its_sizes(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.write(b"before")
        file.flush()
        write(outputs.Output(targets.StandardTarget(file.fileno(), "it"), "wav"), (0, tone(10)), frames=10)
        assert not file.closed
    data = (tmp_path / "x").read_bytes()
    assert data[:6] == b"before"
    assert read_wav(io.BytesIO(data[6:])) == [QUARTER] * 10


def test_an_appending_standard_output_is_only_appended_to(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before")
    with (tmp_path / "x").open("ab") as file:
        write(outputs.Output(targets.StandardTarget(file.fileno(), "it"), "wav"), (0, tone(10)), frames=10)
    assert read_wav(io.BytesIO((tmp_path / "x").read_bytes()[6:])) == [QUARTER] * 10


def test_a_non_blocking_pipe_is_waited_for() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    size = 200_000
    found: list[int] = []

    def read() -> None:
        with open(ours, "rb") as file:
            found.append(len(file.read()))

    thread = threading.Thread(target=read)
    write_to = outputs.Output(targets.StandardTarget(theirs, "it"), "pcm")
    thread.start()
    write(write_to, (0, tone(size)), frames=size)
    os.close(theirs)
    thread.join(WAIT_S)
    assert found == [2 * size]


@pytest.mark.parametrize(
    ("path", "wanted", "chosen"),
    [
        ("x.wav", None, "wav"),
        ("x.PCM", None, "pcm"),
        ("x", None, "wav"),
        ("x.wav", "pcm", "pcm"),
        ("x.mp3", "wav", "wav"),
        ("x.flac", None, "flac"),
        ("x.mp3", None, "mp3"),
        ("x.opus", None, "opus"),
        ("x.OGG", None, "opus"),
        ("x.wav", "opus", "opus"),
        ("", "flac", "flac"),
        ("x.mp5", "mp3", "mp3"),
        ("/dev/null", None, "wav"),
    ],
)
def test_the_format_is_asked_for_or_the_suffix(path: str, wanted: str | None, chosen: str) -> None:
    assert formats.format_for(path, wanted) == chosen


@pytest.mark.parametrize(("path", "wanted", "named"), [("x.mp5", None, ".mp5"), ("x.wav", "ogg", "'ogg'")])
def test_an_unknown_format_is_named_with_those_there_are(path: str, wanted: str | None, named: str) -> None:
    with pytest.raises(BadFormat, match="wav, flac, mp3, opus, pcm") as raised:
        formats.format_for(path, wanted)
    assert named in str(raised.value)


def test_sizes_beyond_what_a_header_can_say_stay_unknown() -> None:
    assert encoders.wav_header(RATE, 2**33) == encoders.wav_header(RATE, None)


def test_a_write_error_cancels_the_request(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        with pytest.raises(OutputFailed):
            box.say(iter(["endless"]), on_failure="segment").save("/dev/full")
        daemon.wait_for("Say")


def test_collected_sound_saves_as_the_stream_does(daemon: FakeDaemon, tmp_path: Path) -> None:
    with Voicebox() as box:
        audio = box.say("hello").collect()
        audio.save(tmp_path / "a.wav")
        assert box.say("hello").save(tmp_path / "b.wav").frames == 4800
    assert audio.duration_s == 0.2
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


KILLED = """
import os, signal, sys
from voicebox_client import outputs
output = outputs.create(sys.argv[1])
output.write(bytes(4000), sample_rate=24000, start=0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="only Linux writes files without a name")
def test_a_killed_writer_leaves_nothing_at_all(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x.wav")], timeout=WAIT_S)
    assert ended.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == []
