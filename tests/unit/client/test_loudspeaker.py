"""Speech at the loudspeaker: no sound comes here, but how far the listener is, and an end when it was heard."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from tests.unit.client.fake_daemon import BOOT, DEVICES, RATE, FakeDaemon, answer_query, speak
from tests.unit.client.test_aio import anyio_backend
from voicebox_client import Accepted, AsyncVoicebox, Heard, Notice, Speech, Voicebox
from voicebox_protocol import schema
from voicebox_protocol.errors import (
    BadRequest,
    CancelledByRequest,
    DaemonLost,
    NoSuchRequest,
    Unsupported,
    VoiceboxError,
)

__all__ = ["anyio_backend"]

TEXT = "One två. Three four. Five six."
Script = Callable[[FakeDaemon, bytes, Any, bytes], None]


def silent(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    """The script of a daemon that accepts and is heard no further; Cancel ends it."""
    if isinstance(message, schema.Say):
        daemon.accept(to, message.req)
    elif isinstance(message, schema.Cancel):
        daemon.end(to, "Cancelled", message.req, 4800, heard_chars=2, heard_s=0.1)
    else:
        answer_query(daemon, to, message)


def cancels(daemon: FakeDaemon) -> list[Any]:
    return [message for message in daemon.received if isinstance(message, schema.Cancel)]


# --- asking and hearing


def test_who_follows_is_told_how_far_the_listener_is(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        speech = box.say("hello", sink="speaker", follow=True)
        assert list(speech.events()) == [
            Accepted(7, RATE, "builtin", "anna", "en"),
            Heard(frames=0, chars=0, segment=0, segment_frame=0, char_start=0, char_end=2),
            Heard(frames=1200, chars=1, segment=0, segment_frame=0, char_start=0, char_end=2),
            Heard(frames=2400, chars=2, segment=1, segment_frame=2400, char_start=2, char_end=5),
        ]
    assert daemon.wait_for("Say") == [schema.Say(boot=BOOT, req=speech.request_id, sink="speaker", follow=True)]


def test_it_ends_when_it_was_heard(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        speech = box.say("hello", sink="speaker")
        result = speech.wait()
    assert (result.state, result.heard_chars, result.heard_s) == ("done", 5, 0.2)
    assert result == speech.result
    assert list(speech) == []
    daemon.wait_for("EndAck", req=speech.request_id)


def test_what_is_not_wished_for_is_not_sent(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        first = box.say("hello", sink="speaker", follow=False, detached=False, wait_device=False)
        second = box.say("hello", sink="speaker", detached=True, wait_device=True)
        first.wait()
        second.wait()
    assert daemon.wait_for("Say", count=2) == [
        schema.Say(boot=BOOT, req=first.request_id, sink="speaker"),
        schema.Say(boot=BOOT, req=second.request_id, sink="speaker", detached=True, wait_device=True),
    ]


@pytest.mark.parametrize("name", ["follow", "detached", "wait_device"])
@pytest.mark.parametrize("sink", [None, "stream"])
def test_what_is_of_the_loudspeaker_is_refused_elsewhere(daemon: FakeDaemon, name: str, sink: str | None) -> None:
    with Voicebox() as box, pytest.raises(BadRequest, match=f"{name} goes with sink 'speaker'"):
        box.say("hello", sink=sink, **{name: True})  # type: ignore[arg-type]
    assert daemon.received == []


def test_who_stopped_it_or_why_is_told(daemon: FakeDaemon) -> None:
    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        daemon.accept(to, message.req)
        daemon.end(to, "Cancelled", message.req, 4800, heard_chars=2, heard_s=0.1, reason="newer text took its place")

    daemon.script = script
    with Voicebox() as box, pytest.raises(CancelledByRequest, match="newer text took its place") as raised:
        box.say("hello", sink="speaker").wait()
    assert (raised.value.result.heard_chars, raised.value.result.heard_s) == (2, 0.1)
    assert raised.value.result.reason == "newer text took its place"


def test_a_cancelled_one_says_what_was_heard(daemon: FakeDaemon) -> None:
    daemon.script = silent
    with Voicebox() as box:
        speech = box.say("hello", sink="speaker")
        assert speech.accepted
        result = speech.cancel(wait=60.0)
    assert result is not None
    assert (result.state, result.heard_s) == ("cancelled", 0.1)


def test_there_is_no_sound_to_collect_and_asking_for_it_harms_nothing(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = silent
    with Voicebox() as box:
        speech = box.say("hello", sink="speaker")
        with pytest.raises(BadRequest, match="leave out sink='speaker'"):
            speech.collect()
        with pytest.raises(BadRequest, match="leave out sink='speaker'"):
            speech.save(tmp_path / "x.wav")
        assert not speech.ended
    assert list(tmp_path.iterdir()) == []


def test_a_daemon_without_a_loudspeaker_is_told_of_before_anything_is_asked(daemon: FakeDaemon) -> None:
    daemon.features.remove("loudspeaker")
    asks: list[Callable[[Voicebox], object]] = [
        lambda box: box.say("hello", sink="speaker"),
        lambda box: box.replay(),
        lambda box: box.pause(),
        lambda box: box.audio(volume=0.5),
    ]
    with Voicebox() as box:
        for ask in asks:
            with pytest.raises(Unsupported, match="voicebox daemon restart"):
                ask(box)
    daemon.wait_for_departures(1)
    assert [type(message) for message in daemon.received] == [schema.Hello]


# --- without its client


def left_alone(daemon: FakeDaemon, leave: Callable[[Voicebox, Speech], object]) -> Any:
    """A detached request that its client leaves so, and then asks something else: the Say."""
    daemon.script = silent
    with Voicebox() as box:
        speech = box.say("hello", sink="speaker", detached=True)
        assert speech.accepted
        leave(box, speech)
        del speech
        gc.collect()
        box.status()
    daemon.wait_for_departures(1)
    return daemon.wait_for("Say")[0]


@pytest.mark.parametrize("way", [lambda box, speech: speech.close(), lambda box, speech: box.close(), lambda *_: None])
def test_a_detached_one_goes_on_when_it_is_closed_dropped_or_left(
    daemon: FakeDaemon, way: Callable[[Voicebox, Speech], object]
) -> None:
    assert left_alone(daemon, way).detached
    assert cancels(daemon) == []


def test_a_detached_one_can_still_be_cancelled(daemon: FakeDaemon) -> None:
    left_alone(daemon, lambda box, speech: speech.cancel())
    assert len(cancels(daemon)) == 1


def test_a_detached_one_has_its_whole_text(daemon: FakeDaemon) -> None:
    with Voicebox() as box, pytest.raises(BadRequest, match="whole text"):
        box.say(iter(["One ", "two."]), sink="speaker", detached=True)
    assert daemon.received == []


# --- what else the loudspeaker does


def test_a_replay_names_what_to_play_again(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        last, named = box.replay(), box.replay("r1", follow=True)
        assert last.wait().heard_chars == 5
        assert sum(isinstance(event, Heard) for event in named.events()) == 3
    assert daemon.wait_for("Say", count=2) == [
        schema.Say(boot=BOOT, req=last.request_id, sink="speaker", replay="last"),
        schema.Say(boot=BOOT, req=named.request_id, sink="speaker", replay="r1", follow=True),
    ]


@pytest.mark.parametrize("action", ["pause", "resume", "skip"])
def test_the_loudspeaker_obeys(daemon: FakeDaemon, action: str) -> None:
    with Voicebox() as box:
        assert getattr(box, action)() == (["r1", "r2"], 2)
        assert getattr(box, action)(all=True).total == 2
        with pytest.raises(NoSuchRequest):
            getattr(box, action)("unknown")
    first, second, third = daemon.wait_for("Playback", count=3, action=action)
    assert [(each.req, each.all) for each in (first, second, third)] == [(None, None), (None, True), ("unknown", None)]


def test_how_it_is_is_told_and_changed(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        assert box.audio()["volume"] == 0.8
        assert box.audio(volume=0, muted=True, device="")["muted"] is True
        assert box.audio(devices=True)["devices"] == DEVICES
    asked = [(each.volume, each.muted, each.device, each.devices) for each in daemon.wait_for("Audio", count=3)]
    assert asked == [(None, None, None, None), (0.0, True, "", None), (None, None, None, True)]


@pytest.mark.parametrize(
    "wrong", [{"volume": 1.01}, {"volume": -0.1}, {"volume": "loud"}, {"muted": 1}, {"device": "x" * 200}]
)
def test_what_it_cannot_be_is_refused_here(daemon: FakeDaemon, wrong: dict[str, Any]) -> None:
    with Voicebox() as box, pytest.raises(BadRequest, match=next(iter(wrong))):
        box.audio(**wrong)
    assert daemon.received == []


@pytest.mark.anyio
async def test_all_of_it_in_an_event_loop(daemon: FakeDaemon) -> None:
    async with AsyncVoicebox() as box:
        speech = await box.say("hello", sink="speaker", follow=True)
        heard = [event async for event in speech.events() if isinstance(event, Heard)]
        assert [each.frames for each in heard] == [0, 1200, 2400]
        assert (await speech.wait()).heard_chars == 5
        with pytest.raises(BadRequest, match="leave out sink='speaker'"):
            await speech.collect()
        assert (await (await box.replay()).wait()).heard_s == 0.2
        assert [(await ask()).total for ask in (box.pause, box.resume, box.skip)] == [2, 2, 2]
        assert (await box.audio(volume=0.3))["volume"] == 0.3
        daemon.script = silent
        left = await box.say("hello", sink="speaker", detached=True)
        await left.accepted()
        await left.aclose()
        await box.audio()
    await anyio.to_thread.run_sync(daemon.wait_for_departures, 1)
    assert cancels(daemon) == []


@pytest.mark.anyio
async def test_an_event_loop_needs_a_loudspeaker_too(daemon: FakeDaemon) -> None:
    daemon.features.remove("loudspeaker")
    async with AsyncVoicebox() as box:
        for ask in (lambda: box.say("hello", sink="speaker"), box.replay, box.skip, box.audio):
            with pytest.raises(Unsupported, match="voicebox daemon restart"):
                await ask()
        with pytest.raises(BadRequest, match="whole text"):
            await box.say(iter(["One."]), sink="speaker", detached=True)


# --- the next daemon

# Where each sentence begins and ends, in characters, and its first frame.
PLACES = ((0, 9, 0), (9, 21, 300), (21, 30, 800))


def hears(*positions: tuple[int, int, int], notices: tuple[str, ...] = ()) -> Script:
    """A daemon whose listener comes so far: (segment, frames, chars) each; then it says no more."""

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if not isinstance(message, schema.Say):
            return
        daemon.accept(to, message.req)
        for code in notices:
            daemon.send(to, schema.Notice(boot=daemon.boot, req=message.req, code=code, message="as I said"))
        for segment, frames, chars in positions:
            start, end, begin = PLACES[segment]
            daemon.hear(to, message.req, frames, chars, segment, begin, start, end)

    return script


def ends(state: str = "Done", **fields: Any) -> Script:
    """A daemon that has everything heard to its end."""

    def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
        if isinstance(message, schema.Say):
            if state == "Done":
                daemon.accept(to, message.req)
            daemon.end(to, state, message.req, **{"frames": 1000, "segments": 3, **fields})

    return script


def heard_so_far(speech: Speech, count: int) -> None:
    """Read until so many `Heard` have come."""
    events = speech.events()
    while count:
        count -= isinstance(next(events), Heard)


@pytest.mark.parametrize(
    ("positions", "told"),
    [
        ([], {}),
        ([(0, 0, 0)], {}),
        ([(0, 0, 0), (0, 100, 3)], {"from_segment": 0, "from_char": 0, "base_frames": 0}),
        ([(0, 100, 3), (1, 300, 9)], {"from_segment": 1, "from_char": 9, "base_frames": 300}),
        ([(0, 0, 0), (1, 300, 9), (1, 700, 15)], {"from_segment": 1, "from_char": 9, "base_frames": 300}),
        ([(0, 0, 0), (1, 700, 15), (2, 900, 27)], {"from_segment": 2, "from_char": 21, "base_frames": 800}),
    ],
)
def test_the_next_daemon_says_the_sentence_that_was_being_heard_from_its_start(
    runtime_dir: Path, positions: list[tuple[int, int, int]], told: dict[str, Any]
) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, hears(*positions)) as first:
        speech = box.say(TEXT, sink="speaker", resume=True)
        assert speech.accepted
        heard_so_far(speech, len(positions))
        first.die()
        with FakeDaemon(runtime_dir, ends(heard_chars=30, heard_s=0.04), boot="second") as second:
            result = speech.wait()
            (again,) = second.wait_for("Say")
            text = second.texts[speech.request_id].decode()
    named: dict[str, Any] = {"voice": "anna", "provider": "builtin", "seed": 7, "sample_rate": RATE}
    assert again == schema.Say(boot="second", req=speech.request_id, sink="speaker", follow=True, **named, **told)
    assert text == TEXT[told.get("from_char", 0) :]
    assert (result.state, result.segments, result.heard_chars, result.heard_s) == ("done", 3, 30, 0.04)
    assert [run["outcome"] for run in result.attempts] == ["failed", "done"]
    assert [notice.code for notice in speech.notices] == ["RECONNECTED"]


def test_of_a_daemon_that_cannot_even_begin_the_result_is_what_was_heard_before(runtime_dir: Path) -> None:
    nothing: dict[str, Any] = {
        "provider": None,
        "voice": None,
        "sample_rate": None,
        "frames": 0,
        "segments": 0,
        "delivered_chars": 0,
    }
    failed = ends("Failed", **nothing, code="NO_AUDIO_DEVICE", message="gone", attempts=[], heard_chars=0, heard_s=0.0)
    with Voicebox() as box, FakeDaemon(runtime_dir, hears((0, 0, 0), (1, 700, 15))) as first:
        speech = box.say(TEXT, sink="speaker", resume=True)
        heard_so_far(speech, 2)
        first.die()
        with FakeDaemon(runtime_dir, failed, boot="second"), pytest.raises(VoiceboxError, match="gone"):
            speech.wait()
    result = speech.result
    assert result is not None
    assert (result.heard_chars, result.heard_s, result.frames) == (15, 700 / RATE, 700)
    assert (result.segments, result.delivered_chars, result.provider) == (1, 9, "builtin")


def test_a_sentence_that_is_not_whole_is_not_counted(runtime_dir: Path) -> None:
    script = hears((0, 0, 0), (1, 200, 9), (2, 900, 27), notices=("SKIPPED",))
    with Voicebox() as box, FakeDaemon(runtime_dir, script) as first:
        speech = box.say(TEXT, sink="speaker", resume=True)
        heard_so_far(speech, 3)
        first.die()
        with FakeDaemon(runtime_dir, ends(), boot="second"):
            result = speech.wait()
    assert (result.segments, result.resumed) == (2, "next")


def test_text_that_is_still_being_written_is_kept_from_that_sentence_on(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, hears((0, 0, 0), (1, 500, 12))) as first:
        speech = box.say(iter([TEXT[:15], TEXT[15:]]), sink="speaker", resume=True)
        heard_so_far(speech, 2)
        first.wait_for("Text", last=True)
        first.die()

        def script(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
            if isinstance(message, schema.Say):
                daemon.accept(to, message.req)
            elif isinstance(message, schema.Text) and message.last:
                daemon.end(to, "Done", message.req, 1000, segments=3, heard_chars=30, heard_s=0.04)

        with FakeDaemon(runtime_dir, script, boot="second") as second:
            assert speech.wait().heard_chars == 30
            assert second.texts[speech.request_id].decode() == TEXT[9:]


def test_three_daemons_in_a_row_of_which_nothing_is_heard_are_enough(runtime_dir: Path) -> None:
    with Voicebox() as box:
        with FakeDaemon(runtime_dir, hears((0, 100, 3))) as first:
            speech = box.say(TEXT, sink="speaker", resume=True)
            heard_so_far(speech, 1)
            first.die()
        events = speech.events()
        for number in range(3):
            # It is said again up to where it had been, and no further.
            with FakeDaemon(runtime_dir, hears((0, 0, 0), (0, 100, 3)), boot=f"b{number}") as daemon:
                found = [next(events) for _ in range(3)]
                assert [type(event) for event in found] == [Notice, Heard, Heard]
                daemon.die()
        with pytest.raises(DaemonLost, match="3 others in a row"):
            next(events)


def test_a_next_daemon_that_cannot_play_is_the_end(runtime_dir: Path) -> None:
    with Voicebox() as box, FakeDaemon(runtime_dir, hears((0, 100, 3))) as first:
        speech = box.say(TEXT, sink="speaker", resume=True)
        heard_so_far(speech, 1)
        first.die()
        second = FakeDaemon(runtime_dir, speak, boot="second")
        second.features.remove("loudspeaker")
        with second, pytest.raises(DaemonLost, match=r"cannot play on the loudspeaker"):
            speech.wait()


@pytest.mark.anyio
async def test_in_an_event_loop_the_next_daemon_goes_on_too(runtime_dir: Path) -> None:
    async with AsyncVoicebox() as box:
        with FakeDaemon(runtime_dir, hears((0, 0, 0), (1, 700, 15))) as first:
            speech = await box.say(TEXT, sink="speaker", resume=True)
            events = speech.events()
            while not isinstance(event := await anext(events), Heard) or event.segment == 0:
                pass
            await anyio.to_thread.run_sync(first.die)
        with FakeDaemon(runtime_dir, ends(heard_chars=30, heard_s=0.04), boot="second") as second:
            assert (await speech.wait()).heard_chars == 30
            (again,) = second.wait_for("Say")
    assert (again.from_segment, again.from_char, again.base_frames, again.from_frame) == (1, 9, 300, None)
