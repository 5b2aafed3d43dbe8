from __future__ import annotations

from typing import Any

import pytest

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.errors import BadOption, BadRequest, NoSuchLanguage, NoSuchVoice, VoiceboxError
from voicebox_protocol.schema import Synthesize
from voicebox_provider.engine import Utterance
from voicebox_provider.requests import utterance

ABLE = Capabilities(
    engine="fake",
    version="1",
    voices=[Voice(id="ann", languages=["en-US"]), Voice(id="bob", languages=["en-GB", "cy"], default=True)],
    max_chars=20,
    speed=(0.5, 2.0),
    models=["large", "small"],
    options={
        "properties": {
            "temperature": {"type": "number", "minimum": 0, "maximum": 2},
            "steps": {"type": "integer"},
            "mood": {"enum": ["calm", "glad"]},
            "loud": {"type": "boolean"},
        }
    },
)


def wish(text: str = "hello", **fields: Any) -> Utterance:
    asked = {"sample_rate": 24000, "seed": 1, **fields}
    return utterance(Synthesize(boot="b", epoch=1, req="r", attempt=1, segment=0, **asked), text, "prov", ABLE)


def test_what_is_not_said_is_the_voice_s_own_way() -> None:
    plain = wish()
    assert (plain.voice, plain.speed, plain.pitch, plain.volume, plain.options) == ("bob", 1.0, 1.0, 1.0, {})


def test_a_voice_may_carry_the_provider_s_name() -> None:
    assert wish(voice="ann").voice == "ann"
    assert wish(voice="prov/ann").voice == "ann"


def test_what_the_engine_has_is_passed_on() -> None:
    options = {"temperature": 1, "steps": 3, "mood": "glad", "loud": True}
    asked = wish(language="cy", model="small", speed=2.0, pitch=1.0, options=options)
    assert (asked.language, asked.model, asked.speed, asked.options) == ("cy", "small", 2.0, options)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"voice": "anne"}, NoSuchVoice, "ann"),
        ({"voice": "other/ann"}, NoSuchVoice, "other/ann"),
        ({"language": "fr"}, NoSuchLanguage, "en-GB, cy"),
        ({"model": "smal"}, BadOption, "small"),
        ({"instruct": "whisper"}, BadOption, "instruct"),
        ({"speed": 2.5}, BadRequest, "0.5 to 2"),
        ({"speed": float("nan")}, BadRequest, "speed"),
        ({"pitch": 2.0}, BadOption, "pitch"),
        ({"volume": 0.5}, BadOption, "volume"),
        ({"sample_rate": 0}, BadRequest, "sample_rate"),
        ({"text": "a" * 21}, BadRequest, "21 characters"),
        ({"options": {"temprature": 1}}, BadOption, "temperature"),
        ({"options": {"temperature": "hot"}}, BadOption, "number"),
        ({"options": {"temperature": float("nan")}}, BadOption, "NaN"),
        ({"options": {"temperature": True}}, BadOption, "number"),
        ({"options": {"steps": 1.5}}, BadOption, "integer"),
        ({"options": {"mood": "sad"}}, BadOption, "calm"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    fields: dict[str, Any], error: type[VoiceboxError], words: str
) -> None:
    with pytest.raises(error, match=words):
        wish(**fields)
