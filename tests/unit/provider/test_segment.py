"""One segment against engines that misbehave in ways that the wire cannot show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import Unspeakable
from voicebox_protocol.schema import Chunk, Message, SegmentCancelled, SegmentDone, SegmentFailed, Synthesize
from voicebox_provider.conversation import Job
from voicebox_provider.engine import Engine, Extend, Mark, Utterance
from voicebox_provider.segment import Desk, Segment
from voicebox_provider.style import widened

ARRAY = np.zeros(2400, np.float32)


class Outlet:
    """Collects what a segment says."""

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.steps = 0

    def send(self, message: Message, payload: memoryview | None = None) -> None:
        self.said.append(message)

    def step(self) -> None:
        self.steps += 1


class OneEngine(Engine):
    """Speaks as one test wants."""

    closed = False

    def capabilities(self) -> Capabilities:
        return Capabilities(engine="one", version="1", volume=(0.0, 1.0))

    def load(self, extend: Extend) -> None:
        raise AssertionError("segments never load")

    def synthesize(self, utterance: Utterance) -> Iterator[Any]:
        self.heard = utterance
        try:
            yield from self.settings["arrays"](utterance)
        finally:
            self.closed = True
            if self.settings.get("sulks"):
                raise RuntimeError("closing fails")


def run(engine: OneEngine, *, cancel_after: int | None = None, text: str = "secret words", **wishes: Any) -> Outlet:
    outlet = Outlet()
    job = Job(
        Synthesize(boot="b", epoch=1, req="r", attempt=1, segment=0, seed=5, sample_rate=24000, **wishes),
        text.encode(),
    )
    segment = Segment(job, Desk("p", engine, engine.capabilities(), widened(engine.capabilities()), outlet))
    steps = 0
    while True:
        job.cancelled = steps == cancel_after or job.cancelled
        if segment.step():
            return outlet
        steps += 1


def forever(utterance: Utterance) -> Iterator[Any]:
    while True:
        yield ARRAY


def test_the_engine_hears_the_request() -> None:
    engine = OneEngine({"arrays": lambda utterance: [ARRAY]})
    outlet = run(engine, volume=0.5)
    assert (engine.heard.text, engine.heard.seed, engine.heard.volume) == ("secret words", 5, 0.5)
    assert isinstance(outlet.said[-1], SegmentDone)
    assert outlet.steps == 1


@pytest.mark.parametrize("sulks", [False, True])
def test_cancelling_closes_the_engine_s_generator(sulks: bool) -> None:
    engine = OneEngine({"arrays": forever, "sulks": sulks})
    outlet = run(engine, cancel_after=3)
    assert engine.closed
    assert isinstance(outlet.said[-1], SegmentCancelled)
    assert sum(isinstance(message, SegmentCancelled | SegmentFailed) for message in outlet.said) == 1


def test_an_engine_that_stops_by_itself_when_cancelled_has_not_finished() -> None:
    def polls(utterance: Utterance) -> Iterator[Any]:
        yield ARRAY
        utterance.cancelled.__self__.cancelled = True  # type: ignore[attr-defined]  # as the I/O thread does meanwhile

    assert isinstance(run(OneEngine({"arrays": polls})).said[-1], SegmentCancelled)


def test_a_segment_cancelled_before_its_turn_never_reaches_the_engine() -> None:
    engine = OneEngine({"arrays": forever})
    assert isinstance(run(engine, cancel_after=0).said[-1], SegmentCancelled)
    assert not hasattr(engine, "heard")


def marks_of(outlet: Outlet) -> list[dict[str, Any]]:
    return [mark for message in outlet.said if isinstance(message, Chunk) for mark in message.marks or []]


def test_marks_go_out_with_their_sound() -> None:
    marks = [Mark(0, 0, 6), Mark(2000, 7, 12)]
    outlet = run(OneEngine({"arrays": lambda utterance: [(ARRAY, marks), ARRAY]}))
    assert marks_of(outlet) == [mark._asdict() for mark in marks]


@pytest.mark.parametrize("mark", [Mark(0, 0, 13), Mark(0, -1, 2), Mark(0, 3, 3), Mark(-1, 0, 6)])
def test_a_mark_outside_the_text_is_the_engine_s_fault(mark: Mark) -> None:
    (failed,) = run(OneEngine({"arrays": lambda utterance: [(ARRAY, [mark])]})).said
    assert isinstance(failed, SegmentFailed)
    assert failed.code == "PROVIDER_FAILED"


def test_outside_the_engine_s_range_the_runner_stretches() -> None:
    pytest.importorskip("python_stretch", reason="python-stretch has no wheel for this machine")
    engine = OneEngine({"arrays": lambda utterance: [(ARRAY, [Mark(1200, 0, 6)])] * 10})
    outlet = run(engine, speed=2.0, volume=0.5)
    assert (engine.heard.speed, engine.heard.volume) == (1.0, 0.5)
    done = outlet.said[-1]
    assert isinstance(done, SegmentDone)
    assert done.frames == len(ARRAY) * 10 // 2
    assert {mark["frame"] for mark in marks_of(outlet)} == {600}


def test_a_volume_beyond_the_engine_s_is_the_runner_s_alone() -> None:
    engine = OneEngine({"arrays": lambda utterance: [ARRAY]})
    run(engine, volume=1.5)
    assert engine.heard.volume == 1.0


def test_none_is_no_sound() -> None:
    (failed,) = run(OneEngine({"arrays": lambda utterance: [None]})).said
    assert isinstance(failed, SegmentFailed)
    assert failed.code == "PROVIDER_FAILED"


def test_an_engine_s_own_words_for_the_text_go_through() -> None:
    def refuse(utterance: Utterance) -> Iterator[Any]:
        raise Unspeakable("no “words”")

    (failed,) = run(OneEngine({"arrays": refuse})).said
    assert isinstance(failed, SegmentFailed)
    assert (failed.code, failed.message) == ("UNSPEAKABLE", "no “words”")


def test_the_log_says_where_it_broke_but_not_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(utterance: Utterance) -> Iterator[Any]:
        raise ValueError(f"cannot say {utterance.text}")

    run(OneEngine({"arrays": fail}))
    log = capsys.readouterr().err
    assert "ValueError" in log
    assert "test_segment.py" in log
    assert "secret words" not in log
