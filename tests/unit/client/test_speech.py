"""A request's life as its reader sees it: chunks, credit, events, the result, and every way to end it early."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tests.unit.client.fake_daemon import BOOT, RATE, FakeDaemon, speak, tone
from voicebox_client import Accepted, Chunk, Notice, Reset, Voicebox
from voicebox_protocol import schema
from voicebox_protocol.errors import BadMessage, CancelledByRequest, DaemonLost, NoSuchVoice


def only_accept(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    """The script of a daemon that accepts, sends one chunk, and then works for ever; Cancel ends it."""
    if isinstance(message, schema.Say):
        daemon.accept(to, message.req)
        daemon.chunk(to, message.req, 0, tone(240))
    else:
        speak(daemon, to, message, text)


def test_chunks_come_with_their_samples_and_their_place(daemon: FakeDaemon) -> None:
    heard = b""
    with Voicebox() as box:
        chunks = []
        for chunk in box.say("hello"):
            assert chunk.verify()
            assert chunk.data.readonly
            assert chunk.sample_rate == RATE
            heard += chunk.data
            chunks.append(chunk)
    assert [(chunk.seq, chunk.start, chunk.end, chunk.char_end) for chunk in chunks] == [
        (0, 0, 2400, 5),
        (1, 2400, 4800, 5),
    ]
    assert heard[: 4 * 2400] == tone(2400)


def test_a_chunk_is_lent_until_the_next_is_asked_for(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        speech = box.say("hello")
        chunk = next(speech)
        assert chunk.as_array().shape == (2400,)
        next(speech)
        with pytest.raises(ValueError, match="released"):
            bytes(chunk.data)


def test_a_changed_sample_shows_in_the_checksum(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        chunk = next(box.say("hello"))
    chunk.data = memoryview(bytes(chunk.data)[:-1] + b"\xff")
    assert not chunk.verify()


def test_the_request_carries_every_argument(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        speech = box.say(
            "hi",
            voice="anna",
            language="en",
            provider="builtin",
            model="m",
            instruct="softly",
            seed=2**64 - 1,
            speed=2,
            pitch=0.5,
            volume=1.0,
            options={"a": 1},
            sample_rate=16000,
            priority="text",
            deadline=1.5,
            on_failure="fail",
            any_voice=True,
            sink="stream",
        )
        list(speech)
    asked = daemon.wait_for("Say")[0]
    assert asked == schema.Say(
        boot=BOOT,
        req=speech.request_id,
        voice="anna",
        language="en",
        provider="builtin",
        model="m",
        instruct="softly",
        seed=2**64 - 1,
        speed=2.0,
        pitch=0.5,
        volume=1.0,
        options={"a": 1},
        sample_rate=16000,
        priority="text",
        deadline_ms=1500,
        on_failure="fail",
        any_voice=True,
        sink="stream",
    )


def test_accepted_waits_for_it_and_result_stands_at_the_end(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        speech = box.say("hello")
        assert speech.accepted == Accepted(7, RATE, "builtin", "anna", "en")
        assert speech.result is None or speech.result.state == "done"
        list(speech)
    assert speech.result is not None
    assert (speech.result.state, speech.result.frames, speech.result.duration_s) == ("done", 4800, 0.2)
    daemon.wait_for("EndAck", req=speech.request_id)


@pytest.mark.parametrize("every", [0.0, 3600.0])
def test_credit_follows_the_reader(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, every: float) -> None:
    """The window opens as chunks are given back, never before: a reader that stops holds the daemon up, as it should. One that
    is quick gives all of a message back in one."""
    monkeypatch.setattr("voicebox_client.speech._CREDIT_EVERY_S", every)

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(10))
            daemon.chunk(to, message.req, 1, *[tone(10)] * 40)

    daemon.script = script
    with Voicebox() as box:
        speech = box.say("hello")
        next(speech)
        assert not [m for m in daemon.received if isinstance(m, schema.Credit)]
        for _ in range(39):
            next(speech)
        daemon.wait_for("Credit", first=0, last=0)
        if not every:
            for seq in range(1, 39):
                daemon.wait_for("Credit", first=seq, last=seq)
        assert len([m for m in daemon.received if isinstance(m, schema.Credit)]) == (1 if every else 39)
        next(speech)
        daemon.do(lambda: None)
        with pytest.raises(CancelledByRequest):
            _wait_for_more(daemon, speech)
    daemon.wait_for("Credit", first=1 if every else 40, last=40)


def _wait_for_more(daemon: FakeDaemon, speech: Any) -> None:
    """Read on; once the last credit has come, the request is cancelled from outside."""

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Credit) and message.last == 40:
            daemon.end(to, "Cancelled", message.req, 410)

    daemon.script = script
    next(speech)


def test_unread_chunks_of_one_speech_do_not_hold_up_another(daemon: FakeDaemon) -> None:
    """Two speeches share a session's window: whoever reads the second first must not wait for ever."""
    requests: dict[str, bytes] = {}

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            requests[text.decode()] = message.req
            daemon.accept(to, message.req)
            if text == b"first":
                daemon.chunk(to, message.req, 0, tone(10), tone(10))
        elif isinstance(message, schema.Credit) and message.req == requests["first"]:
            assert (message.first, message.last) == (0, 1)
            daemon.chunk(to, requests["second"], 0, tone(20))
            daemon.end(to, "Done", requests["second"], 20)
            daemon.end(to, "Done", requests["first"], 20)

    daemon.script = script
    with Voicebox() as box:
        first, second = box.say("first"), box.say("second")
        assert first.accepted.voice == "anna"
        assert second.collect().frames == 20
        assert first.collect().frames == 20


def test_events_come_in_order_and_notices_are_kept(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.send(to, schema.Notice(boot=BOOT, req=message.req, code="STARTING", message="a moment"))
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(10))
            daemon.send(to, schema.Reset(boot=BOOT, req=message.req, segment=0, frames=0, reason="it died"))
            daemon.chunk(to, message.req, 1, tone(10))
            daemon.end(to, "Done", message.req, 10)

    daemon.script = script
    with Voicebox() as box:
        speech = box.say("hello")
        kinds = [type(event) for event in speech.events()]
    assert kinds == [Notice, Accepted, Chunk, Reset, Chunk]
    assert speech.notices == [Notice("STARTING", "a moment")]


def test_what_is_taken_back_is_spoken_again_in_its_place(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(100, 0.1))
            daemon.chunk(to, message.req, 1, tone(100, 0.2), tone(100, 0.3), segment=1)
            daemon.send(to, schema.Reset(boot=BOOT, req=message.req, segment=1, frames=100, reason="it died"))
            daemon.chunk(to, message.req, 3, tone(150, 0.4), segment=1)
            daemon.end(to, "Done", message.req, 250, resumed="segment")

    daemon.script = script
    with Voicebox() as box:
        assert [chunk.start for chunk in box.say("a", on_failure="segment")] == [0, 100, 200, 100]
        audio = box.say("a", on_failure="segment").collect()
    assert bytes(audio.data) == tone(100, 0.1) + tone(150, 0.4)
    assert audio.as_array().shape == (250,)
    assert audio.result.resumed == "segment"


def test_the_end_of_the_timeline_is_the_results(daemon: FakeDaemon) -> None:
    """A reset that nothing follows leaves a tail in the reader's hands that no chunk takes back."""

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(100))
            daemon.send(to, schema.Reset(boot=BOOT, req=message.req, segment=0, frames=60, reason="it died"))
            daemon.end(to, "Done", message.req, 60)

    daemon.script = script
    with Voicebox() as box:
        assert box.say("a").collect().frames == 60


def test_failure_raises_after_the_sound_before_it_and_carries_the_result(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            daemon.chunk(to, message.req, 0, tone(10))
            daemon.end(to, "Failed", message.req, 10, code="NO_SUCH_VOICE", message="no voice 'x'; nearest: anna")

    daemon.script = script
    with Voicebox() as box:
        speech = box.say("hello")
        assert next(speech).frames == 10
        with pytest.raises(NoSuchVoice, match="nearest: anna") as raised:
            next(speech)
    assert vars(raised.value)["result"] is speech.result
    assert speech.result is not None
    assert (speech.result.state, speech.result.code) == ("failed", "NO_SUCH_VOICE")


def test_a_refused_request_has_no_accepted(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.end(to, "Failed", message.req, 0, code="NO_SUCH_VOICE", message="none")

    daemon.script = script
    with Voicebox() as box, pytest.raises(NoSuchVoice):
        _ = box.say("hello").accepted


def test_cancel_waits_for_the_last_word(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    with Voicebox() as box:
        speech = box.say("hello")
        next(speech)
        result = speech.cancel(wait=20)
        assert result is not None
        assert result.state == "cancelled"
        with pytest.raises(CancelledByRequest):
            list(speech)


def test_dropping_a_speech_cancels_it(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    with Voicebox() as box:
        for _ in box.say("hello"):
            break
        gc.collect()
        daemon.wait_for("Cancel")
        box.status()  # the orphan's last word is acknowledged on the way
        daemon.wait_for("EndAck")


def test_a_with_block_cancels_at_its_end(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    with Voicebox() as box:
        with box.say("hello") as speech:
            next(speech)
        daemon.wait_for("Cancel", req=speech.request_id)
        with pytest.raises(CancelledByRequest):
            next(speech)


def test_a_finished_speech_is_not_cancelled(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        with box.say("hello") as speech:
            list(speech)
        del speech
        gc.collect()
        box.status()
    assert not [message for message in daemon.received if isinstance(message, schema.Cancel)]


def test_a_lost_daemon_fails_every_open_speech_after_its_sound(daemon: FakeDaemon) -> None:
    daemon.script = only_accept
    with Voicebox() as box:
        speeches = [box.say("one"), box.say("two")]
        for speech in speeches:
            assert speech.accepted
        daemon.die()
        for speech in speeches:
            assert next(speech).frames == 240
            with pytest.raises(DaemonLost):
                next(speech)


def test_last_words_before_the_end_of_file_count(daemon: FakeDaemon) -> None:
    """A daemon that ends in order sends its terminal messages by another socket than its end of file."""

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.end(to, "Failed", message.req, 0, code="NO_SUCH_VOICE", message="none")

    daemon.script = script
    with Voicebox() as box:
        speech = box.say("hello")
        daemon.wait_for("Say")
        speech._link._dealer.poll(20_000)  # the message is here, unread, when the door closes
        daemon.die()
        with pytest.raises(NoSuchVoice):
            list(speech)


@pytest.mark.parametrize(
    "broken",
    [
        {"descriptors": [(1, 0, 10, 0)]},
        {"descriptors": [(0, 8, 10, 0)]},
    ],
)
def test_a_chunk_that_cannot_be_read_ends_the_connection(daemon: FakeDaemon, broken: dict[str, Any]) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.accept(to, message.req)
            chunk = schema.Chunk(boot=BOOT, req=message.req, attempt=1, segment=0, seq=0, **broken)
            daemon.send(to, chunk, tone(10))

    daemon.script = script
    with Voicebox() as box, pytest.raises(BadMessage):
        list(box.say("hello"))


def test_messages_of_another_boot_are_not_heard(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            daemon.send(to, schema.Notice(boot="another", req=message.req, code="X", message="stale"))
        speak(daemon, to, message, text)

    daemon.script = script
    with Voicebox() as box:
        speech = box.say("hello")
        list(speech)
    assert speech.notices == []
