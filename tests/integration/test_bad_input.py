"""Everything that bad input can be, at the command line: a clear error, nothing lost, nobody else disturbed."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.daemon import Daemon, Place, eventually, running
from tests.integration.wire_client import WireClient

NO_WORDS = ["", "   ", "...!?", "🎉🎉", "\n\n\t"]
NOBODY = 65534
MIXED = ["This is привет.", "Hello 你好.", "שלום there."]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.wav"


def say(daemon: Daemon, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return daemon.place.voicebox("say", *arguments, **options)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error in words: one line on standard error, and never a traceback."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("voicebox: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize("text", NO_WORDS)
def test_nothing_to_say(shared: Daemon, output: Path, text: str) -> None:
    done = say(shared, "-o", str(output), "--", text)
    assert done.returncode == 1
    assert "letter" in one_line(done)
    assert not output.exists()


@pytest.mark.parametrize("text", MIXED)
def test_words_that_the_voice_cannot_read_are_named(shared: Daemon, output: Path, text: str) -> None:
    done = say(shared, text, "-o", str(output))
    assert done.returncode == 1
    assert next(word.strip(".") for word in text.split() if not word.isascii()) in one_line(done)
    assert not output.exists()


@pytest.mark.parametrize("text", ["a" * 5000, "word and " * 555, "1" * 1500])
def test_text_without_any_stop_is_spoken_whole_in_bounded_memory(daemon: Daemon, output: Path, text: str) -> None:
    done = say(daemon, text, "-o", str(output), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["delivered_chars"] == len(text)
    providers = daemon.place.providers()
    assert providers
    assert all(provider.memory_info().rss < 500 * 2**20 for provider in providers)
    assert psutil.Process(daemon.pid).memory_info().rss < 150 * 2**20


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-v", "hart"], 4, "heart"),
        (["-l", "xx"], 2, "en-US"),
        (["--provider", "bulitin"], 4, "builtin"),
        (["--format", "mp5"], 2, "wav"),
        (["-O", "temprature=1"], 2, "temprature"),
        (["-O", "novalue"], 2, "KEY=VALUE"),
        (["--speed", "0"], 2, "speed"),
        (["--speed", "-1"], 2, "speed"),
        (["--speed", "10"], 2, "speed"),
        (["--speed", "nan"], 2, "speed"),
        (["--speed", "inf"], 2, "speed"),
        (["--speed", "fast"], 2, "speed"),
        (["--rate", "7"], 2, "rate"),
        (["--priority", "urgent"], 2, "important"),
        (["--deadline", "0.000001"], 6, "deadline"),
    ],
)
def test_wrong_options(shared: Daemon, output: Path, arguments: list[str], code: int, says: str) -> None:
    done = say(shared, "Hello.", "-o", str(output), *arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()


def test_an_unknown_option_names_the_nearest(shared: Daemon) -> None:
    done = say(shared, "Hello.", "--sped", "1")
    assert done.returncode == 2
    assert "--speed" in done.stderr


@pytest.fixture(scope="module")
def warm() -> Iterator[Daemon]:
    """A daemon whose provider has an option."""
    schema = '{ type = "object", properties = { warmth = { type = "number", maximum = 1 } } }'
    fake = f'[provider.fake]\nengine = "voicebox_provider.testing:FakeEngine"\nsettings = {{ options = {schema} }}\n'
    with running(fake) as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("warmht=1", "did you mean 'warmth'?"),
        ("warmth=2", "warmth: 2 is greater than the maximum of 1"),
        ("warmth=hot", "warmth: 'hot' is not of type 'number'"),
        ("warmth=NaN", "NaN"),
    ],
)
def test_a_wrong_option_of_the_engine(warm: Daemon, output: Path, option: str, says: str) -> None:
    done = say(warm, "Hello.", "-o", str(output), "--provider", "fake", "-O", option)
    assert done.returncode == 2
    assert says in one_line(done)
    assert not output.exists()


def test_standard_input_that_is_no_utf8(shared: Daemon, output: Path) -> None:
    process = shared.place.popen(
        sys.executable,
        "-m",
        "voicebox_cli",
        "say",
        "-",
        "-o",
        str(output),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.buffer.write(b"Good text. Then \xff\xfe.")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "byte 16" in errors
    assert not output.exists()


def test_two_megabytes_in_one_request_are_too_long_and_fine_as_a_stream(daemon: Daemon, tmp_path: Path) -> None:
    with WireClient(daemon.place) as client:
        assert client.speak("word " * 400_000).end["code"] == "TEXT_TOO_LONG"
    book = tmp_path / "book.txt"
    book.write_text("Hello there. " * 160_000)
    process = daemon.place.popen(
        sys.executable,
        "-m",
        "voicebox_cli",
        "say",
        "-f",
        str(book),
        "-o",
        "-",
        "--format",
        "pcm",
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert len(process.stdout.buffer.read(2_000_000)) == 2_000_000
    assert psutil.Process(process.pid).memory_info().rss < 150 * 2**20
    process.terminate()
    process.stdout.close()
    assert process.wait(30) in (130, 141)


@pytest.mark.parametrize(
    ("target", "says"),
    [("missing/out.wav", "No such file"), ("", "directory"), ("/dev/full", "No space left")],
)
def test_places_that_cannot_be_written(shared: Daemon, tmp_path: Path, target: str, says: str) -> None:
    done = say(shared, "Hello there.", "-o", str(tmp_path / target))
    assert done.returncode == 1
    assert says in one_line(done)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_may_not_be_written(shared: Daemon, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Root may write anywhere; what is not writable for root too is /proc.
        done = say(shared, "Hello there.", "-o", "/proc/out.wav")
    else:
        tmp_path.chmod(0o500)
        done = say(shared, "Hello there.", "-o", str(tmp_path / "out.wav"))
    assert done.returncode == 1
    assert "cannot write" in one_line(done)


def test_a_symlinks_target_is_replaced_and_the_link_stays(shared: Daemon, tmp_path: Path) -> None:
    target, link = tmp_path / "target.wav", tmp_path / "link.wav"
    target.write_bytes(b"old")
    link.symlink_to(target)
    assert say(shared, "Hello there.", "-o", str(link)).returncode == 0
    assert link.is_symlink()
    with wave.open(str(target)) as file:
        assert file.getnframes() > 1000


def test_a_fifo_nobody_reads_waits_and_can_be_interrupted(shared: Daemon, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    process = shared.place.popen(sys.executable, "-m", "voicebox_cli", "say", "Hello.", "-o", str(fifo))
    eventually(lambda: "fifo" in _wchan(process.pid) or process.poll() is not None, "it waits for a reader")
    assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 130
    assert fifo.is_fifo()


def _wchan(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text() + Path(f"/proc/{pid}/stack").read_text()
    except OSError:
        return "fifo"


def test_a_fifo_with_a_reader_gets_the_sound(shared: Daemon, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    assert say(shared, "Hello there.", "-o", str(fifo)).returncode == 0
    reader.join(30)
    assert got[0].startswith(b"RIFF")
    assert len(got[0]) > 20_000


def test_output_into_head_ends_quietly(shared: Daemon) -> None:
    command = f"{sys.executable} -m voicebox_cli say -f book.txt -o - | head -c 1000 | wc -c; echo ${{PIPESTATUS[0]}}"
    (shared.place.root / "book.txt").write_text("Hello there. " * 2000)
    done = shared.place.run("bash", "-c", command, cwd=shared.place.root)
    assert done.stdout.split() == ["1000", "141"]
    assert done.stderr == ""


def test_a_killed_say_leaves_no_half_file(shared: Daemon, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("Hello there. " * 20_000)
    output = tmp_path / "out.wav"
    output.write_bytes(b"what was there before")
    process = shared.place.popen(sys.executable, "-m", "voicebox_cli", "say", "-f", str(book), "-o", str(output))
    eventually(lambda: shared.status()["requests"]["active"], "it is being spoken")
    process.kill()
    process.wait()
    assert output.read_bytes() == b"what was there before"


def test_an_interrupted_say_cleans_up_and_says_130(shared: Daemon, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("Hello there. " * 20_000)
    process = shared.place.popen(
        sys.executable, "-m", "voicebox_cli", "say", "-f", str(book), "-o", str(tmp_path / "out.wav"), "--json",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    eventually(lambda: shared.status()["requests"]["active"], "it is being spoken")
    process.send_signal(2)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(stdout)["state"] == "cancelled"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt"]


def test_a_small_file_system_that_fills_up(shared: Daemon, tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        done = say(shared, "This sentence needs more room than there is. " * 20, "-o", str(tmp_path / "out.wav"))
        assert done.returncode == 1
        assert "No space left" in one_line(done)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_system_that_is_read_only(shared: Daemon, tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        done = say(shared, "Hello there.", "-o", str(tmp_path / "out.wav"))
        assert done.returncode == 1
        assert "Read-only file system" in one_line(done)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.remove()


@pytest.mark.parametrize("kind", ["open to others", "a symlink", "a file", "somebody else's"])
def test_a_runtime_directory_that_is_not_ours_alone(place: Place, kind: str) -> None:
    if kind == "open to others":
        place.runtime.mkdir()
        place.runtime.chmod(0o770)
    elif kind == "a symlink":
        (place.root / "elsewhere").mkdir(mode=0o700)
        place.runtime.symlink_to(place.root / "elsewhere")
    elif kind == "somebody else's":
        if os.geteuid():
            pytest.skip("only root can give a directory away")
        place.runtime.mkdir(mode=0o700)
        os.chown(place.runtime, NOBODY, NOBODY)
    else:
        place.runtime.write_text("")
    for arguments in (["say", "Hello.", "-o", str(place.root / "out.wav")], ["status"]):
        done = place.voicebox(*arguments)
        assert done.returncode == 3
        assert str(place.runtime) in one_line(done)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Enough of them for a thousand sockets of our own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("door", ["session.sock", "control.sock"])
def test_a_thousand_connections_under_a_sufficient_limit(door: str) -> None:
    with running() as daemon:
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(1000)]
        try:
            for each in waiting:
                each.connect(str(daemon.place.runtime / door))
            with WireClient(daemon.place) as client:
                assert client.speak("Still here.").end["kind"] == "Done"
        finally:
            for each in waiting:
                each.close()
        eventually(lambda: psutil.Process(daemon.pid).num_fds() < 100, "they are closed again")


def test_a_stopped_client_holds_up_nobody(daemon: Daemon) -> None:
    process = daemon.place.popen(
        sys.executable, "-m", "voicebox_cli", "say", "-", "-o", "/dev/null", stdin=subprocess.PIPE
    )
    eventually(lambda: daemon.status()["daemon"]["connections"], "it is connected")
    process.send_signal(19)
    with WireClient(daemon.place) as client:
        begun = time.monotonic()
        assert client.speak("The others go on.").end["kind"] == "Done"
        assert time.monotonic() - begun < 20
    process.kill()
    process.communicate()
    eventually(lambda: not daemon.status()["daemon"]["connections"], "its death is noticed")


def test_a_client_that_is_stopped_in_mid_stream_has_the_rest_when_it_goes_on(daemon: Daemon, output: Path) -> None:
    (daemon.place.root / "book.txt").write_text("Hello there, said the man at the door. " * 60)
    book = ["-f", str(daemon.place.root / "book.txt"), "--seed", "1", "--json"]
    whole = json.loads(say(daemon, *book, "-o", "/dev/null").stdout)
    process = daemon.place.popen(
        sys.executable, "-m", "voicebox_cli", "say", *book, "-o", str(output), stdout=subprocess.PIPE
    )
    try:
        eventually(lambda: daemon.status()["requests"]["active"], "it is being spoken")
        process.send_signal(signal.SIGSTOP)
        with WireClient(daemon.place) as client:
            assert client.speak("The others go on.").end["kind"] == "Done"
        eventually(lambda: not daemon.status()["requests"]["active"], "its window is full")
        assert daemon.status()["requests"]["queued"] == 1
        process.send_signal(signal.SIGCONT)
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    answer = json.loads(stdout)
    assert (answer["state"], answer["frames"]) == ("done", whole["frames"])
    with wave.open(str(output)) as file:
        assert file.getnframes() == whole["frames"]
