"""Who goes on: the user's chain, then whoever has that very voice, then, if allowed, anybody; and never without being told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicebox_protocol import errors, schema
from voicebox_protocol.capabilities import Capabilities, Voice, speaks
from voicebox_protocol.configuration import OrderConfig
from voiceboxd.candidates import Candidate, Undecided, Wish
from voiceboxd.choice import choose
from voiceboxd.failover import chain_of, successor
from voiceboxd.request import Assignment, Passed, Request, Speaker, Work
from voiceboxd.segmentation import Segment


def voice(name: str, *languages: str, scripts: str = "Latn") -> Voice:
    return Voice(id=name, languages=list(languages or ["en-US"]), scripts=scripts.split())


def able(engine: str, *voices: Voice, **more: object) -> Capabilities:
    return Capabilities(engine=engine, version="1", voices=list(voices), **more)


def say(**fields: object) -> schema.Say:
    return schema.Say(boot="b", req="r", **fields)


FIRST = Candidate("first", able("one", voice("anna"), voice("bert", "de"), sample_rate=16_000, fingerprint="f"))
SAME = Candidate("same", able("one", voice("Anna", "en-US"), sample_rate=48_000))
OTHER = Candidate("other", able("two", voice("anna"), voice("carl", "de"), voice("дима", "ru", scripts="Cyrl")))
PAID = Candidate("paid", able("three", voice("zoe", "en", "de"), voice("yves", "en"), metered=True))
ALL = [OTHER, PAID, FIRST]
SICK = FIRST._replace(trouble="quarantined: it fell over")


def order(*default: str, **tables: dict[str, list[str]]) -> Wish:
    return Wish(order=OrderConfig(default=list(default), **tables))


def stranded(
    wish: Wish,
    installed: list[Candidate] = ALL,
    *,
    text: str = "Hello.",
    tried: tuple[str, ...] = (),
    assignment: Assignment | None = None,
    **fields: object,
) -> Request:
    """A request that its first speaker, and then all of `tried`, could not speak."""
    first = assignment or choose(say(**fields), installed, wish)
    assert isinstance(first, Assignment)
    error = errors.ProviderFailed(f"{first.provider}: it fell over")
    request = Request(say(**fields), "s", 0.0, None, 1, 1, assignment=first, stranded=error)
    request.tried = [Passed(first.speaker, str(error))]
    request.tried += [Passed(Speaker(*slot.split("/")), f"{slot} fell over too") for slot in tried]
    request.work = Work(Segment(0, text, 0, len(text)), start=0)
    return request


def next_one(
    wish: Wish,
    installed: list[Candidate] = ALL,
    now: list[Candidate] | None = None,
    **fields: object,
) -> str:
    """Who goes on, as provider/voice."""
    found = successor(stranded(wish, installed, **fields), now or installed, wish)
    assert isinstance(found, Assignment), found
    return str(found.speaker)


def nobody(wish: Wish, installed: list[Candidate] = ALL, now: list[Candidate] | None = None, **fields: object) -> str:
    """Why nobody goes on."""
    with pytest.raises(errors.ProviderFailed) as caught:
        successor(stranded(wish, installed, **fields), now or installed, wish)
    return str(caught.value)


# --- whose chain


@pytest.mark.parametrize(
    ("speaker", "language", "expected"),
    [
        (Speaker("first", "anna"), "de", "v1"),
        (Speaker("First", "ANNA"), None, "v1"),
        (Speaker("other", "anna"), "de", "v2"),
        (Speaker("first", "bert"), "de", "l1"),
        (Speaker("first", "bert"), "DE_at", "l2"),
        (Speaker("first", "bert"), "de-CH", "l1"),
        (Speaker("first", "bert"), "d", "d"),
        (Speaker("first", "bert"), None, "d"),
        (Speaker("", "zoe"), None, "v3"),
        (None, None, "d"),
        (None, "de", "l1"),
    ],
)
def test_the_chain_is_the_voices_else_the_languages_else_the_default_one(speaker, language, expected) -> None:
    written = OrderConfig(
        default=["d"],
        voice={"first/Anna": ["v1"], "anna": ["v2"], "paid/zoe": ["v3"]},
        language={"de": ["l1"], "de_AT": ["l2"]},
    )
    assert chain_of(written, speaker, language) == [expected]


def test_a_voice_whose_chain_is_empty_is_followed_by_nobody() -> None:
    wish = order("other", voice={"first/bert": []})
    assert nobody(wish, voice="bert") == "first: it fell over"
    assert next_one(wish, voice="anna", provider="first") == "other/anna"


# --- who goes on


@pytest.mark.parametrize(
    ("wish", "fields", "expected"),
    [
        (order("first/anna", "other/carl"), {}, "other/carl"),
        (order("first/anna", "other/carl"), {"voice": "first/anna"}, "other/carl"),
        (order("first/bert", "other/carl"), {"voice": "first/anna"}, "first/bert"),
        (order("first", "other"), {}, "other/anna"),
        (order("other"), {"provider": "first", "language": "de"}, "other/carl"),
        (order(voice={"anna": ["first/anna", "other/carl"]}), {"voice": "first/anna"}, "other/carl"),
        (order(language={"de": ["other/anna", "other/carl"]}), {"provider": "first", "language": "de"}, "other/carl"),
        (order("paid/yves"), {"voice": "first/anna"}, "paid/yves"),
        (Wish(), {"voice": "first/anna", "any_voice": True}, "other/anna"),
        (Wish(), {"voice": "first/bert", "any_voice": True}, "other/carl"),
        (order("paid/zoe"), {"voice": "first/bert", "language": "de", "any_voice": True}, "paid/zoe"),
    ],
    ids=str,
)
def test_the_next_of_the_chain_goes_on_else_anybody_if_that_is_allowed(wish, fields, expected) -> None:
    assert next_one(wish, **fields) == expected


@pytest.mark.parametrize("fields", [{"voice": "first/anna"}, {"provider": "first"}, {"voice": "bert"}], ids=str)
def test_what_was_named_is_not_swapped_without_being_told(fields: dict[str, object]) -> None:
    assert nobody(Wish(), **fields) == "first: it fell over"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"voice": "anna"}, "same/Anna"), ({"voice": "anna", "any_voice": True}, "same/Anna"), ({}, "same/Anna")],
    ids=str,
)
def test_that_very_voice_of_another_provider_goes_on(fields: dict[str, object], expected: str) -> None:
    assert next_one(Wish(provider="first"), [*ALL, SAME], **fields) == expected


@pytest.mark.parametrize("fields", [{"voice": "first/anna"}, {"voice": "anna", "provider": "first"}], ids=str)
def test_a_provider_that_was_named_binds(fields: dict[str, object]) -> None:
    assert nobody(Wish(), [*ALL, SAME], **fields) == "first: it fell over"


def test_a_voice_of_the_same_name_is_another_voice_if_the_engine_is_another() -> None:
    assert nobody(Wish(provider="first"), voice="anna") == "first: it fell over"


def test_that_very_voice_costs_nothing() -> None:
    assert nobody(Wish(provider="first"), [*ALL, SAME._replace(capabilities=able("one", voice("anna"), metered=True))])


def test_one_that_never_said_what_it_is_is_asked_if_it_is_made_from_the_same() -> None:
    twin = Candidate("twin", None, None, "engine.py")
    installed = [FIRST._replace(reference="engine.py"), Candidate("unlike", None, None, "other.py"), twin]
    wish = Wish(provider="first")
    assert successor(stranded(wish, installed), installed, wish) == Undecided(("twin",))
    told = nobody(wish, installed, now=[FIRST, twin._replace(trouble="failed: no weights", reference="other.py")])
    assert told == "first: it fell over"


def test_a_slot_that_never_said_what_it_can_is_asked() -> None:
    wish, installed = order("mystery", "other"), [*ALL, Candidate("mystery", None)]
    assert successor(stranded(wish, ALL, voice="anna"), installed, wish) == Undecided(("mystery",))


# --- who is passed over, and what is said of it


@pytest.mark.parametrize(
    ("slot", "why"),
    [
        ("nowhere/eve", "no provider is called 'nowhere'"),
        ("other/eve", "other has no voice 'eve'; there is anna"),
        ("ears", "ears has no voice that speaks 'en'"),
        ("mute", "mute is quarantined (it is hoarse)"),
        ("lost", "lost has failed (no weights)"),
        ("short", "short takes at most 20 characters at once"),
        ("other/дима", "other/дима cannot read “Hello”, “over”, “there”"),
        ("plain", "plain cannot change the speed"),
    ],
)
def test_a_slot_that_cannot_is_passed_over_with_its_reason(slot: str, why: str) -> None:
    fast = {"speed": (0.5, 2.0)}
    installed = [
        FIRST._replace(capabilities=able("one", voice("anna"), **fast)),
        Candidate("other", able("two", *OTHER.capabilities.voices, **fast)),  # type: ignore[union-attr]
        Candidate("ears", able("three", voice("x"), kinds=["stt"], **fast)),
        Candidate("mute", able("four", voice("x"), **fast), "quarantined: it is hoarse"),
        Candidate("lost", None, "failed: no weights"),
        Candidate("short", able("five", voice("x"), max_chars=20, **fast)),
        Candidate("plain", able("six", voice("x"))),
    ]
    fields = {"speed": 1.5, "text": "Hello over there, whoever you are.", "voice": "first/anna"}
    told = nobody(order(slot), installed, **fields)
    assert told.startswith(f"first: it fell over; {why}")
    assert next_one(order(slot, "other"), installed, **fields) == "other/anna"


def test_the_language_that_the_request_names_binds_the_chain_too() -> None:
    fields = {"voice": "bert", "language": "de"}
    assert nobody(order("other/anna"), **fields).endswith("other/anna does not speak 'de'")
    assert next_one(order("other/anna", "other"), **fields) == "other/carl"


def test_who_was_tried_is_not_tried_again_and_all_are_named() -> None:
    wish = order("first", "other/anna", "other/carl", "same")
    installed = [FIRST, OTHER, SAME._replace(trouble="failed: no weights")]
    assert next_one(wish, installed, tried=("other/anna",)) == "other/carl"
    told = nobody(wish, installed, tried=("other/anna", "other/carl"))
    assert (
        told == "first: it fell over; other/anna fell over too; other/carl fell over too; same has failed (no weights)"
    )


def test_anybody_is_somebody_else() -> None:
    installed = [Candidate("first", able("one", voice("anna"), voice("eve")))]
    assert nobody(Wish(), installed, any_voice=True) == "first: it fell over"


def test_what_costs_money_is_asked_once() -> None:
    wish = order("paid/zoe", "paid/yves")
    assert next_one(wish, voice="first/anna") == "paid/zoe"
    told = nobody(wish, voice="first/anna", tried=("paid/zoe",))
    assert told.endswith("paid costs money and was asked already")


# --- how it goes on


def test_the_rate_stays_and_the_rest_is_the_successors() -> None:
    wish = order("first/anna", "same")
    found = successor(stranded(wish, [FIRST, SAME]), [SICK, SAME], wish)
    assert isinstance(found, Assignment)
    assert (found.provider, found.voice, found.sample_rate, found.fingerprint) == ("same", "Anna", 16_000, "")
    assert found.passed == (Passed(Speaker("first", "anna"), "first: it fell over"),)
    assert found.origin is not None
    assert found.origin.speaker == Speaker("first", "anna")


@pytest.mark.parametrize(
    ("fields", "voices", "expected"),
    [
        ({}, [voice("x", "de", "en-GB")], "en-GB"),
        ({}, [voice("x", "en-GB", "en-US")], "en-US"),
        ({}, [voice("x", "de")], "de"),
        ({"language": "de_AT", "voice": "bert"}, [voice("x", "de")], "de-AT"),
    ],
    ids=str,
)
def test_the_language_is_kept_where_the_successor_has_it(fields, voices, expected) -> None:
    installed = [FIRST, Candidate("next", able("n", *voices))]
    wish = order("first", "next")
    found = successor(stranded(wish, installed, **fields), installed, wish)
    assert isinstance(found, Assignment)
    assert found.language == expected


def test_a_chain_is_followed_to_its_end() -> None:
    wish = order(voice={"first/anna": ["other/anna", "other/carl"], "other/anna": ["same"]})
    first = stranded(wish, [*ALL, SAME], voice="first/anna")
    second = successor(first, [*ALL, SAME], wish)
    assert isinstance(second, Assignment)
    request = stranded(wish, assignment=second, voice="first/anna")
    request.tried = [*first.tried, *request.tried]
    third = successor(request, [*ALL, SAME], wish)
    assert isinstance(third, Assignment)
    assert str(third.speaker) == "other/carl"


# --- whatever is installed and written down

PROVIDERS = ["a", "b", "c", "d"]
VOICES = ["x", "y", "z"]
SLOTS = st.sampled_from([*PROVIDERS * 2, *(f"{p}/{v}" for p in PROVIDERS for v in VOICES), "gone/x"])
CHAINS = st.lists(SLOTS, min_size=1, max_size=4)
LANGUAGES = st.sampled_from(["en", "en-US", "de"])
SPOKEN = st.builds(voice, st.sampled_from(VOICES), LANGUAGES, scripts=st.sampled_from(["Latn", "Cyrl", "Latn Cyrl"]))
CAPABLE = st.builds(
    lambda engine, voices, **more: able(engine, *voices, **more),
    st.sampled_from(["one", "two"]),
    st.lists(SPOKEN, unique_by=lambda each: each.id, min_size=1, max_size=3),
    metered=st.sampled_from([False, False, True]),
    max_chars=st.sampled_from([20, 400]),
    sample_rate=st.sampled_from([8_000, 48_000]),
)


def rarely(often: st.SearchStrategy[object], other: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.sampled_from([often] * 9 + [other]).flatmap(lambda chosen: chosen)


TROUBLES = rarely(st.none(), st.just("failed: x"))
HOUSES = st.tuples(
    *(
        st.builds(Candidate, st.just(p), rarely(CAPABLE, st.none()), TROUBLES, st.sampled_from([None, "e"]))
        for p in PROVIDERS
    )
)
WISHES = st.builds(
    Wish,
    voice=rarely(st.none(), SLOTS),
    provider=st.none() | st.sampled_from(PROVIDERS),
    order=st.builds(
        OrderConfig,
        default=st.just([]) | CHAINS,
        voice=rarely(st.just({}), st.dictionaries(st.sampled_from([*VOICES, "a/x"]), CHAINS)),
        language=rarely(st.just({}), st.dictionaries(LANGUAGES, CHAINS)),
    ),
)
SAYS = st.builds(
    say,
    voice=st.none() | st.sampled_from(VOICES) | rarely(st.none(), st.just("a/x")),
    provider=rarely(st.none(), st.sampled_from(PROVIDERS)),
    language=rarely(st.none(), LANGUAGES),
    any_voice=st.sampled_from([None, True]),
)


def chain_names(wish: Wish, request: Request, found: Assignment) -> bool:
    """Whether the user wrote this slot down for this request."""
    assert found.origin is not None
    chain = chain_of(wish.order, found.origin.speaker, request.say.language)
    return found.provider in chain or any(slot.lower() == str(found.speaker).lower() for slot in chain)


@given(HOUSES, WISHES, SAYS, st.sampled_from(["Hello.", "Hello over there, whoever you are.", "Привет."]))
@settings(max_examples=1000)
def test_every_request_comes_to_an_end_and_nobody_speaks_who_may_not(installed, wish, asked, text) -> None:
    try:
        found = choose(asked, installed, wish)
    except errors.VoiceboxError:
        return
    if isinstance(found, Undecided):
        assert set(found.ask) <= {each.id for each in installed if not each.capabilities and not each.trouble}
        return
    by_id = {each.id: each for each in installed}
    request = Request(asked, "s", 0.0, None, 1, 1, assignment=found)
    request.work = Work(Segment(0, text, 0, len(text)), start=0)
    rate, first = found.sample_rate, found
    for _ in range(len(PROVIDERS) * len(VOICES) + 1):
        request.stranded = errors.ProviderFailed("it fell over")
        request.tried.append(Passed(request.assignment.speaker, "it fell over"))
        try:
            found = successor(request, installed, wish)
        except errors.ProviderFailed:
            return
        if isinstance(found, Undecided):
            (unknown,) = found.ask
            assert by_id[unknown].capabilities is None
            assert by_id[unknown].trouble is None
            return
        assert found == successor(request, installed, wish)
        check(request, found, by_id, wish, first)
        assert (found.sample_rate, found.origin) == (rate, first.origin)
        request.assignment, request.stranded = found, None
    pytest.fail("it never ends")


def check(request: Request, found: Assignment, by_id: dict[str, Candidate], wish: Wish, first: Assignment) -> None:
    candidate, written = by_id[found.provider], chain_names(wish, request, found)
    assert found.speaker not in {each.speaker for each in request.tried}
    assert candidate.trouble is None
    assert candidate.capabilities is not None
    assert request.work is not None
    assert len(request.work.segment.text) <= found.max_chars
    (own,) = [each for each in candidate.capabilities.voices if each.id == found.voice][:1]
    assert request.say.language is None or speaks(own.languages, request.say.language)
    assert "Привет" not in request.work.segment.text or "Cyrl" in found.scripts
    if found.metered:
        assert written
        assert found.provider not in {each.speaker.provider for each in request.tried}
    if not written and not request.say.any_voice:
        assert first.origin is not None
        assert found.voice == first.origin.speaker.voice
        assert candidate.capabilities.engine == first.origin.engine
        assert request.say.provider is None
        assert "/" not in (request.say.voice or "")
