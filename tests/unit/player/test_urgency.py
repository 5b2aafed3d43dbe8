"""What a busy player does first."""

from __future__ import annotations

from typing import Any

from voicebox_player.urgency import urgent_first
from voicebox_protocol import schema
from voicebox_protocol.schema import Message


def play(req: str) -> Message:
    return schema.Play(boot="b", req=req, sample_rate=48_000, frame=0, at=0)


def chunk(req: str, seq: int) -> Message:
    return schema.Chunk(boot="b", req=req, attempt=1, segment=0, seq=seq, descriptors=[(0, 0, 1, 0)])


def speaker(*, paused: bool) -> Message:
    return schema.Speaker(boot="b", volume=1.0, muted=False, paused=paused)


def order(*messages: Message) -> list[Any]:
    """Names of what is acted upon, in order, and of what is passed over, in brackets."""
    come = urgent_first([(message, b"") for message in messages])
    names = [f"{type(each.message).__name__} {getattr(each.message, 'req', '')}".strip() for each in come]
    return [f"({name})" if each.pointless else name for name, each in zip(names, come, strict=True)]


def test_sound_before_a_hush_is_passed_over() -> None:
    hush, finish = schema.Hush(boot="b", req="a"), schema.Finish(boot="b", req="a", frames=2)
    assert order(play("a"), chunk("a", 0), chunk("a", 1), finish, hush, play("b"), chunk("b", 0)) == [
        "Play a",
        "(Chunk a)",
        "(Chunk a)",
        "(Finish a)",
        "Hush a",
        "Play b",
        "Chunk b",
    ]


def test_another_turn_of_the_same_request_is_another_turn() -> None:
    hush = schema.Hush(boot="b", req="a")
    assert order(chunk("a", 0), hush, play("a"), chunk("a", 0)) == ["(Chunk a)", "Hush a", "Play a", "Chunk a"]
    assert order(chunk("a", 0), play("a"), chunk("a", 0), hush) == ["Chunk a", "Play a", "(Chunk a)", "Hush a"]


def test_a_pause_goes_before_all_sound_and_only_the_last_word_counts() -> None:
    come = urgent_first([(m, b"") for m in (chunk("a", 0), speaker(paused=False), chunk("a", 1), speaker(paused=True))])
    assert [type(each.message).__name__ for each in come] == ["Speaker", "Chunk", "Chunk"]
    first = come[0].message
    assert isinstance(first, schema.Speaker)
    assert first.paused
    assert [getattr(each.message, "seq", None) for each in come[1:]] == [0, 1]


def test_nothing_that_has_no_need_is_moved() -> None:
    messages = [play("a"), chunk("a", 0), chunk("a", 1), schema.Finish(boot="b", req="a", frames=2), schema.Bye()]
    assert [each.message for each in urgent_first([(message, b"") for message in messages])] == messages
    assert urgent_first([]) == []
