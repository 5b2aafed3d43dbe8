"""Whether a provider answers: each question has one end, by the answer or by its deadline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from voicebox_protocol import errors, schema
from voiceboxd import pings
from voiceboxd.effects import ToProvider
from voiceboxd.pings import Pings
from voiceboxd.provider_state import Phase
from voiceboxd.tally import Tally


class Scene:
    """Two providers, one of them with a process that serves."""

    def __init__(self) -> None:
        self.sent: list[ToProvider] = []
        self.answers: list[schema.Pong | errors.VoiceboxError] = []
        self.tally = Tally()
        serving, starting = SimpleNamespace(phase=Phase.READY, epoch=7), SimpleNamespace(phase=Phase.STARTING, epoch=8)
        doubted = SimpleNamespace(phase=Phase.SUSPECT, epoch=9)
        actors: dict[str, Any] = {
            "up": SimpleNamespace(id="up", retired=False, workers=(starting, doubted, serving), phase="ready"),
            "down": SimpleNamespace(id="down", retired=False, workers=(starting,), phase="stopped"),
            "odd": SimpleNamespace(id="odd", retired=False, workers=(starting, doubted), phase="suspect"),
            "gone": SimpleNamespace(id="gone", retired=True, workers=(serving,), phase="ready"),
        }
        self.pings = Pings(actors, self.sent.append, self.tally, "boot")

    def ask(
        self, provider: str | None = "up", query: int = 5, deadline_ms: int | None = None, session: str = "s"
    ) -> None:
        self.pings.ask(
            session, schema.Ping(query=query, provider=provider, deadline_ms=deadline_ms), self.answers.append
        )

    def asked(self) -> schema.Ping:
        message = self.sent[-1].message
        assert isinstance(message, schema.Ping)
        return message


def run(scenario: Any) -> None:
    anyio.run(scenario, Scene())


def test_the_answer_goes_to_who_asked_under_his_own_number() -> None:
    async def scenario(scene: Scene) -> None:
        scene.ask(query=5)
        scene.ask(query=5)
        first, second = (effect.message.query for effect in scene.sent if isinstance(effect.message, schema.Ping))
        assert first != second
        assert (scene.sent[0].provider, scene.sent[0].epoch, scene.asked().boot) == ("up", 7, "boot")
        scene.pings.answered("up", 7, schema.Pong(query=second, epoch=7))
        assert scene.answers == [schema.Pong(query=5, epoch=7)]

    run(scenario)


def test_only_who_was_asked_may_answer_and_only_once() -> None:
    async def scenario(scene: Scene) -> None:
        scene.ask()
        number = scene.asked().query
        for provider, epoch, query in (("other", 7, number), ("up", 6, number), ("up", 7, number + 1)):
            scene.pings.answered(provider, epoch, schema.Pong(query=query, epoch=epoch))
        assert scene.answers == []
        for _ in range(2):
            scene.pings.answered("up", 7, schema.Pong(query=number, epoch=7))
        assert len(scene.answers) == 1
        assert scene.tally.snapshot() == {"stale pong": 4}

    run(scenario)


def test_a_deadline_answers_for_one_that_does_not() -> None:
    async def scenario(scene: Scene) -> None:
        scene.ask(deadline_ms=1)
        with anyio.fail_after(10):
            while not scene.answers:  # noqa: ASYNC110 (nothing else tells)
                await anyio.sleep(0.001)
        (answer,) = scene.answers
        assert isinstance(answer, errors.DeadlineExceeded)
        scene.pings.answered("up", 7, schema.Pong(query=scene.asked().query, epoch=7))
        assert len(scene.answers) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("provider", "error", "words"),
    [
        ("upp", errors.NoSuchProvider, "'up'"),
        ("gone", errors.NoSuchProvider, "gone"),
        (None, errors.NoSuchProvider, "None"),
        ("down", errors.Refused, "voicebox provider start down"),
    ],
)
def test_who_cannot_be_asked_is_told_at_once(provider: str | None, error: type[Exception], words: str) -> None:
    async def scenario(scene: Scene) -> None:
        with pytest.raises(error, match=words):
            scene.ask(provider)
        assert scene.sent == []

    run(scenario)


def test_open_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "MOST", 2)

    async def scenario(scene: Scene) -> None:
        scene.ask()
        scene.ask()
        with pytest.raises(errors.QueueFull):
            scene.ask()
        scene.ask(session="another")
        scene.pings.session_closed("s")
        scene.ask()

    run(scenario)


def test_one_of_whom_nobody_knows_whether_it_lives_is_asked() -> None:
    """That is when one wants to know."""

    async def scenario(scene: Scene) -> None:
        scene.ask("odd")
        assert scene.sent[0].epoch == 9

    run(scenario)


def test_nobody_is_answered_who_has_left() -> None:
    async def scenario(scene: Scene) -> None:
        scene.ask(deadline_ms=1)
        scene.pings.session_closed("s")
        await anyio.sleep(0.01)
        assert scene.answers == []

    run(scenario)
