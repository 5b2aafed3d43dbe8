"""A daemon dies and the next one goes on: what that one is told, and that whoever reads has every frame once."""

from __future__ import annotations

import itertools
import random
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_daemon import RATE, WAIT_S, FakeDaemon, speak
from voicebox_client import Accepted, Chunk, Notice, Reset, Speech, Voicebox
from voicebox_client.kept_text import MOST, KeptText
from voicebox_client.resumption import MOST_TRIES, Standing
from voicebox_protocol import schema, wire
from voicebox_protocol.errors import BadMessage, CancelledByRequest, DaemonLost, DeadlineExceeded

TEXT = "One två. Three four. Five six."
# Where each sentence begins and ends, in characters, and its sound.
PLACES = ((0, 9), (9, 21), (21, 30))
_DICE = random.Random(1)
SOUND = [array("f", [_DICE.uniform(-1, 1) for _ in range(frames)]).tobytes() for frames in (300, 500, 200)]
WHOLE = b"".join(SOUND)

# Far less than the time after which a reader looks round by itself.
AT_ONCE_S = 8.0

Script = Callable[[FakeDaemon, bytes, Any, bytes], None]


def piece(daemon: FakeDaemon, to: bytes, req: str, seq: int, segment: int, *cuts: int) -> None:
    """A chunk of a segment's sound: the pieces between so many frames of it."""
    sounds = [SOUND[segment][4 * a : 4 * b] for a, b in itertools.pairwise(cuts)]
    start, end = PLACES[segment]
    daemon.chunk(to, req, seq, *sounds, segment=segment, char_start=start, char_end=end)


def begins(*pieces: tuple[int, ...], then: Callable[[FakeDaemon, bytes, str], None] | None = None) -> Script:
    """A daemon that accepts, sends chunks (segment, cuts) and gets no further."""

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            seq = 0
            for segment, *cuts in pieces:
                piece(daemon, to, message.req, seq, segment, *cuts)
                seq += len(cuts) - 1
            if then is not None:
                then(daemon, to, message.req)

    return script


def goes_on(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    """A daemon that does what a Say asks for, from where that says."""
    if not isinstance(message, schema.Say):
        return
    daemon.accept(to, message.req, sample_rate=message.sample_rate or RATE, seed=message.seed or 7)
    at, seq = message.from_frame or 0, 0
    if at:
        notice = schema.Notice(boot=daemon.boot, req=message.req, code="RESUMED", message="exactly")
        daemon.send(to, notice)
    for segment in range(message.from_segment or 0, 3):
        if at < len(SOUND[segment]) // 4:
            piece(daemon, to, message.req, seq, segment, at, len(SOUND[segment]) // 4)
            seq += 1
        at = 0
    daemon.end(
        to, "Done", message.req, 1000, segments=3, delivered_chars=30, resumed="exact" if message.from_frame else None
    )


def read(speech: Speech, frames: int) -> bytes:
    """So much sound, read piece by piece as it comes."""
    sound = b""
    while len(sound) < 4 * frames:
        sound += bytes(next(speech).data)
    return sound


def said(daemon: FakeDaemon) -> schema.Say:
    (say,) = daemon.wait_for("Say")
    assert isinstance(say, schema.Say)
    return say


@pytest.mark.parametrize(
    ("pieces", "before", "segment", "frames"),
    [
        ([(0, 0, 100)], 100, 0, 100),
        ([(0, 0, 100, 300)], 300, 0, 300),
        ([(0, 0, 100, 300), (1, 0, 1)], 301, 1, 1),
        ([(0, 0, 100, 300), (1, 0, 100, 200), (1, 200, 500)], 800, 1, 500),
        ([(0, 0, 300), (1, 0, 500), (2, 0, 199)], 999, 2, 199),
    ],
)
def test_the_next_daemon_is_told_where_to_go_on(
    runtime_dir: Path, pieces: list[tuple[int, ...]], before: int, segment: int, frames: int
) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins(*pieces)) as first:
        speech = box.say(TEXT, seed=7, speed=1.5, any_voice=True, resume=True)
        sound = read(speech, before)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            sound += b"".join(bytes(chunk.data) for chunk in speech)
            again = said(second)
        texts = second.texts
    assert sound == WHOLE
    start = PLACES[segment][0]
    assert again == schema.Say(
        boot="second",
        req=speech.request_id,
        voice="anna",
        provider="builtin",
        seed=7,
        sample_rate=RATE,
        speed=1.5,
        any_voice=True,
        from_segment=segment,
        from_char=start,
        base_frames=sum(len(each) // 4 for each in SOUND[:segment]),
        from_frame=frames,
        crc32=zlib.crc32(SOUND[segment][: 4 * frames]),
    )
    assert texts[speech.request_id].decode() == TEXT[start:]


def test_whoever_reads_sees_one_timeline_and_one_result(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 300), (1, 0, 100))) as first:
        speech = box.say(TEXT, resume=True)
        events = speech.events()
        seen = [next(events) for _ in range(3)]
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            second.pid = 4242
            seen += list(events)
    kinds = [type(event) for event in seen]
    assert kinds == [Accepted, Chunk, Chunk, Notice, Notice, Chunk, Chunk]
    chunks = [event for event in seen if isinstance(event, Chunk)]
    assert [(chunk.seq, chunk.start, chunk.end) for chunk in chunks] == [
        (0, 0, 300),
        (1, 300, 400),
        (2, 400, 800),
        (3, 800, 1000),
    ]
    assert [notice.code for notice in speech.notices] == ["RECONNECTED", "RESUMED"]
    assert "4242" in speech.notices[0].message
    result = speech.result
    assert result is not None
    assert (result.state, result.frames, result.segments, result.resumed) == ("done", 1000, 3, "exact")
    assert [(run["provider"], run["voice"], run["outcome"]) for run in result.attempts] == [
        ("builtin", "anna", "failed"),
        ("builtin", "anna", "done"),
    ]
    assert "has gone" in result.attempts[0]["reason"]
    assert result.first_audio_ms is not None
    assert 0 < result.first_audio_ms < result.total_ms


def test_credit_counts_from_each_daemons_first_piece(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new daemon numbers its pieces anew, and must not be credited for those of the old one."""
    monkeypatch.setattr("voicebox_client.speech._CREDIT_EVERY_S", 0.0)
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, *range(0, 301, 10)), (1, 0, 1))) as first:
        speech = box.say(TEXT, resume=True)
        read(speech, 301)
        first.wait_for("Credit", last=15)
        first.die()

        def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
            if isinstance(message, schema.Say):
                daemon.accept(to, message.req)
                piece(daemon, to, message.req, 0, 1, *range(1, 22), 500)
                piece(daemon, to, message.req, 21, 2, 0, 200)
            elif isinstance(message, schema.Credit) and message.last == 20:
                daemon.end(to, "Done", message.req, 1000)

        with FakeDaemon(runtime_dir, script, boot="second") as second:
            read(speech, 699)
            assert list(speech) == []
            given_back = [(m.first, m.last) for m in second.wait_for("Credit", 21, boot="second")]
    assert given_back[:21] == [(seq, seq) for seq in range(21)]


def test_a_request_that_nobody_had_accepted_is_simply_made_again(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, lambda *_: None) as first:
        speech = box.say(TEXT, voice="anna", resume=True)
        first.wait_for("Say")
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            assert speech.accepted.voice == "anna"
            assert bytes(speech.collect().data) == WHOLE
            assert said(second) == schema.Say(boot="second", req=speech.request_id, voice="anna")
        assert speech.result is not None
        assert (speech.result.resumed, len(speech.result.attempts)) == (None, 1)


def test_what_was_skipped_is_neither_said_again_nor_counted(runtime_dir: Path) -> None:
    def skip(daemon: FakeDaemon, to: bytes, req: str) -> None:
        daemon.send(to, schema.Notice(boot=daemon.boot, req=req, code="SKIPPED", message="the rest is missing"))

    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 300), (1, 0, 40), then=skip)) as first:
        speech = box.say(TEXT, resume=True)
        sound = read(speech, 340)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            sound += b"".join(bytes(chunk.data) for chunk in speech)
            again = said(second)
        assert (again.from_segment, again.from_char, again.base_frames) == (2, 21, 340)
        assert (again.from_frame, again.crc32) == (None, None)
    assert sound == SOUND[0] + SOUND[1][:160] + SOUND[2]
    assert speech.result is not None
    assert (speech.result.resumed, speech.result.segments) == ("next", 2)


def test_what_was_taken_back_is_not_claimed(runtime_dir: Path) -> None:
    def reset(daemon: FakeDaemon, to: bytes, req: str) -> None:
        daemon.send(to, schema.Reset(boot=daemon.boot, req=req, segment=1, frames=300, reason="it died"))
        piece(daemon, to, req, 2, 1, 0, 7)

    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 300), (1, 0, 40), then=reset)) as first:
        speech = box.say(TEXT, on_failure="segment", resume=True)
        read(speech, 347)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            assert [chunk.start for chunk in speech] == [307, 800]
            again = said(second)
        assert (again.from_segment, again.base_frames, again.from_frame) == (1, 300, 7)
        assert again.crc32 == zlib.crc32(SOUND[1][:28])
    assert speech.result is not None
    assert speech.result.resumed == "segment"


def test_what_the_next_one_takes_back_shows_as_ever(runtime_dir: Path) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            daemon.send(to, schema.Reset(boot=daemon.boot, req=message.req, segment=1, frames=300, reason="other"))
            piece(daemon, to, message.req, 0, 1, 0, 500)
            piece(daemon, to, message.req, 1, 2, 0, 200)
            daemon.end(to, "Done", message.req, 1000, segments=3, resumed="segment")

    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 300), (1, 0, 40))) as first:
        speech = box.say(TEXT, on_failure="segment", resume=True)
        assert speech.accepted
        first.wait_for("Say")
        sound = bytearray(read(speech, 340))
        first.die()
        with FakeDaemon(runtime_dir, script, boot="second"):
            for event in speech.events():
                if isinstance(event, Reset):
                    assert event.frames == 300
                elif isinstance(event, Chunk):
                    sound[4 * event.start :] = event.data
    assert bytes(sound) == WHOLE


def test_without_being_asked_a_lost_daemon_is_the_end(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speech = box.say(TEXT)
        read(speech, 100)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            with pytest.raises(DaemonLost):
                next(speech)
            assert not [message for message in second.received if isinstance(message, schema.Say)]


def test_two_speeches_of_one_voicebox_both_go_on(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speeches = [box.say(TEXT, resume=True) for _ in range(2)]
        sounds = [read(speech, 100) for speech in speeches]
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            for number, speech in enumerate(speeches):
                sounds[number] += b"".join(bytes(chunk.data) for chunk in speech)
            assert len(second._doors) == 1
    assert sounds == [WHOLE, WHOLE]


def test_sound_that_lies_unread_is_not_asked_for_again(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100), (0, 100, 300))) as first:
        speech = box.say(TEXT, resume=True)
        assert speech.accepted
        read(speech, 100)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            assert b"".join(bytes(chunk.data) for chunk in speech) == WHOLE[400:]
            assert said(second).from_frame == 300


# --- when it cannot be


def dying(runtime_dir: Path, stop: threading.Event, script: Script | None, heard: list[schema.Say]) -> None:
    """One daemon after another, each of which dies at its first Say, having said no more than `script` does."""
    number = 0
    while not stop.is_set():
        number += 1
        with FakeDaemon(runtime_dir, script or (lambda *_: None), boot=f"b{number}") as daemon:
            while not stop.is_set() and not any(isinstance(message, schema.Say) for message in daemon.received):
                time.sleep(0.005)
            heard += [message for message in daemon.received if isinstance(message, schema.Say)]
            if script is not None:
                time.sleep(0.1)


@pytest.fixture
def series(runtime_dir: Path) -> Iterator[Callable[[Script | None], list[schema.Say]]]:
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(script: Script | None) -> list[schema.Say]:
        heard: list[schema.Say] = []
        threads.append(threading.Thread(target=dying, args=(runtime_dir, stop, script, heard)))
        threads[0].start()
        return heard

    yield start
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)


def test_daemons_that_bring_no_sound_are_not_asked_for_ever(series: Any) -> None:
    heard = series(None)
    with Voicebox() as box:
        speech = _first_say(box)
        with pytest.raises(DaemonLost, match=f"{MOST_TRIES} others in a row"):
            speech.collect()
    assert len(heard) == MOST_TRIES + 1
    assert len({say.req for say in heard}) == 1
    assert len(speech.notices) == MOST_TRIES


def test_daemons_that_each_bring_some_are(series: Any) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            at = message.from_frame or 0
            piece(daemon, to, message.req, 0, 0, at, at + 1)
            if at == 8:
                daemon.end(to, "Done", message.req, 9)

    series(script)
    with Voicebox() as box:
        audio = _first_say(box).collect()
    assert bytes(audio.data) == SOUND[0][:36]
    assert len(audio.result.attempts) == 9


def _first_say(box: Voicebox) -> Speech:
    """The series may not have begun yet."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return box.say(TEXT, resume=True)
        except Exception:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_service_that_is_not_started_again_is_waited_for_and_given_up(runtime_dir: Path) -> None:
    with Voicebox(timeout=0.3) as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speech = box.say(TEXT, resume=True)
        read(speech, 100)
        first.die()
        began = time.monotonic()
        with pytest.raises(DaemonLost, match="has gone, and the next one cannot be reached: no daemon"):
            next(speech)
        assert 0.3 <= time.monotonic() - began < 5
        with pytest.raises(DaemonLost):
            next(speech)


def test_a_daemon_that_lives_and_hung_up_is_not_asked_again(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speech = box.say(TEXT, resume=True)
        read(speech, 100)
        first.do(lambda: [door.close() for door in first._doors] and first._doors.clear())
        with pytest.raises(DaemonLost):
            next(speech)
        assert len(first.wait_for("Say")) == 1


def test_a_daemon_that_cannot_begin_in_the_middle_is_not_made_to(runtime_dir: Path) -> None:
    """An older one would ignore the fields that it does not know, and begin with the first word."""
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speech = box.say(TEXT, resume=True)
        read(speech, 100)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            second.features = []
            with pytest.raises(DaemonLost, match="cannot go on in the middle"):
                next(speech)
            assert not [message for message in second.received if isinstance(message, schema.Say)]


def test_another_rate_than_before_ends_it(runtime_dir: Path) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req, sample_rate=8000)

    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speech = box.say(TEXT, resume=True)
        read(speech, 100)
        first.die()
        with FakeDaemon(runtime_dir, script, boot="second"), pytest.raises(BadMessage, match="another seed or rate"):
            next(speech)


def test_a_refusal_to_go_on_tells_what_there_is(runtime_dir: Path) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            nothing = {"provider": None, "voice": None, "sample_rate": None, "segments": 0, "delivered_chars": 0}
            error = {"code": "DEADLINE", "message": "too late"}
            daemon.end(to, "Failed", message.req, 0, attempts=[], **nothing, **error)

    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 300), (1, 0, 100))) as first:
        speech = box.say(TEXT, resume=True)
        read(speech, 400)
        first.die()
        with FakeDaemon(runtime_dir, script, boot="second"), pytest.raises(DeadlineExceeded) as raised:
            next(speech)
    result = vars(raised.value)["result"]
    assert (result.provider, result.frames, result.segments, result.delivered_chars) == ("builtin", 400, 1, 9)


def test_a_deadline_goes_on_running(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speech = box.say(TEXT, deadline=100.0, resume=True)
        read(speech, 100)
        time.sleep(0.05)
        first.die()
        with FakeDaemon(runtime_dir, goes_on, boot="second") as second:
            list(speech)
            left = said(second).deadline_ms
    assert left is not None
    assert 50_000 < left <= 99_950


def test_cancelling_between_two_daemons_is_the_end(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, begins((0, 0, 100))) as first:
        speeches = [box.say(TEXT, resume=True) for _ in range(3)]
        for speech in speeches:
            read(speech, 100)
        first.die()
        assert not speeches[0]._link.alive()
        assert speeches[0].cancel(wait=WAIT_S) is None
        speeches[1].close()
        box.close()
        for speech in speeches:
            with pytest.raises(CancelledByRequest):
                next(speech)


# --- text that is still being written


def test_text_is_sent_again_from_the_running_segment_and_goes_on(runtime_dir: Path) -> None:
    gate = threading.Event()

    def words() -> Iterator[str]:
        yield TEXT[:12]
        yield TEXT[12:25]
        gate.wait(WAIT_S)
        yield TEXT[25:]

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
        elif isinstance(message, schema.Text) and len(daemon.texts[message.req].decode()) == 25:
            piece(daemon, to, message.req, 0, 0, 0, 300)
            piece(daemon, to, message.req, 1, 1, 0, 100)

    def second_script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            assert message.more
        elif isinstance(message, schema.Text) and message.last:
            goes_on(daemon, to, said(daemon), b"")

    with Voicebox() as box, FakeDaemon(runtime_dir, script) as first:
        speech = box.say(words(), resume=True)
        sound = read(speech, 400)
        first.die()
        with FakeDaemon(runtime_dir, second_script, boot="second") as second:
            began = time.monotonic()
            writer = threading.Timer(0.2, gate.set)
            writer.start()
            sound += b"".join(bytes(chunk.data) for chunk in speech)
            assert time.monotonic() - began < AT_ONCE_S
            writer.join()
            assert said(second).from_char == 9
            assert second.texts[speech.request_id].decode() == TEXT[9:]
    assert sound == WHOLE


def test_text_that_has_ended_is_sent_again_as_well(runtime_dir: Path) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Text) and message.last:
            begins((0, 0, 100))(daemon, to, said(daemon), b"")

    def second_script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Text) and message.last:
            goes_on(daemon, to, said(daemon), b"")

    with Voicebox() as box, FakeDaemon(runtime_dir, script) as first:
        speech = box.say(iter([TEXT]), resume=True)
        sound = read(speech, 100)
        first.die()
        with FakeDaemon(runtime_dir, second_script, boot="second") as second:
            sound += b"".join(bytes(chunk.data) for chunk in speech)
            assert second.texts[speech.request_id].decode() == TEXT
    assert sound == WHOLE


def test_a_text_without_a_word_is_not_kept_for_ever(runtime_dir: Path) -> None:
    """Its daemon takes any amount of it, and no sound tells how far that is."""
    lines = MOST // wire.TEXT_WINDOW + 2

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Text):
            upto = len(daemon.texts[message.req]) + wire.TEXT_WINDOW
            daemon.send(to, schema.TextCredit(boot=daemon.boot, req=message.req, upto=upto))
            if message.last:
                daemon.accept(to, message.req)

    with Voicebox() as box, FakeDaemon(runtime_dir, script) as first:
        speech = box.say(("\n" * wire.TEXT_WINDOW for _ in range(lines)), resume=True)
        assert speech.accepted
        first.die()
        with FakeDaemon(runtime_dir, speak, boot="second"), pytest.raises(DaemonLost, match="more text without a word"):
            next(speech)


class _Written:
    """A text source of strings that lie there already."""

    error: BaseException | None = None

    def __init__(self, text: str) -> None:
        self.rest = bytearray(text.encode())

    def take(self, room: int) -> tuple[bytes, bool]:
        from voicebox_client.feeder import cut

        return cut(self.rest, room), not self.rest

    def stop(self) -> None: ...

    def rejoin(self, link: Any) -> None: ...


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.data())
def test_each_daemon_gets_the_text_from_where_it_begins(text: str, data: st.DataObject) -> None:
    kept = KeptText(_Written(text))
    begin, sent, last = 0, "", False
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            piece, last = kept.take(data.draw(st.integers(4, 20)))
            sent += piece.decode()
        elif begin + len(sent) > begin and data.draw(st.booleans()):
            step = data.draw(st.integers(0, len(sent)))
            begin, sent = begin + step, sent[step:]
            kept.forget_before(begin)
        else:
            kept.rejoin(None)  # type: ignore[arg-type]
            sent, last = "", False
    while not last:
        piece, last = kept.take(1000)
        sent += piece.decode()
    assert sent == text[begin:]


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(1, 9), min_size=1, max_size=5)), max_size=12))
def test_the_account_is_that_of_the_samples_though_they_are_never_read(steps: list[tuple[int, list[int]]]) -> None:
    own, segment, timeline, begin, complete = Standing(), 0, b"", 0, 0
    for number, (forward, frames) in enumerate(steps):
        if forward:
            complete += len(timeline) > begin
            segment, begin = segment + forward, len(timeline)
        descriptors = []
        for count in frames:
            sound = random.Random(f"{number} {count}").randbytes(4 * count)
            timeline += sound
            descriptors.append((0, 0, count, zlib.crc32(sound)))
        own.book({"segment": segment, "char_start": 10 * segment, "char_end": 0, "descriptors": descriptors})
        assert (own.segment, own.char, own.base, own.complete) == (segment, 10 * segment, begin // 4, complete)
        assert (own.frames, own.crc) == ((len(timeline) - begin) // 4, zlib.crc32(timeline[begin:]))
