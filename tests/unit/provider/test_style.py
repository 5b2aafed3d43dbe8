"""Who does speed, pitch and volume: the engine within its own range, the runner outside it."""

from __future__ import annotations

import dataclasses

import pytest

from voicebox_protocol.capabilities import Capabilities
from voicebox_provider import style
from voicebox_provider.engine import Utterance
from voicebox_provider.style import Style, shared, widened

PLAIN = Capabilities(engine="fake", version="1")
ABLE = Capabilities(engine="fake", version="1", speed=(0.5, 8.0), pitch=(0.5, 2.0), volume=(0.0, 1.0))


@pytest.fixture
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where python-stretch is installed."""
    monkeypatch.setattr(style, "find_spec", lambda name: object())


@pytest.mark.usefixtures("_library")
def test_the_runner_offers_what_the_engine_has_not() -> None:
    offered = widened(PLAIN)
    assert (offered.speed, offered.pitch, offered.volume) == ((0.25, 4.0), (0.5, 2.0), (0.0, 2.0))
    assert offered.runner == ["speed", "pitch", "volume"]


@pytest.mark.usefixtures("_library")
def test_the_engine_s_ranges_only_grow() -> None:
    offered = widened(ABLE)
    assert (offered.speed, offered.pitch, offered.volume) == ((0.25, 8.0), (0.5, 2.0), (0.0, 2.0))
    assert offered.runner == ["speed", "volume"]


def test_without_the_library_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    offered = widened(PLAIN)
    assert (offered.speed, offered.pitch, offered.volume) == (None, None, (0.0, 2.0))
    assert offered.runner == ["volume"]


@pytest.mark.parametrize(
    ("wish", "engine", "runner"),
    [
        ({}, (1.0, 1.0, 1.0), Style()),
        ({"speed": 2.0, "pitch": 2.0, "volume": 0.5}, (2.0, 2.0, 0.5), Style()),
        ({"speed": 0.3, "pitch": 1.5, "volume": 1.5}, (1.0, 1.5, 1.0), Style(speed=0.3, volume=1.5)),
    ],
)
def test_a_factor_is_done_by_one_of_the_two(wish: dict[str, float], engine: tuple[float, ...], runner: Style) -> None:
    asked, left = shared(Utterance(text="hello", seed=3, **wish), ABLE)  # type: ignore[arg-type]
    assert (asked.speed, asked.pitch, asked.volume) == engine
    assert left == runner
    assert dataclasses.replace(asked, speed=1.0, pitch=1.0, volume=1.0) == Utterance(text="hello", seed=3)


def test_only_speed_and_pitch_need_the_stretcher() -> None:
    assert not Style(volume=2.0).stretches
    assert Style(speed=2.0).stretches
    assert Style(pitch=2.0).stretches
