"""Who speaks: what was named is what speaks, and what cannot be honoured is refused with the nearest name."""

from __future__ import annotations

import socket

import pytest

from voicebox_protocol import errors, schema
from voicebox_protocol.capabilities import Capabilities, Voice, speaks
from voiceboxd.candidates import Candidate, Undecided, Wish
from voiceboxd.choice import choose
from voiceboxd.request import Assignment, Origin, Speaker


def voice(name: str, *languages: str, default: bool = False) -> Voice:
    return Voice(id=name, languages=list(languages or ["en"]), scripts=["Latn"], default=default)


def able(*voices: Voice, **more: object) -> Capabilities:
    return Capabilities(engine="e", version="1", voices=list(voices), **more)


def say(**fields: object) -> schema.Say:
    return schema.Say(boot="b", req="r", **fields)


BUILTIN = Candidate("builtin", able(voice("anna", "en-US"), voice("bert", "de"), sample_rate=24_000))
PAID = Candidate("paid", able(voice("zoe", "en", "fr"), metered=True))
OTHER = Candidate(
    "other",
    able(
        voice("carl", "en-GB"),
        voice("dora", "ja", default=True),
        speed=(0.5, 2.0),
        models=["small", "large"],
        instruct=True,
        deterministic=True,
        streaming=True,
        max_chars=100,
        sample_rate=16_000,
        options={
            "type": "object",
            "properties": {"warmth": {"type": "number", "maximum": 1}, "mood": {"enum": ["sad"]}, "deep": {}},
        },
    ),
)
ALL = [OTHER, PAID, BUILTIN]
NO_WISH = Wish()


def chosen(installed: list[Candidate] = ALL, wish: Wish = NO_WISH, **fields: object) -> tuple[str, str]:
    found = choose(say(**fields), installed, wish)
    assert isinstance(found, Assignment), found
    return found.provider, found.voice


# --- who


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("builtin", "anna")),
        ({"voice": "carl"}, ("other", "carl")),
        ({"voice": "CARL"}, ("other", "carl")),
        ({"voice": "other/carl"}, ("other", "carl")),
        ({"provider": "other"}, ("other", "dora")),
        ({"provider": "other", "voice": "carl"}, ("other", "carl")),
        ({"provider": "other", "voice": "other/carl"}, ("other", "carl")),
        ({"language": "de"}, ("builtin", "bert")),
        ({"language": "de-AT"}, ("builtin", "bert")),
        ({"language": "en"}, ("builtin", "anna")),
        ({"language": "en-GB"}, ("other", "carl")),
        ({"language": "EN_gb"}, ("other", "carl")),
        ({"provider": "other", "language": "en"}, ("other", "carl")),
        ({"provider": "paid"}, ("paid", "zoe")),
        ({"voice": "paid/zoe"}, ("paid", "zoe")),
        ({"voice": "nobody", "any_voice": True}, ("builtin", "anna")),
        ({"voice": "carl", "language": "de", "any_voice": True}, ("builtin", "bert")),
    ],
    ids=str,
)
def test_the_named_one_speaks_else_the_default(fields: dict[str, object], expected: tuple[str, str]) -> None:
    assert chosen(**fields) == expected


SEVERAL = Candidate(
    "several",
    able(
        Voice(id="ryan", languages=["en"], models=["preset"]),
        Voice(id="designed", languages=["en"], models=["design"]),
        Voice(id="both", languages=["de"]),
        models=["preset", "design"],
    ),
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "ryan"),
        ({"model": "preset"}, "ryan"),
        ({"model": "design"}, "designed"),
        ({"model": "design", "voice": "both"}, "both"),
        ({"model": "design", "language": "de"}, "both"),
        ({"voice": "designed"}, "designed"),
    ],
)
def test_the_model_that_is_named_speaks_with_a_voice_of_its_own(fields: dict[str, object], expected: str) -> None:
    assert chosen([SEVERAL], provider="several", **fields) == ("several", expected)


def test_a_voice_of_another_model_is_refused_with_those_of_its_own() -> None:
    with pytest.raises(errors.NoSuchVoice, match="'design' does not speak so; its voices: designed, both"):
        chosen([SEVERAL], voice="several/ryan", model="design")
    with pytest.raises(errors.BadOption, match="did you mean 'design'"):
        chosen([SEVERAL], voice="several/ryan", model="desing")


def test_one_that_has_no_voice_yet_is_said_so() -> None:
    with pytest.raises(errors.ProviderFailed, match="bare has no voice yet"):
        chosen([Candidate("bare", able())], provider="bare")


def test_the_users_defaults_stand_before_ours() -> None:
    assert chosen(wish=Wish(provider="other")) == ("other", "dora")
    assert chosen(wish=Wish(voice="carl")) == ("other", "carl")


def test_what_a_request_names_stands_before_the_users_defaults() -> None:
    wish = Wish(voice="carl", provider="other")
    assert chosen(wish=wish, voice="anna") == ("builtin", "anna")
    assert chosen(wish=wish, language="de") == ("builtin", "bert")
    assert chosen(wish=wish, provider="builtin") == ("builtin", "anna")


@pytest.mark.parametrize("gone", ["gone", "builtin/gone", "gone/anna"])
def test_a_default_voice_that_is_gone_does_not_keep_others_from_speaking(gone: str) -> None:
    assert chosen(wish=Wish(voice=gone)) == ("builtin", "anna")


def test_a_default_voice_may_name_its_provider() -> None:
    provider, voice = chosen(wish=Wish(voice="builtin/bert"))
    assert (provider, voice) == ("builtin", "bert")


@pytest.mark.parametrize(
    "fields",
    [{}, {"language": "fr"}, {"voice": "zoe"}, {"voice": "nobody", "any_voice": True, "language": "fr"}],
    ids=str,
)
def test_what_costs_money_is_never_chosen_by_itself(fields: dict[str, object]) -> None:
    with pytest.raises(errors.VoiceboxError):
        choose(say(**fields), [PAID], Wish())


def test_a_recogniser_does_not_speak() -> None:
    with pytest.raises(errors.ProviderFailed):
        choose(say(), [Candidate("ears", able(voice("x"), kinds=["stt"]))], Wish())


# --- not yet known, or in trouble

UNKNOWN = Candidate("mystery", None)


def test_one_that_has_never_been_asked_what_it_can_do_is_asked() -> None:
    assert choose(say(), [UNKNOWN], Wish()) == Undecided(("mystery",))
    assert choose(say(provider="mystery"), [UNKNOWN, *ALL], Wish()) == Undecided(("mystery",))


def test_only_the_first_in_order_is_asked_when_any_will_do() -> None:
    assert choose(say(), [Candidate("aaa", None), Candidate("builtin", None)], Wish()) == Undecided(("builtin",))
    assert chosen([UNKNOWN, BUILTIN]) == ("builtin", "anna")


def test_all_are_asked_before_a_voice_is_said_not_to_exist() -> None:
    second = Candidate("second", None)
    assert choose(say(voice="eve"), [UNKNOWN, second, BUILTIN], Wish()) == Undecided(("mystery", "second"))
    assert chosen([UNKNOWN, BUILTIN], voice="anna") == ("builtin", "anna")


SICK = BUILTIN._replace(trouble="quarantined: it crashed")


def test_one_in_trouble_is_passed_over_where_any_voice_will_do() -> None:
    assert chosen([SICK, OTHER]) == ("other", "dora")


@pytest.mark.parametrize("fields", [{"voice": "anna"}, {"provider": "builtin"}, {"voice": "builtin/anna"}], ids=str)
def test_a_voice_that_was_named_is_not_swapped_when_it_is_in_trouble(fields: dict[str, object]) -> None:
    with pytest.raises(errors.ProviderFailed, match="it crashed"):
        choose(say(**fields), [SICK, OTHER], Wish())
    assert chosen([SICK, OTHER], any_voice=True, **fields) == ("other", "dora")


def test_one_that_failed_before_it_could_say_what_it_can_do_is_told_with_its_reason() -> None:
    with pytest.raises(errors.ProviderFailed, match="no weights"):
        choose(say(), [Candidate("mystery", None, "failed: no weights")], Wish())


# --- what is not there


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"voice": "ana"}, errors.NoSuchVoice, "did you mean 'anna'"),
        ({"voice": "qqqqqq"}, errors.NoSuchVoice, "anna, bert, carl, dora"),
        ({"voice": "other/anna"}, errors.NoSuchVoice, "'anna'"),
        ({"voice": "nowhere/anna"}, errors.NoSuchVoice, "'nowhere/anna'"),
        ({"provider": "bultin"}, errors.NoSuchProvider, "did you mean 'builtin'"),
        ({"provider": "builtin", "voice": "other/carl"}, errors.BadRequest, "belongs to other"),
        ({"language": "sw"}, errors.NoSuchLanguage, "de, en-GB, en-US, ja"),
        ({"voice": "anna", "language": "ja"}, errors.NoSuchLanguage, "'anna' does not speak 'ja'; there is en-US"),
        ({"voice": "ANNA", "language": "ja"}, errors.NoSuchLanguage, "there is en-US"),
        ({"language": "en-AU"}, errors.NoSuchLanguage, "'en-AU'"),
        ({"priority": "urgent"}, errors.BadRequest, "important, message"),
        ({"on_failure": "explode"}, errors.BadRequest, "segment, next, fail"),
        ({"sink": "drain"}, errors.BadRequest, "stream, speaker"),
        ({"sample_rate": 7_999}, errors.BadRequest, "8000 to 192000"),
        ({"sample_rate": 192_001}, errors.BadRequest, "8000 to 192000"),
        ({"speed": 1.5}, errors.BadOption, "builtin cannot change the speed"),
        ({"pitch": 1.5}, errors.BadOption, "builtin cannot change the pitch"),
        ({"provider": "other", "speed": 2.5}, errors.BadRequest, "speed is 2.5; other takes 0.5 to 2"),
        ({"instruct": "whisper"}, errors.BadOption, "instruct"),
        ({"model": "large"}, errors.BadOption, "no model 'large'"),
        ({"provider": "other", "model": "larg"}, errors.BadOption, "large"),
        ({"options": {"warmth": 1}}, errors.BadOption, "'warmth'; it has none"),
        ({"provider": "other", "options": {"warmht": 1}}, errors.BadOption, "did you mean 'warmth'"),
        ({"provider": "other", "options": {"warmth": 2}}, errors.BadOption, "warmth: 2 is greater"),
        ({"provider": "other", "options": {"mood": "gay"}}, errors.BadOption, "mood"),
        ({"provider": "other", "options": {"warmth": float("nan")}}, errors.BadOption, "NaN"),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused_with_what_there_is(fields, error, words) -> None:
    with pytest.raises(error) as caught:
        choose(say(**fields), ALL, Wish())
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_nobody_installed_is_said_so() -> None:
    with pytest.raises(errors.ProviderFailed):
        choose(say(), [], Wish())


# --- how


def test_the_assignment_carries_what_shapes_the_speech() -> None:
    found = choose(say(voice="carl", options={"warmth": 0.5, "mood": "sad"}, speed=2.0, model="large"), ALL, Wish())
    origin = Origin(Speaker("other", "carl"), "e")
    assert found == Assignment("other", "carl", "en-GB", 16_000, 100, True, True, ("Latn",), origin=origin)


def test_the_requests_own_rate_and_language_are_taken() -> None:
    found = choose(say(voice="carl", sample_rate=48_000, language="en"), ALL, Wish())
    assert (found.sample_rate, found.language) == (48_000, "en")


@pytest.mark.parametrize("name", ["speed", "pitch", "volume"])
def test_a_factor_of_one_asks_for_nothing(name: str) -> None:
    assert chosen(**{name: 1.0}) == ("builtin", "anna")


# --- options whose schema is strange


def strange(options: dict[str, object]) -> list[Candidate]:
    return [Candidate("odd", able(voice("x"), options=options))]


def test_a_schema_never_makes_the_daemon_fetch_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: reached.append(address))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(errors.BadOption, match="describes its options wrongly"):
            choose(say(options={"a": 1}), strange({"properties": {"a": {"$ref": address}}}), Wish())
    assert reached == []


@pytest.mark.parametrize(
    "options",
    [
        {"properties": 5},
        {"properties": None},
        {"properties": ["a"]},
        {"properties": {"a": 5}},
        {"properties": {"a": {"type": "colour"}}},
        {"properties": {"a": {"type": 5}}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"$ref": 5}}},
        {"properties": {"a": {}}, "required": 5},
    ],
    ids=str,
)
def test_a_schema_that_is_none_is_the_requests_end_and_not_the_daemons(options: dict[str, object]) -> None:
    with pytest.raises(errors.BadOption) as caught:
        choose(say(options={"a": "text"}), strange(options), Wish())
    assert len(str(caught.value)) < 1000


def test_options_too_deep_to_be_sent_on_are_refused() -> None:
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(errors.BadOption, match="nested"):
        choose(say(provider="other", options={"deep": deep}), ALL, Wish())
    assert chosen(provider="other", options={"deep": [[{"a": [1]}]]}) == ("other", "dora")


@pytest.mark.parametrize(("language", "own"), [("de", True), ("de-AT", True), ("en", False), ("ja", False)])
def test_the_default_voice_speaks_its_languages_and_others_the_rest(language: str, own: bool) -> None:
    (bert,) = [v for c in ALL if c.id == "builtin" and c.capabilities for v in c.capabilities.voices if v.id == "bert"]
    assert speaks(bert.languages, language) is own
    assert (chosen(wish=Wish(voice="builtin/bert"), language=language) == ("builtin", "bert")) is own
