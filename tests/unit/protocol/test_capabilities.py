"""The capability document: its bounds, its defaults, and which language a tag serves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from voicebox_protocol.capabilities import Capabilities, Voice, speaks

LEAST = {"engine": "e", "version": "1"}


def read(**fields: Any) -> Capabilities:
    return msgspec.convert(LEAST | fields, Capabilities)


def test_engine_and_version_are_enough() -> None:
    assert read() == Capabilities(engine="e", version="1", kinds=["tts"], sample_rate=24_000, devices=["cpu"])


def test_a_document_goes_through_the_wire_and_back() -> None:
    full = read(
        voices=[{"id": "anna", "languages": ["en"], "scripts": ["Latn"], "default": True}],
        speed=[0.5, 2],
        options={"properties": {"a": {"type": "number"}}},
    )
    assert msgspec.convert(msgspec.to_builtins(full), Capabilities) == full


def test_what_a_newer_engine_adds_is_ignored() -> None:
    assert read(smell=True, voices=[{"id": "x", "smell": 1}]).voices == [Voice(id="x")]


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": ""},
        {"engine": "x" * 129},
        {"version": None},
        {"max_chars": 19},
        {"max_chars": 100_001},
        {"concurrency": 0},
        {"concurrency": 257},
        {"sample_rate": 0},
        {"sample_rate": -1},
        {"sample_rate": 10**12},
        {"speed": [1.0]},
        {"speed": "fast"},
        {"voices": [{"id": ""}]},
        {"voices": [{"name": "no id"}]},
        {"voices": [{"id": "x", "languages": ["x" * 65]}]},
        {"voices": [{"id": "x", "scripts": ["x" * 65]}]},
        {"options": []},
    ],
    ids=str,
)
def test_a_document_that_could_not_be_worked_with_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(**fields)


def test_the_default_voice_is_the_one_that_says_so_else_the_first() -> None:
    assert read().default_voice() is None
    voices = [{"id": "a"}, {"id": "b"}]
    assert read(voices=voices).default_voice() == Voice(id="a")
    voices[1]["default"] = True
    assert read(voices=voices).default_voice() == Voice(id="b", default=True)


@pytest.mark.parametrize(
    ("tags", "wanted", "served"),
    [
        (["en"], "en", True),
        (["en"], "en-US", True),
        (["en-US"], "en", True),
        (["EN-us"], "en_US", True),
        (["en-GB"], "en-US", False),
        (["de", "en-GB"], "en", True),
        (["zh-Hant-TW"], "zh-Hant", True),
        (["zh-Hant-TW"], "zh-Hans", False),
        (["eng"], "en", False),
        (["en"], "eng", False),
        (["en"], "", False),
        ([], "en", False),
    ],
)
def test_a_tag_serves_its_language_and_its_regions(tags: list[str], wanted: str, served: bool) -> None:
    assert speaks(tags, wanted) is served
