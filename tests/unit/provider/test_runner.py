"""The provider process end to end, over the real wire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import pytest

from voicebox_protocol import wire
from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.schema import (
    Beat,
    Bye,
    Chunk,
    Error,
    Fault,
    Hello,
    Loading,
    Ready,
    SegmentCancelled,
    SegmentDone,
    SegmentFailed,
    Synthesize,
    Welcome,
)

from .fake_daemon import BOOT, PATIENCE_S, Spoken, gone, provider

SENTENCE = "The harbour was quiet that morning. The gulls had gone out to sea."


def assert_whole(spoken: Spoken) -> None:
    """The rules that hold for every segment: numbered pieces with true CRCs, short at first, that make up the whole."""
    assert spoken.crcs() == [crc32(piece) for piece in spoken.pieces()]
    assert [chunk.seq for chunk, _ in spoken.chunks] == list(
        np.cumsum([0, *(len(chunk.descriptors) for chunk, _ in spoken.chunks)][:-1])
    )
    prefix = spoken.resumed.frames if spoken.resumed else 0
    assert isinstance(spoken.end, SegmentDone)
    assert prefix + len(spoken.samples()) == spoken.end.frames


def failure(spoken: Spoken) -> SegmentFailed:
    assert isinstance(spoken.end, SegmentFailed), spoken.end
    return spoken.end


def test_hello_carries_the_start_line_and_what_the_engine_can_do(short_dir: str) -> None:
    with provider(short_dir, voices=["a", "b"]) as peer:
        hello = peer.greet()
        assert (hello.provider, hello.epoch, hello.token) == ("fake", 3, peer.start.token)
        assert hello.pid == peer.process.pid
        able = msgspec.convert(hello.capabilities, Capabilities)
        assert [voice.id for voice in able.voices] == ["a", "b"]
        assert able.volume == (0.0, 2.0), "the runner scales where the engine cannot"


def test_builtin_speaks_equal_samples_for_equal_seeds(short_dir: str) -> None:
    with provider(short_dir, "builtin") as peer:
        peer.load()
        first = peer.speak(SENTENCE, voice="heart", language="en")
        second = peer.speak(SENTENCE, voice="fake/heart")
        other = peer.speak(SENTENCE, seed=8)
        assert_whole(first)
        assert first.crcs() == second.crcs()
        assert first.crcs() != other.crcs()
        assert len(first.samples()) > 24000
        assert float(np.abs(first.samples()).max()) > 0.05
        assert peer.leave() == 0


def test_builtin_resumes_to_the_sample(short_dir: str) -> None:
    """The listener already has the beginning: the second attempt proves it equal and goes on after it."""
    with provider(short_dir, "builtin") as peer:
        peer.load()
        whole = peer.speak(SENTENCE).samples()
        for from_frame in (0, 1, 30_001, len(whole)):
            rest = peer.speak(SENTENCE, attempt=2, from_frame=from_frame)
            assert_whole(rest)
            assert rest.resumed is not None
            assert rest.resumed.frames == from_frame
            assert rest.resumed.crc32 == crc32(whole[:from_frame].tobytes())
            assert np.array_equal(rest.samples(), whole[from_frame:])


def test_a_segment_that_came_out_shorter_says_how_much_there_is(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        whole = peer.speak("hello").samples()
        rest = peer.speak("hello", from_frame=10**9)
        assert rest.resumed is not None
        assert rest.resumed.frames == len(whole)
        assert rest.chunks == []
        assert_whole(rest)


def test_another_sample_rate_keeps_the_length(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        own = peer.speak("hello there")
        for rate in (8000, 16000, 44100, 48000):
            other = peer.speak("hello there", sample_rate=rate)
            assert_whole(other)
            assert len(other.samples()) == pytest.approx(len(own.samples()) * rate / 24000, abs=2)


def test_a_stretched_segment_resumes_to_the_sample(short_dir: str) -> None:
    pytest.importorskip("python_stretch", reason="python-stretch has no wheel for this machine")
    with provider(short_dir) as peer:
        able = msgspec.convert(peer.greet().capabilities, Capabilities)
        assert able.runner == ["speed", "pitch", "volume"]
        peer.expect(Ready)
        plain = peer.speak("hello there, you").samples()
        whole = peer.speak("hello there, you", speed=4.0, pitch=1.5).samples()
        assert len(whole) == len(plain) // 4
        rest = peer.speak("hello there, you", speed=4.0, pitch=1.5, attempt=2, from_frame=1001)
        assert_whole(rest)
        assert rest.resumed is not None
        assert rest.resumed.crc32 == crc32(whole[:1001].tobytes())
        assert np.array_equal(rest.samples(), whole[1001:])


def test_an_engine_whose_extra_is_missing_says_how_to_get_it(short_dir: str) -> None:
    with provider(short_dir, "tests.unit.provider.lacking:LackingEngine", path=[str(Path.cwd())]) as peer:
        assert peer.greet().capabilities is None
        fault = peer.expect(Fault)
        assert fault.permanent
        assert fault.message == "no_such_module is not installed; `pip install 'voiceboxd[lacking]'` installs it"
        assert peer.exit_code() == 78


def test_one_that_cannot_now_says_when_to_try_again(short_dir: str) -> None:
    with provider(short_dir, fail_load=True, fault_retry_s=2.5) as peer:
        peer.greet()
        fault = peer.expect(Fault)
        assert (fault.permanent, fault.retry_ms, fault.message) == (False, 2500, "as the setting says")
        assert peer.exit_code() == 1


def test_the_devices_memory_is_told_when_loaded_and_before_each_segments_end(short_dir: str) -> None:
    """Before it: the daemon weighs a provider when it hears that a segment is done."""
    with provider(short_dir, device="cuda:1", vram=[500, 700, 900], vram_growth=100) as peer:
        ready = peer.load()
        assert (ready.device, *memory_of(ready)) == ("cuda:1", 500, 700, 900)
        for grown, text in ((100, "hello"), (200, "[[fail:0]]hello")):
            peer.ask(text)
            said = [peer.hear()[0]]
            while not isinstance(said[-1], SegmentDone | SegmentFailed):
                said.append(peer.hear()[0])
            assert isinstance(said[-2], Beat)
            assert memory_of(said[-2]) == (500 + grown, 700 + grown, 900)


def memory_of(message: Ready | Beat) -> tuple[int | None, ...]:
    return message.vram_bytes, message.vram_used_bytes, message.vram_total_bytes


def test_an_engine_without_a_device_tells_of_none(short_dir: str) -> None:
    with provider(short_dir) as peer:
        assert memory_of(peer.load()) == (None, None, None)
        peer.ask("hello")
        while not isinstance(said := peer.hear()[0], SegmentDone):
            assert not isinstance(said, Beat) or memory_of(said) == (None, None, None)


def test_an_engine_that_cannot_tell_of_its_device_speaks_all_the_same(short_dir: str) -> None:
    with provider(short_dir, vram=["no number"]) as peer:
        assert memory_of(peer.load()) == (None, None, None)
        assert_whole(peer.speak("hello"))


def test_volume_scales_the_samples(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        plain, quiet = peer.speak("hello"), peer.speak("hello", volume=0.5)
        assert np.array_equal(quiet.samples(), plain.samples() * np.float32(0.5))


def test_cancel_stops_a_segment_that_is_being_spoken(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("[[slow:20]]" + "a" * 380)
        peer.expect(Chunk)
        peer.cancel()
        spoken = peer.answer()
        assert isinstance(spoken.end, SegmentCancelled)
        assert_whole(peer.speak("and the next one is spoken"))


def test_cancel_reaches_a_segment_that_still_waits(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("[[slow:20]]" + "a" * 380, req="first")
        peer.ask("never spoken", req="second")
        peer.cancel("second")
        peer.cancel("first")
        ends = {peer.expect(SegmentCancelled).req for _ in range(2)}
        assert ends == {"first", "second"}


def test_segments_of_an_engine_with_concurrency_share_its_time(short_dir: str) -> None:
    with provider(short_dir, concurrency=2) as peer:
        peer.load()
        peer.ask("[[slow:5]]" + "a" * 300, req="long")
        peer.ask("hi", req="short")
        assert peer.expect(SegmentDone).req == "short"
        assert peer.expect(SegmentDone).req == "long"


@pytest.mark.parametrize(
    ("text", "wishes", "code", "words"),
    [
        ("hello", {"options": {"temprature": 1.0}}, "BAD_OPTION", "temperature"),
        ("hello", {"options": {"temperature": 9.0}}, "BAD_OPTION", "maximum of 2"),
        ("hello", {"voice": "tune"}, "NO_SUCH_VOICE", "tone"),
        ("hello", {"language": "fr"}, "NO_SUCH_LANGUAGE", "en-US"),
        ("hello", {"speed": 9.0}, "BAD_REQUEST", "speed"),
        ("hello", {"volume": 9.0}, "BAD_REQUEST", "volume"),
        ("hello", {"sample_rate": 1}, "BAD_REQUEST", "sample_rate"),
        ("a" * 401, {}, "BAD_REQUEST", "401"),
        ("[[silent]] Grüße", {}, "UNSPEAKABLE", "Grüße"),
        ("[[nan]] hello", {}, "PROVIDER_FAILED", "NaN"),
        ("[[fail:1]] hello", {}, "PROVIDER_FAILED", "RuntimeError"),
    ],
)
def test_a_segment_that_cannot_be_spoken_says_why_and_the_provider_lives_on(
    short_dir: str, text: str, wishes: dict[str, object], code: str, words: str
) -> None:
    rule = {"properties": {"temperature": {"type": "number", "minimum": 0.0, "maximum": 2.0}}}
    with provider(short_dir, options=rule) as peer:
        peer.load()
        failed = failure(peer.speak(text, **wishes))
        assert failed.code == code
        assert words in failed.message
        assert_whole(peer.speak("hello", options={"temperature": 0.5}))


def test_bytes_that_are_no_text_are_refused(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        request = Synthesize(boot=BOOT, epoch=3, req="r", attempt=1, segment=0, seed=1, sample_rate=24000)
        peer.say(request, b"ab\xff")
        failed = failure(peer.answer())
        assert (failed.code, "byte 2" in failed.message) == ("INVALID_TEXT", True)


def test_builtin_names_the_words_that_it_cannot_read(short_dir: str) -> None:
    with provider(short_dir, "builtin") as peer:
        peer.load()
        failed = failure(peer.speak("Say 日本 and 中国 aloud."))
        assert failed.code == "UNSPEAKABLE"
        assert "日本" in failed.message
        assert "中国" in failed.message
        assert_whole(peer.speak("Just emoji are skipped 😀."))


def test_punctuation_alone_is_no_failure(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        assert isinstance(peer.speak("[[silent]]?!").end, SegmentFailed), "the marker itself holds letters"
        assert isinstance(peer.speak("").end, SegmentDone)


def test_messages_of_another_life_are_dropped(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("stale", boot="boot-0")
        peer.ask("stale", epoch=2)
        peer.ask("hello", req="fresh")
        first, _ = peer.hear()
        while isinstance(first, Beat):
            first, _ = peer.hear()
        assert isinstance(first, Chunk)
        assert first.req == "fresh"


def test_work_after_a_rest_is_answered_at_once(short_dir: str) -> None:
    """The daemon asks nobody who is idle whether he lives; it waits for this, and not for long."""
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("[[sleep:700]]Hello.")
        first, _ = peer.hear()
        assert isinstance(first, Beat)


def test_what_cannot_be_read_is_answered_and_survived(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        for header, code in ((b"\xc1", "BAD_MESSAGE"), (msgspec.msgpack.encode({"kind": "Sing"}), "UNSUPPORTED")):
            peer.router.send_multipart([peer.identity, wire.MAGIC, header])
            assert peer.expect(Error).code == code
        assert_whole(peer.speak("hello"))


def test_it_beats_while_it_works_and_tells_of_progress(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        # Sound that goes out tells as much, so there are beats only between sounds that are far apart.
        peer.ask("[[slow:1500]]" + "a" * 380)
        before = peer.expect(Beat).steps
        while peer.expect(Beat).steps == before:
            pass


def test_it_beats_while_it_loads_and_may_ask_for_more_time(short_dir: str) -> None:
    with provider(short_dir, load_ms=100_000, extend_ms=60_000) as peer:
        peer.greet()
        assert peer.expect(Loading).extend_ms == 60_000
        peer.expect(Beat)


def test_nothing_is_said_while_idle(short_dir: str) -> None:
    """Whatever ticks after Ready, or after a segment, would be heard before the answer to the next."""
    with provider(short_dir) as peer:
        peer.load()
        peer.speak("hello")
        assert not peer.router.poll(1500)


def test_a_hanging_engine_beats_without_progress(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("[[hang]] hello")
        assert peer.expect(Beat).steps == peer.expect(Beat).steps


@pytest.mark.parametrize(
    ("engine", "settings", "permanent", "words"),
    [
        ("nowhere", {}, True, "builtin"),
        ("no.such.module:Engine", {}, True, "no.such.module"),
        ("voicebox_provider.engine:Utterance", {}, True, "subclass"),
        ("voicebox_provider.testing:FakeEngine", {"colour": 1}, True, "colour"),
        ("voicebox_provider.testing:FakeEngine", {"threads": 0}, True, "threads"),
        ("voicebox_provider.testing:FakeEngine", {"max_chars": 1}, True, "max_chars"),
        ("voicebox_provider.testing:FakeEngine", {"fail_load": True, "fault_permanent": True}, True, "setting"),
        ("voicebox_provider.testing:FakeEngine", {"fail_load": True}, False, "setting"),
        ("builtin", {"thread": 2}, True, "threads"),
    ],
)
def test_an_engine_that_cannot_be_used_greets_and_says_why(
    short_dir: str, engine: str, settings: dict[str, object], permanent: bool, words: str
) -> None:
    with provider(short_dir, engine, **settings) as peer:
        hello = peer.greet()
        assert (hello.capabilities is None) == ("fail_load" not in settings)
        fault = peer.expect(Fault)
        assert (fault.permanent or False) == permanent
        assert words in fault.message
        assert peer.exit_code() == (78 if permanent else 1)


def test_an_engine_outside_the_path_is_found_where_the_settings_say(short_dir: str) -> None:
    code = "from voicebox_provider.testing import FakeEngine\nclass Mine(FakeEngine):\n    pass\n"
    Path(short_dir, "mine.py").write_text(code)
    with provider(short_dir, "mine:Mine", path=[short_dir]) as peer:
        peer.load()
        assert_whole(peer.speak("hello"))


def test_exit_is_answered_with_bye(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        code = peer.leave()
        assert isinstance(peer.hear()[0], Bye)
        assert code == 0


def test_exit_ends_what_is_being_spoken_first(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("[[slow:20]]" + "a" * 380)
        peer.expect(Chunk)
        assert peer.leave() == 0
        assert isinstance(peer.answer().end, SegmentCancelled)
        assert isinstance(peer.hear()[0], Bye)


@pytest.mark.parametrize("while_loading", [True, False])
def test_sigterm_is_an_orderly_exit(short_dir: str, while_loading: bool) -> None:
    with provider(short_dir, load_ms=100_000 if while_loading else 0) as peer:
        peer.greet()
        peer.expect(Beat) if while_loading else peer.expect(Ready)
        peer.process.send_signal(signal.SIGTERM)
        assert peer.exit_code() == 0
        peer.expect(Bye)


def test_ctrl_c_is_left_to_the_daemon(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.process.send_signal(signal.SIGINT)
        assert_whole(peer.speak("hello"))


@pytest.mark.parametrize("text", ["", "[[hang]] hello"])
def test_the_end_of_the_lifeline_is_the_end_at_once(short_dir: str, text: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        if text:
            peer.ask(text)
            peer.expect(Beat)
        peer.cut_lifeline()
        assert peer.exit_code() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_it_dies_with_its_parent_even_if_the_lifeline_holds(short_dir: str) -> None:
    """A stopped or forked-off reader of the pipe may keep it open; the kernel still tells."""
    with provider(short_dir) as other:  # its process is not used, only its door
        other.greet()
        reading, writing = os.pipe()
        child = "import subprocess,sys; p=subprocess.Popen([sys.executable,'-m','voicebox_provider']); print(p.pid,flush=True); p.wait()"
        parent = subprocess.Popen([sys.executable, "-c", child], stdin=reading, stdout=subprocess.PIPE)
        try:
            os.close(reading)
            os.write(writing, other.start._replace(parent_pid=parent.pid).encode())
            assert parent.stdout is not None
            watched = os.pidfd_open(int(parent.stdout.readline()))
            other.expect(Hello)
            parent.kill()
            assert gone(watched)
            os.close(watched)
        finally:
            parent.kill()
            parent.communicate(timeout=PATIENCE_S)
            os.close(writing)


def test_an_orphan_does_not_begin(short_dir: str) -> None:
    with provider(short_dir, parent_pid=1) as peer:
        assert peer.exit_code() == 2


def test_a_start_line_that_is_none_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "voicebox_provider"], input=b"hello\n", capture_output=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2
    assert b"not a start line" in done.stderr


def test_a_protocol_that_we_do_not_speak_is_the_end(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.expect(Hello)
        peer.say(Welcome(proto=99, boot=BOOT, session="s", version="9", pid=1))
        assert peer.exit_code() == 78


def test_a_crash_comes_after_the_sound_and_once(short_dir: str) -> None:
    flag = str(Path(short_dir, "crashed"))
    with provider(short_dir, fault_once=flag) as peer:
        peer.load()
        peer.ask("[[crash:3]]" + "a" * 50)
        heard = sum(frames for _, _, frames, _ in peer.expect(Chunk).descriptors)
        assert peer.exit_code() == -signal.SIGKILL
    with provider(short_dir, fault_once=flag) as peer:
        peer.load()
        assert_whole(peer.speak("[[crash:3]]" + "a" * 50, from_frame=heard))


def test_a_marked_exit_code_is_the_process_s(short_dir: str) -> None:
    with provider(short_dir) as peer:
        peer.load()
        peer.ask("[[exit:7]] hello")
        assert peer.exit_code() == 7


def test_a_crash_while_loading(short_dir: str) -> None:
    with provider(short_dir, faults=["sigkill@loading"]) as peer:
        peer.greet()
        assert peer.exit_code() == -signal.SIGKILL


def test_curve_keeps_the_same_conversation(short_dir: str) -> None:
    with provider(short_dir, curve=True) as peer:
        peer.load()
        assert_whole(peer.speak("hello"))
        assert peer.leave() == 0


def test_hello_waits_for_no_heavy_import() -> None:
    """What is imported before Hello is what every start pays for."""
    code = (
        "import sys; from voicebox_protocol.startline import StartLine; from voicebox_provider import greeting, link;"
        "greeting.greet(StartLine('', 'p', 1, 't', 1, 'builtin')); print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S).stdout
    assert "voicebox_provider.engines.builtin" in loaded.split()
    assert not {"numpy", "onnxruntime", "hibari", "soxr"} & set(loaded.split())
