"""A recording on its way to the engine: what the runner makes of it, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from voicebox_protocol import wire
from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import BadOption, BadReference, BadRequest, NoSuchLanguage
from voicebox_protocol.schema import (
    Cancel,
    Message,
    Prepare,
    Prepared,
    Ready,
    SegmentCancelled,
    SegmentFailed,
    Synthesize,
    Welcome,
    encode,
)
from voicebox_provider.conversation import BEAT_S, FIRST_BEAT_S, Conversation, Delivery, Job, Listening
from voicebox_provider.engine import Engine, Extend, Reference, Utterance
from voicebox_provider.preparation import Preparation
from voicebox_provider.requests import utterance
from voicebox_provider.segment import Desk

ABLE = Capabilities(
    engine="e",
    version="1",
    cloning=True,
    languages=["en"],
    scripts=["Latn"],
    models=["small", "large"],
    cloning_models=["large"],
)
AUDIO = np.linspace(-0.5, 0.5, 16000, dtype="<f4").tobytes()


class Engines(Engine):
    """Gives back, or raises, what it is told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__({})
        self.answer = answer
        self.heard: list[Reference] = []

    def capabilities(self) -> Capabilities:
        return ABLE

    def load(self, extend: Extend) -> None:
        pass

    def prepare_voice(self, reference: Reference) -> bytes:
        self.heard.append(reference)
        reference.progress()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def synthesize(self, utterance: Utterance) -> Iterator[Any]:
        yield from ()


class Outlet:
    def __init__(self) -> None:
        self.said: list[tuple[Message, bytes | None]] = []
        self.steps = 0

    def send(self, message: Message, payload: memoryview | None = None) -> None:
        self.said.append((message, None if payload is None else bytes(payload)))

    def step(self) -> None:
        self.steps += 1

    def beat(self, memory: Mapping[str, int | None]) -> None:
        pass


def order(**changed: Any) -> Prepare:
    known = {"boot": "b", "epoch": 3, "req": "n", "attempt": 2, "segment": 0, "sample_rate": 8000}
    return Prepare(**{**known, **changed})


def listened(answer: Any, able: Capabilities = ABLE, audio: bytes = AUDIO, **changed: Any) -> tuple[Engines, Outlet]:
    engine, outlet = Engines(answer), Outlet()
    job = Listening(order(**changed), audio)
    assert Preparation(job, Desk("prov", engine, able, able, outlet)).step()
    return engine, outlet


def test_the_engine_hears_all_that_is_known_and_its_prompt_is_sent() -> None:
    engine, outlet = listened(b"prompt", text="Hello.")
    (reference,) = engine.heard
    assert np.array_equal(reference.samples, np.frombuffer(AUDIO, "<f4"))
    assert (reference.sample_rate, reference.text, reference.model) == (8000, "Hello.", "large")
    assert outlet.said == [(Prepared(epoch=3, req="n", attempt=2, segment=0, model="large"), b"prompt")]
    assert outlet.steps == 1


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (BadReference("too soft"), "BAD_REFERENCE", "too soft"),
        (RuntimeError("it broke"), "PROVIDER_FAILED", "RuntimeError: it broke"),
        (b"", "PROVIDER_FAILED", "no voice prompt"),
        ("text", "PROVIDER_FAILED", "no voice prompt"),
        (bytes(wire.MAX_PROMPT + 1), "PROVIDER_FAILED", "no voice prompt"),
    ],
)
def test_what_goes_wrong_is_said(answer: Any, code: str, words: str) -> None:
    _, outlet = listened(answer)
    ((said, payload),) = outlet.said
    assert isinstance(said, SegmentFailed)
    assert (said.code, said.req, said.attempt, payload) == (code, "n", 2, None)
    assert words in said.message


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"model": "huge"}, "BAD_OPTION"),
        ({"audio": b""}, "BAD_REFERENCE"),
        ({"audio": AUDIO[:-1]}, "BAD_REFERENCE"),
        ({"audio": np.array([np.nan] * 8000, "<f4").tobytes()}, "BAD_REFERENCE"),
        ({"able": Capabilities(engine="e", version="1")}, "BAD_OPTION"),
    ],
)
def test_the_engine_is_not_bothered_with_what_cannot_be(changed: dict[str, Any], code: str) -> None:
    engine, outlet = listened(b"prompt", **changed)
    assert engine.heard == []
    assert outlet.said[0][0].code == code  # type: ignore[attr-defined]


def test_an_engine_that_cannot_says_so_by_itself() -> None:
    class Plain(Engines):
        prepare_voice = Engine.prepare_voice

    with pytest.raises(BadOption, match="cloning"):
        Plain(b"").prepare_voice(Reference(samples=np.zeros(1, np.float32), sample_rate=8000))


def test_what_was_cancelled_is_not_begun_or_not_told() -> None:
    for early in (True, False):
        engine, outlet, job = Engines(b"prompt"), Outlet(), Listening(order(), AUDIO, cancelled=early)
        desk = Desk("prov", engine, ABLE, ABLE, outlet)
        if not early:
            outlet.step = lambda job=job: setattr(job, "cancelled", True)  # type: ignore[method-assign]
        Preparation(job, desk).step()
        assert len(engine.heard) == (not early)
        assert outlet.said == [(SegmentCancelled(epoch=3, req="n", attempt=2, segment=0), None)]


# --- in the conversation


def test_a_recording_is_work_like_a_segment() -> None:
    delivered: list[Delivery] = []
    talk = Conversation(3, delivered.append, 0.0)

    def hear(message: Message, *frames: bytes) -> None:
        talk.received([wire.MAGIC, encode(message), *frames], 0.0)

    hear(Welcome(proto=1, boot="b", session="s", version="0", pid=1))
    talk.sending(Ready(epoch=3, load_ms=1.0), 0.0)
    hear(order(), AUDIO)
    (job,) = delivered
    assert isinstance(job, Listening)
    assert job.audio == AUDIO
    assert talk.deadline() == FIRST_BEAT_S
    assert talk.due(FIRST_BEAT_S)
    hear(Cancel(boot="b", req="n", epoch=3, attempt=1))
    assert not job.cancelled
    hear(Cancel(boot="b", req="n", epoch=3, attempt=2, segment=0))
    assert job.is_cancelled()
    assert talk.deadline() == FIRST_BEAT_S + BEAT_S
    talk.sending(SegmentCancelled(epoch=3, req="n", attempt=2, segment=0), 0.0)
    assert talk.deadline() is None
    hear(order(attempt=3), AUDIO)
    talk.sending(Prepared(epoch=3, req="n", attempt=3, segment=0), 0.0)
    assert talk.deadline() is None
    hear(order(boot="another"), AUDIO)
    assert talk.stale == 1


def test_a_voice_prompt_comes_in_the_frame_after_the_text() -> None:
    delivered: list[Delivery] = []
    talk = Conversation(3, delivered.append, 0.0)
    talk.received([wire.MAGIC, encode(Welcome(proto=1, boot="b", session="s", version="0", pid=1))], 0.0)
    asked = Synthesize(boot="b", epoch=3, req="r", attempt=1, segment=0, seed=1, sample_rate=24000)
    for frames in ([b"Hello."], [b"Hello.", b"prompt"]):
        talk.received([wire.MAGIC, encode(asked), *frames], 0.0)
    assert [job.prompt for job in delivered if isinstance(job, Job)] == [None, b"prompt"]


def wish(prompt: bytes | None = b"p", able: Capabilities = ABLE, **fields: Any) -> Utterance:
    asked = Synthesize(boot="b", epoch=1, req="r", attempt=1, segment=0, seed=1, sample_rate=24000, **fields)
    return utterance(asked, "hello", "prov", able, prompt)


def test_a_prompt_is_the_voice() -> None:
    for voice in (None, "cloned", "prov/cloned"):
        assert (wish(voice=voice).voice, wish(voice=voice).prompt) == (None, b"p")
    with pytest.raises(BadRequest, match="it is a voice itself"):
        wish(voice="ann")
    with pytest.raises(NoSuchLanguage):
        wish(language="ja")
    with pytest.raises(BadOption, match="cloning"):
        wish(able=Capabilities(engine="e", version="1"))
    assert wish(None).prompt is None
