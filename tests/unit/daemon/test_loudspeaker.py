"""The loudspeaker's books, with everything else of the daemon's core around them, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.simulation import FRAMES_PER_CHAR, Simulation, virtual_time
from voicebox_protocol import errors, schema
from voicebox_protocol.configuration import ProviderConfig
from voiceboxd.effects import ToClient
from voiceboxd.loudspeaker import Loudspeaker

TEXT = "Hello there. This is a test. "
RATE = 24_000

Simulate = Callable[[], Simulation]


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulate:
    clock = virtual_time(monkeypatch)
    providers = {"p": ProviderConfig(engine="x", standby="none")}
    return lambda: Simulation(clock, tmp_path, providers)


def aloud(simulation: Simulation, req: str, text: str = TEXT, **wishes: Any) -> None:
    simulation.say(req, text, sink="speaker", **wishes)


def loudspeaker(simulation: Simulation) -> Loudspeaker:
    return simulation.dispatcher.loudspeaker


def heard_frames(simulation: Simulation, req: str) -> int:
    return sum(last - first for first, last in simulation.player.heard.get(req, []))


def told(simulation: Simulation) -> list[schema.Message]:
    """All that clients are told from now on."""
    messages: list[schema.Message] = []
    send = simulation.send

    def noted(effect: ToClient) -> None:
        messages.append(effect.message)
        send(effect)

    simulation.send = noted  # type: ignore[method-assign]
    return messages


def codes(messages: list[schema.Message]) -> list[str]:
    return [message.code for message in messages if isinstance(message, schema.Notice)]


def test_it_ends_when_it_was_heard_and_not_when_it_was_made(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    simulation.player.held = True
    simulation.rounds(50)
    assert simulation.phases() == ["ready"], "all of it was made"
    assert not simulation.ends
    simulation.player.held = False
    simulation.until(lambda: "r" in simulation.ends)
    end = simulation.ends["r"]
    assert isinstance(end, schema.Done)
    assert (end.heard_chars, end.frames) == (len(TEXT), len(TEXT) * FRAMES_PER_CHAR)
    assert end.heard_s == end.frames / RATE


def test_no_chunk_comes_to_its_client(simulate: Simulate) -> None:
    simulation = simulate()
    messages = told(simulation)
    aloud(simulation, "r")
    simulation.until(lambda: "r" in simulation.ends)
    assert {type(message).__name__ for message in messages} == {"Notice", "Accepted", "Done"}


def test_one_that_is_cancelled_tells_what_was_heard(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 3 * FRAMES_PER_CHAR)
    simulation.player.held = True
    simulation.rounds(50)
    simulation.cancel("r")
    assert not simulation.ends, "the player has not said how far it came"
    simulation.player.held = False
    simulation.round()
    end = simulation.ends["r"]
    assert isinstance(end, schema.Cancelled)
    assert end.heard_s == heard_frames(simulation, "r") / RATE
    assert end.frames > heard_frames(simulation, "r")
    assert 0 < (end.heard_chars or 0) < len(TEXT)


def test_the_next_is_made_while_the_present_one_is_heard_and_no_other(simulate: Simulate) -> None:
    simulation = simulate()
    for req in ("first", "second", "third"):
        aloud(simulation, req)
    simulation.until(lambda: heard_frames(simulation, "first") > 0)
    simulation.player.held = True
    simulation.rounds(100)
    requests = simulation.dispatcher.ledger.requests
    whole = len(TEXT) * FRAMES_PER_CHAR
    assert [requests[req].frames for req in ("first", "second", "third")] == [whole, whole, 0]
    simulation.player.held = False
    simulation.until(lambda: len(simulation.ends) == 3)
    assert simulation.player.begun == ["first", "second", "third"]


def test_a_player_that_dies_leaves_nothing_out_and_repeats_nothing(simulate: Simulate) -> None:
    simulation = simulate()
    messages = told(simulation)
    aloud(simulation, "r", TEXT * 8)
    for blocks in (1, 2, 3, 5, 8):
        until = heard_frames(simulation, "r") + 6000 * blocks
        simulation.until(lambda until=until: heard_frames(simulation, "r") >= until)  # type: ignore[misc]
        simulation.player.die()
    simulation.until(lambda: "r" in simulation.ends)
    assert simulation.player.missing("r", len(TEXT) * 8 * FRAMES_PER_CHAR) == []
    assert codes(messages).count("PLAYER") == 5


def test_a_player_that_plays_nothing_is_ended(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    simulation.player.held = True
    simulation.rounds(30)
    simulation.advance(11)
    assert simulation.player.killed
    simulation.player.held = False
    simulation.until(lambda: "r" in simulation.ends)
    assert simulation.player.missing("r", len(TEXT) * FRAMES_PER_CHAR) == []


def test_a_pause_is_no_silence_of_the_player(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    loudspeaker(simulation).playback("pause", None, everything=False)
    simulation.rounds(10)
    before = heard_frames(simulation, "r")
    simulation.advance(3600)
    simulation.rounds(10)
    assert not simulation.player.killed
    assert heard_frames(simulation, "r") == before
    loudspeaker(simulation).playback("resume", None, everything=False)
    simulation.until(lambda: "r" in simulation.ends)
    assert isinstance(simulation.ends["r"], schema.Done)


def test_a_player_that_does_not_say_how_far_it_came_is_ended(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    simulation.player.held = True
    simulation.cancel("r")
    simulation.advance(4)
    assert simulation.player.killed
    simulation.round()
    assert simulation.ends["r"].heard_s == heard_frames(simulation, "r") / RATE


def test_what_cannot_be_spoken_cuts_nobody_off(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "old", priority="text")
    simulation.until(lambda: heard_frames(simulation, "old") > 0)
    aloud(simulation, "silent", "…", priority="text")
    aloud(simulation, "nobody", priority="text", voice="nosuchvoice")
    assert {req: end.code for req, end in simulation.ends.items() if isinstance(end, schema.Failed)} == {
        "silent": "NOTHING_TO_SAY",
        "nobody": "NO_SUCH_VOICE",
    }
    aloud(simulation, "new", priority="text")
    simulation.round()
    end = simulation.ends["old"]
    assert isinstance(end, schema.Cancelled)
    assert end.reason
    simulation.until(lambda: "new" in simulation.ends)


def test_without_a_device_it_fails_at_once_or_waits_for_one(simulate: Simulate) -> None:
    simulation = simulate()
    messages = told(simulation)
    simulation.player.no_device = True
    aloud(simulation, "r")
    simulation.until(lambda: "r" in simulation.ends)
    end = simulation.ends["r"]
    assert isinstance(end, schema.Failed)
    assert end.code == "NO_AUDIO_DEVICE"
    aloud(simulation, "waits", wait_device=True)
    simulation.run(60.0, step=1.0)
    assert "waits" not in simulation.ends
    assert codes(messages).count("WAITING") == 1
    simulation.player.no_device = False
    simulation.run(60.0, step=1.0)
    assert isinstance(simulation.ends["waits"], schema.Done)


def test_a_player_that_cannot_be_had_fails_all_that_wait_for_it(simulate: Simulate) -> None:
    simulation = simulate()
    for req in ("a", "b"):
        aloud(simulation, req)
    loudspeaker(simulation).player_failed("it cannot be started")
    assert {end.code for end in simulation.ends.values() if isinstance(end, schema.Failed)} == {"OUTPUT_FAILED"}
    assert len(simulation.ends) == 2


def test_an_engine_that_fails_for_good_is_heard_to_the_end_of_what_it_made(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r", TEXT * 8, on_failure="fail")
    request = simulation.dispatcher.ledger.requests["r"]
    simulation.until(lambda: request.segments == 3)
    for _ in range(20):
        for process in simulation.processes:
            process.fail_segment()
    assert request.verdict is not None
    assert not simulation.ends
    simulation.until(lambda: "r" in simulation.ends)
    end = simulation.ends["r"]
    assert isinstance(end, schema.Failed)
    assert end.code == "PROVIDER_FAILED"
    assert end.frames > 0
    assert simulation.player.missing("r", end.frames) == []
    assert end.heard_s == end.frames / RATE


def test_a_request_outlives_its_client_if_it_is_to(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "gone", session="a")
    aloud(simulation, "stays", session="b", detached=True)
    simulation.until(lambda: heard_frames(simulation, "gone") > 0)
    simulation.leave("a")
    simulation.leave("b")
    simulation.until(lambda: not simulation.dispatcher.ledger.requests)
    assert heard_frames(simulation, "gone") < len(TEXT) * FRAMES_PER_CHAR
    assert simulation.player.missing("stays", len(TEXT) * FRAMES_PER_CHAR) == []


def test_what_was_heard_is_spoken_again_with_its_own_seed(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "first", "Once.")
    aloud(simulation, "second", "Twice and more.")
    simulation.until(lambda: len(simulation.ends) == 2)
    simulation.say("last", "", replay="last", sink="speaker")
    simulation.say("named", "", replay="first", sink="speaker")
    simulation.until(lambda: len(simulation.ends) == 4)
    for again, before in (("last", "second"), ("named", "first")):
        assert (simulation.ends[again].seed, simulation.ends[again].frames) == (
            simulation.ends[before].seed,
            simulation.ends[before].frames,
        )
    simulation.say("none", "", replay="nosuch", sink="speaker")
    end = simulation.ends["none"]
    assert isinstance(end, schema.Failed)
    assert end.code == "NO_SUCH_REQUEST"


def test_stopping_everything_leaves_no_paused_loudspeaker(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    loudspeaker(simulation).playback("pause", None, everything=False)
    simulation.dispatcher.stop(None, everything=False)
    aloud(simulation, "next")
    simulation.until(lambda: "next" in simulation.ends)
    assert isinstance(simulation.ends["next"], schema.Done)


def test_who_comes_in_a_pause_is_told_so(simulate: Simulate) -> None:
    simulation = simulate()
    messages = told(simulation)
    loudspeaker(simulation).playback("pause", None, everything=False)
    aloud(simulation, "r")
    simulation.rounds(50)
    assert "WAITING" in codes(messages)
    assert not simulation.ends


def test_something_important_may_be_said_by_another_voice(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r", priority="important")
    aloud(simulation, "s", priority="message")
    requests = simulation.dispatcher.ledger.requests
    assert (requests["r"].say.any_voice, requests["s"].say.any_voice) == (True, None)
    assert (requests["r"].say.on_failure, requests["s"].say.on_failure) == ("segment", None)


def test_playback_of_what_is_not_there(simulate: Simulate) -> None:
    simulation = simulate()
    assert loudspeaker(simulation).playback("skip", None, everything=False) == []
    with pytest.raises(errors.NoSuchRequest):
        loudspeaker(simulation).playback("skip", "nosuch", everything=False)
    with pytest.raises(errors.BadRequest, match="skip, pause, resume"):
        loudspeaker(simulation).playback("rewind", None, everything=False)
    with pytest.raises(errors.BadRequest, match="0 to 1"):
        loudspeaker(simulation).set(1.5, None, None)


def test_who_follows_hears_how_far_it_is(simulate: Simulate) -> None:
    simulation = simulate()
    messages = told(simulation)
    aloud(simulation, "r", TEXT * 4, follow=True)
    simulation.until(lambda: "r" in simulation.ends)
    heard = [message for message in messages if isinstance(message, schema.Heard)]
    assert len(heard) > 2
    assert [each.frames for each in heard] == sorted(each.frames for each in heard)
    assert all(each.char_start <= each.chars <= each.char_end for each in heard)
    assert {each.segment for each in heard} >= {1, 2, 3}


def test_a_player_that_waits_for_sound_is_left_alone(simulate: Simulate) -> None:
    """What its converter keeps back until more comes was taken for sound that it does not play: it was ended every ten seconds."""
    simulation = simulate()
    aloud(simulation, "r", TEXT + "And what is it, then", more=True)
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    for _ in range(100):
        simulation.round()
    hearing = loudspeaker(simulation)._aloud["r"].hearing
    hearing.listened(hearing.end - 600)
    simulation.advance(3600)
    assert not simulation.player.killed
    simulation.text("r", " more.", last=True)
    simulation.until(lambda: "r" in simulation.ends)


def test_a_player_that_hangs_is_ended_however_often_it_is_hushed(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r0", priority="text")
    simulation.until(lambda: heard_frames(simulation, "r0") > 0)
    simulation.player.held = True
    for number in range(1, 4):
        aloud(simulation, f"r{number}", priority="text")
        simulation.rounds(5)
        simulation.advance(2)
    assert simulation.player.kills
    simulation.player.held = False
    simulation.until(lambda: len(simulation.ends) == 4)


def test_the_end_of_the_daemon_is_silent_and_begins_nothing(simulate: Simulate) -> None:
    simulation = simulate()
    for req in ("first", "second"):
        aloud(simulation, req)
    simulation.until(lambda: heard_frames(simulation, "first") > 0)
    simulation.player.held = True
    simulation.rounds(100)
    simulation.dispatcher.fail_all()
    simulation.player.held = False
    simulation.rounds(20)
    assert simulation.player.begun == ["first"]
    assert {end.code for end in simulation.ends.values() if isinstance(end, schema.Failed)} == {"SHUTTING_DOWN"}
    assert simulation.ends["first"].heard_s == heard_frames(simulation, "first") / RATE


def test_what_is_paused_by_name_is_not_made_to_its_end(simulate: Simulate) -> None:
    """Segments made ahead went on being made, uncounted."""
    simulation = simulate()
    aloud(simulation, "book", TEXT * 400)
    simulation.until(lambda: heard_frames(simulation, "book") > 0)
    loudspeaker(simulation).playback("pause", "book", everything=False)
    simulation.rounds(2000)
    hearing = loudspeaker(simulation)._aloud["book"].hearing
    assert hearing.end - hearing.heard < 45 * RATE
    for number in range(3):
        aloud(simulation, f"r{number}", priority="important")
    simulation.until(lambda: len(simulation.ends) == 3)
    assert hearing.end - hearing.heard < 45 * RATE


def test_a_provider_that_is_removed_takes_nothing_along_that_was_made(simulate: Simulate) -> None:
    simulation = simulate()
    for req in ("first", "second"):
        aloud(simulation, req)
    simulation.until(lambda: heard_frames(simulation, "first") > 0)
    simulation.player.held = True
    simulation.rounds(100)
    simulation.remove("p")
    simulation.player.held = False
    simulation.until(lambda: len(simulation.ends) == 2)
    assert {type(end) for end in simulation.ends.values()} == {schema.Done}


def test_a_notification_after_stop_is_heard(simulate: Simulate) -> None:
    """The one that was stopped kept its turn until the player had said how far it came."""
    simulation = simulate()
    aloud(simulation, "r")
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    simulation.dispatcher.stop(None, everything=False)
    aloud(simulation, "note", priority="notification")
    simulation.until(lambda: "note" in simulation.ends)
    assert isinstance(simulation.ends["note"], schema.Done)


def test_a_paused_loudspeaker_is_not_stalled_for_others(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r", TEXT * 40)
    simulation.until(lambda: heard_frames(simulation, "r") > 0)
    loudspeaker(simulation).playback("pause", None, everything=False)
    simulation.rounds(100)
    simulation.advance(3600)
    assert list(simulation.dispatcher._streams) == []


def test_a_text_that_comes_in_many_pieces_is_kept_without_counting_it_anew(simulate: Simulate) -> None:
    simulation = simulate()
    aloud(simulation, "r", "Hello", more=True)
    own = loudspeaker(simulation)
    for _ in range(3):
        own.text("r", "x" * 500_000)
    own.text("r", "!")
    assert own._aloud["r"].text == "Hello" + "x" * 1_000_000
