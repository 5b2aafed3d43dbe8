"""The provider's half of the conversation, without time or sockets."""

from __future__ import annotations

import pytest

from voicebox_protocol import wire
from voicebox_protocol.schema import (
    Beat,
    Bye,
    Cancel,
    Chunk,
    Error,
    Exit,
    Message,
    Ready,
    SegmentDone,
    Synthesize,
    Welcome,
    encode,
)
from voicebox_provider.conversation import (
    BEAT_S,
    EXIT_LOST,
    EXIT_OK,
    EXIT_PERMANENT,
    FIRST_BEAT_S,
    WELCOME_S,
    Conversation,
    Job,
    Leave,
)


class Scene:
    """A conversation of epoch 3, begun at 0, and what it delivered."""

    def __init__(self, *, welcomed: bool = True, ready: bool = True) -> None:
        self.delivered: list[Job | Leave] = []
        self.talk = Conversation(3, self.delivered.append, 0.0)
        if welcomed:
            self.hear(Welcome(proto=1, boot="b", session="s", version="0", pid=1))
        if ready:
            self.talk.sending(Ready(epoch=3, load_ms=1.0), 0.0)

    def hear(self, message: Message, payload: bytes = b"", now: float = 0.0) -> list[Message]:
        return self.talk.received([wire.MAGIC, encode(message), payload], now)

    def ask(self, req: str = "r", attempt: int = 1, segment: int = 0, boot: str = "b", epoch: int = 3) -> None:
        self.hear(
            Synthesize(boot=boot, epoch=epoch, req=req, attempt=attempt, segment=segment, seed=1, sample_rate=24000)
        )

    def jobs(self) -> list[Job]:
        return [item for item in self.delivered if isinstance(item, Job)]


def test_nobody_s_welcome_is_waited_for_longer_than_its_deadline() -> None:
    scene = Scene(welcomed=False)
    assert scene.talk.deadline() == WELCOME_S
    scene.talk.due(WELCOME_S - 0.01)
    assert scene.talk.exit_code is None
    scene.talk.due(WELCOME_S)
    assert scene.talk.exit_code == EXIT_LOST


def test_work_before_welcome_is_stale() -> None:
    scene = Scene(welcomed=False)
    scene.ask()
    assert (scene.delivered, scene.talk.stale) == ([], 1)


@pytest.mark.parametrize(("boot", "epoch"), [("other", 3), ("b", 2), ("b", 4)])
def test_work_of_another_life_is_dropped_and_counted(boot: str, epoch: int) -> None:
    scene = Scene()
    scene.ask(boot=boot, epoch=epoch)
    assert (scene.delivered, scene.talk.stale) == ([], 1)


def test_a_second_welcome_changes_nothing() -> None:
    scene = Scene()
    scene.hear(Welcome(proto=1, boot="thief", session="s", version="0", pid=1))
    scene.ask()
    assert len(scene.jobs()) == 1
    assert scene.talk.stale == 1


@pytest.mark.parametrize(("code", "exit_code"), [("INCOMPATIBLE", EXIT_PERMANENT), ("BAD_MESSAGE", EXIT_LOST)])
def test_an_error_instead_of_welcome_is_the_end(code: str, exit_code: int) -> None:
    scene = Scene(welcomed=False)
    scene.hear(Error(code=code, message="no"))
    assert scene.talk.exit_code == exit_code


def test_an_error_later_on_is_not() -> None:
    scene = Scene()
    scene.hear(Error(code="BAD_MESSAGE", message="no"))
    assert scene.talk.exit_code is None


def test_beats_come_while_something_is_owed_and_nothing_ticks_otherwise() -> None:
    scene = Scene()
    assert scene.talk.deadline() is None
    scene.ask()
    # The first soon: after a rest the daemon wants to know whether anybody is there.
    assert scene.talk.deadline() == FIRST_BEAT_S
    assert scene.talk.due(0.0) == []
    assert scene.talk.due(FIRST_BEAT_S) == [Beat(epoch=3, steps=0)]
    assert scene.talk.deadline() == FIRST_BEAT_S + BEAT_S
    assert scene.talk.due(FIRST_BEAT_S + BEAT_S - 0.01) == []
    scene.talk.step()
    assert scene.talk.due(FIRST_BEAT_S + BEAT_S) == [Beat(epoch=3, steps=1)]
    assert scene.talk.deadline() == FIRST_BEAT_S + 2 * BEAT_S
    scene.talk.sending(SegmentDone(epoch=3, req="r", attempt=1, segment=0, frames=1), 1.5)
    assert scene.talk.deadline() is None
    assert scene.talk.due(100.0) == []


def test_sound_tells_as_much_as_a_beat() -> None:
    scene = Scene()
    scene.ask()
    sound = Chunk(epoch=3, req="r", attempt=1, segment=0, seq=0, descriptors=[(0, 0, 1, 0)])
    scene.talk.sending(sound, 0.01)
    assert scene.talk.deadline() == 0.01 + BEAT_S


def test_it_beats_from_welcome_until_it_is_ready() -> None:
    scene = Scene(ready=False)
    assert scene.talk.due(BEAT_S) == [Beat(epoch=3, steps=0)]
    scene.talk.sending(Ready(epoch=3, load_ms=1.0), 1.5)
    assert scene.talk.deadline() is None


@pytest.mark.parametrize(
    ("cancel", "hit"),
    [
        (Cancel(boot="b", req="r"), [True, True, True, False]),
        (Cancel(boot="b", req="r", attempt=2), [False, False, True, False]),
        (Cancel(boot="b", req="r", attempt=1, segment=1), [False, True, False, False]),
        (Cancel(boot="b", req="r", epoch=2), [False] * 4),
        (Cancel(boot="x", req="r"), [False] * 4),
    ],
)
def test_cancel_means_what_it_names(cancel: Cancel, hit: list[bool]) -> None:
    scene = Scene()
    scene.ask("r", 1, 0)
    scene.ask("r", 1, 1)
    scene.ask("r", 2, 0)
    scene.ask("q", 1, 0)
    scene.hear(cancel)
    assert [job.is_cancelled() for job in scene.jobs()] == hit


def test_exit_cancels_what_is_in_work_and_is_delivered() -> None:
    scene = Scene()
    scene.ask()
    assert scene.hear(Exit(boot="b", reason="idle")) == []
    assert scene.jobs()[0].is_cancelled()
    assert scene.delivered[-1] == Leave("idle")
    assert scene.talk.exit_code is None


def test_exit_while_loading_waits_for_nothing() -> None:
    scene = Scene(ready=False)
    assert scene.hear(Exit(boot="b", reason="idle")) == [Bye(reason="idle")]
    assert scene.talk.exit_code == EXIT_OK


@pytest.mark.parametrize("frames", [[], [b"VB1"], [b"VB2", b"\x80"], [b"VB1", b"\xc1"], [b"VB1", b"\x80"]])
def test_bytes_that_are_no_message_are_answered(frames: list[bytes]) -> None:
    (answer,) = Scene().talk.received(frames, 0.0)
    assert isinstance(answer, Error)
    assert answer.code == "BAD_MESSAGE"
