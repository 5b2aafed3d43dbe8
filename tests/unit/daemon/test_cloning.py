"""Who speaks a request with a voice prompt: only who can clone, with the model of the prompt, and no other voice in its place."""

from __future__ import annotations

from typing import Any

import pytest

from voicebox_protocol import errors, schema
from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.configuration import OrderConfig
from voiceboxd import messages
from voiceboxd.candidates import Candidate, Undecided, Wish
from voiceboxd.choice import choose
from voiceboxd.failover import successor
from voiceboxd.request import Assignment, Passed, Request, Work
from voiceboxd.segmentation import Segment

PLAIN = Candidate("builtin", Capabilities(engine="h", version="1", voices=[Voice(id="heart", languages=["en"])]))
BASE = Capabilities(
    engine="q",
    version="1",
    cloning=True,
    languages=["en", "de"],
    scripts=["Latn"],
    models=["large", "small"],
    fingerprint="c",
)
MIXED = Capabilities(
    engine="q",
    version="1",
    cloning=True,
    cloning_models=["small"],
    languages=["en"],
    models=["preset", "small"],
    voices=[Voice(id="ryan", languages=["en"], models=["preset"])],
)
CPU, CARD, BOTH = Candidate("cpu", BASE), Candidate("card", BASE), Candidate("both", MIXED)
ALL = [PLAIN, CARD, CPU]


def say(**fields: Any) -> schema.Say:
    return schema.Say(boot="b", req="r", **fields)


def chosen(installed: list[Candidate] = ALL, wish: Wish = Wish(), **fields: Any) -> Assignment:  # noqa: B008
    found = choose(say(**fields), installed, wish, cloned=True)
    assert isinstance(found, Assignment), found
    return found


def refused(installed: list[Candidate] = ALL, wish: Wish = Wish(), **fields: Any) -> errors.VoiceboxError:  # noqa: B008
    with pytest.raises(errors.VoiceboxError) as caught:
        choose(say(**fields), installed, wish, cloned=True)
    return caught.value


def test_who_can_clone_speaks_and_no_default_of_the_user_s_gets_in_its_way() -> None:
    wish = Wish("heart", "builtin", OrderConfig(default=["builtin/heart"], language={"de": ["builtin"]}))
    for fields in ({}, {"language": "de"}, {"model": "small"}):
        own = chosen(wish=wish, **fields)
        assert (own.provider, own.voice, own.scripts, own.passed) == ("card", "cloned", ("Latn",), ())
    assert chosen(wish=Wish(provider="cpu")).provider == "cpu"
    assert chosen(provider="cpu").provider == chosen(voice="cpu/cloned").provider == "cpu"
    assert chosen(voice="Cloned").provider == "card"


def test_what_cannot_go_with_a_prompt_is_refused() -> None:
    for fields in ({"voice": "heart"}, {"voice": "cpu/heart"}, {"any_voice": True}):
        assert isinstance(refused(**fields), errors.BadRequest)
    assert str(refused(provider="builtin")) == "builtin cannot speak like a recording (cloning); card, cpu can"
    assert isinstance(refused(provider="builtin"), errors.BadOption)
    assert "no provider that is installed can" in str(refused([PLAIN]))
    assert isinstance(refused(language="fr"), errors.NoSuchLanguage)
    assert isinstance(refused(provider="cup"), errors.NoSuchProvider)
    assert "no model 'huge'" in str(refused(model="huge"))


def test_a_model_that_does_not_clone_is_not_asked_to() -> None:
    assert chosen([BOTH], model="small").provider == "both"
    assert isinstance(refused([BOTH], model="preset"), errors.VoiceboxError)
    assert chosen([BOTH, CPU], model="large").provider == "cpu"


def test_who_never_said_what_it_can_is_asked() -> None:
    unknown = Candidate("new", None)
    assert choose(say(provider="new"), [PLAIN, unknown], Wish(), cloned=True) == Undecided(("new",))
    assert choose(say(), [PLAIN, unknown], Wish(), cloned=True) == Undecided(("new",))


def test_trouble_is_told() -> None:
    sick = [PLAIN, CPU._replace(trouble="failed: no weights")]
    assert "no weights" in str(refused(sick))


def test_without_a_prompt_one_that_only_clones_says_so() -> None:
    for fields in ({"provider": "cpu"}, {"provider": "cpu", "voice": "heart"}):
        with pytest.raises(errors.NoSuchVoice, match="speaks like a recording"):
            choose(say(**fields), ALL, Wish())
    assert choose(say(), ALL, Wish()).provider == "builtin"  # type: ignore[union-attr]


def stranded(**fields: Any) -> Request:
    first = chosen(provider=None, **fields)
    error = errors.ProviderFailed("card: it fell over")
    request = Request(say(**fields), "s", 0.0, None, 1, 1, prompt=b"p", assignment=first, stranded=error)
    request.tried = [Passed(first.speaker, str(error))]
    request.work = Work(Segment(0, "Hello.", 0, 6), start=0)
    return request


def test_another_goes_on_only_with_the_same_model() -> None:
    following = successor(stranded(model="small"), ALL, Wish())
    assert isinstance(following, Assignment)
    assert (following.provider, following.voice) == ("cpu", "cloned")
    other = Candidate("cpu", Capabilities(engine="q", version="1", cloning=True, languages=["en"], models=["tiny"]))
    stranger = Candidate(
        "mine", Capabilities(engine="z", version="1", cloning=True, languages=["en"], models=["small"])
    )
    for installed in ([CARD, other], [CARD, stranger], [CARD, PLAIN]):
        with pytest.raises(errors.ProviderFailed, match="it fell over"):
            successor(stranded(model="small"), installed, Wish("heart", order=OrderConfig(default=["builtin"])))


def test_a_provider_that_was_named_is_not_left() -> None:
    request = stranded(model="small")
    request.say.provider = "card"
    with pytest.raises(errors.ProviderFailed):
        successor(request, ALL, Wish())


def test_its_language_is_only_what_was_asked() -> None:
    for language in (None, "de"):
        request = stranded(language=language)
        work = request.work
        assert work is not None
        work.attempt = 1
        assert messages.synthesize("b", request, work, 1, 0.0, None).language == language
        assert messages.accepted("b", request).message.language == language  # type: ignore[union-attr]
