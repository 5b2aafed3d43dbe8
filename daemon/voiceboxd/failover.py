"""Who goes on when a voice cannot speak: a pure function of the request, of what is installed, of what the user wrote down
to follow what, and of who was tried already.

First come the slots of the user's chain, then providers that have that very voice, then, if the request allows any voice,
whoever is free and has the language. What costs money is taken only where a chain names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from voicebox_protocol import errors, fit, schema
from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.configuration import OrderConfig
from voicebox_protocol.fit import nearest
from voiceboxd import cloning
from voiceboxd.candidates import Candidate, Undecided, Wish, assign, base_of, fitting, in_order, told
from voiceboxd.request import Assignment, Origin, Passed, Request, Speaker
from voiceboxd.scripts import foreign_words, quoted


class Need(NamedTuple):
    """What whoever speaks next must be able to do: what the request asks, the segment that waits (empty if none does), and
    the language that the text is taken to be in, where the request does not say."""

    say: schema.Say
    text: str = ""
    language: str | None = None


class Hit(NamedTuple):
    """One that can speak, and those before it that cannot."""

    candidate: Candidate
    voice: Voice
    passed: tuple[Passed, ...]


class Nobody(NamedTuple):
    """No slot is left; why each could not."""

    passed: tuple[Passed, ...]


class _Slot(NamedTuple):
    """A place in the row. Without `voice` the provider's own choice; `named` if the user wrote it down."""

    provider: str
    candidate: Candidate | None
    voice: str | None
    named: bool


def successor(request: Request, installed: Sequence[Candidate], wish: Wish) -> Assignment | Undecided:
    """Who takes a stranded request over; raises what stranded it, with all that was tried, if nobody can."""
    before, error = request.assignment, request.stranded
    assert before is not None
    assert error is not None
    if request.prompt is not None:
        installed, wish = cloning.view(request.say, installed), cloning.wish_of(wish)
    text = request.work.segment.text if request.work else ""
    need = Need(request.say, text, request.say.language or base_of(before.language))
    origin = before.origin or Origin(before.speaker)
    found = following(origin, need, installed, wish, request.tried)
    if isinstance(found, Nobody):
        raise told(error, [*request.tried, *found.passed])
    if isinstance(found, Undecided):
        return found
    passed = (*request.tried[-1:], *found.passed)
    return assign(request.say, found.candidate, found.voice, origin=origin, passed=passed, before=before)


def following(
    origin: Origin, need: Need, installed: Sequence[Candidate], wish: Wish, tried: Sequence[Passed] = ()
) -> Hit | Undecided | Nobody:
    """The first that can speak what `origin` was to speak, beside those that were tried."""
    return _walk(_row(origin, need, installed, wish), need, tried)


def in_chain(need: Need, installed: Sequence[Candidate], order: OrderConfig) -> Hit | Undecided | Nobody:
    """Who speaks first a request that names nobody: the first of the user's chain that can."""
    return _walk(_slots(chain_of(order, None, need.say.language), installed), need, ())


def chain_of(order: OrderConfig, speaker: Speaker | None, language: str | None) -> Sequence[str]:
    """What the user wrote down to follow: the voice's own, else the language's, else the default chain."""
    if speaker is not None:
        own = {name.lower(): chain for name, chain in order.voice.items()}
        wanted = str(speaker).lower(), speaker.voice.lower()
        # Who has a voice is not known if its provider never came up.
        alike = () if speaker.provider else (name for name in own if name.partition("/")[2] == wanted[1])
        for name in (*wanted, *alike):
            if name in own:
                return own[name]
    of_language = {_tag(name): chain for name, chain in order.language.items()}
    tag = _tag(language or "")
    while tag:
        if tag in of_language:
            return of_language[tag]
        tag = tag.rpartition("-")[0]
    return order.default


def _tag(language: str) -> str:
    return language.lower().replace("_", "-")


def _row(origin: Origin, need: Need, installed: Sequence[Candidate], wish: Wish) -> Iterator[_Slot]:
    yield from _slots(chain_of(wish.order, origin.speaker, need.say.language), installed)
    if not _names_provider(need.say, origin):
        yield from _same_voice(origin, installed, wish)
    if need.say.any_voice:
        yield from (_Slot(each.id, each, None, named=False) for each in in_order(installed, wish))


def _slots(chain: Sequence[str], installed: Sequence[Candidate]) -> Iterator[_Slot]:
    by_id = {candidate.id: candidate for candidate in installed}
    for name in chain:
        provider, _, voice = name.partition("/")
        yield _Slot(provider, by_id.get(provider), voice or None, named=True)


def _names_provider(say: schema.Say, origin: Origin) -> bool:
    """Whether the request is bound to a provider, and not only to a voice that several may have."""
    return bool(say.provider) or (say.voice or "").lower() not in ("", origin.speaker.voice.lower())


def _same_voice(origin: Origin, installed: Sequence[Candidate], wish: Wish) -> Iterator[_Slot]:
    """Others with the same engine and the same voice. One that has never said what it is may be asked only if the
    configuration names the same engine: to start all that is installed for this would be a waste."""
    for each in in_order(installed, wish):
        if each.id == origin.speaker.provider:
            continue
        if each.capabilities is None:
            same = each.reference is not None and each.reference == origin.reference
        else:
            has = bool(fitting(each.capabilities, origin.speaker.voice, None))
            same = has and each.capabilities.engine == origin.engine
        if same:
            yield _Slot(each.id, each, origin.speaker.voice, named=False)


def _walk(row: Iterator[_Slot], need: Need, tried: Sequence[Passed]) -> Hit | Undecided | Nobody:
    passed: list[Passed] = []
    for slot in row:
        verdict = _judge(slot, need, tried)
        if isinstance(verdict, Passed):
            passed.append(verdict)
        elif isinstance(verdict, Undecided):
            return verdict
        elif verdict is not None:
            assert slot.candidate is not None
            return Hit(slot.candidate, verdict, tuple(passed))
    return Nobody(tuple(passed))


def _judge(slot: _Slot, need: Need, tried: Sequence[Passed]) -> Voice | Passed | Undecided | None:
    """The slot's voice if it can speak, else why not; None if it was tried."""
    candidate, asked = slot.candidate, slot.provider in {each.speaker.provider for each in tried}
    if candidate is None:
        return Passed(Speaker(slot.provider, slot.voice or ""), f"no provider is called {slot.provider!r}")
    if candidate.trouble:
        return None if asked else candidate.troubled(slot.voice or "")
    if candidate.capabilities is None:
        return Undecided((candidate.id,))
    if asked and not slot.named:
        return None
    voice = _voice_of(slot, candidate.capabilities, need)
    if isinstance(voice, Passed) or Speaker(candidate.id, voice.id) not in {each.speaker for each in tried}:
        return _unless_unable(candidate, candidate.capabilities, voice, need, asked=asked)
    return None


def _unless_unable(
    candidate: Candidate, able: Capabilities, voice: Voice | Passed, need: Need, *, asked: bool
) -> Voice | Passed:
    """The voice, unless its provider cannot do what is asked."""
    if isinstance(voice, Passed):
        return voice
    speaker = Speaker(candidate.id, voice.id)
    if able.metered and asked:
        return Passed(speaker, f"{candidate.id} costs money and was asked already", broken=False)
    if len(need.text) > able.max_chars:
        why = f"{candidate.id} takes at most {able.max_chars} characters at once"
        return Passed(speaker, why, broken=False)
    try:
        fit.check(need.say, candidate.id, able)
    except errors.UsageError as error:
        return Passed(speaker, str(error), broken=False)
    return voice


def _voice_of(slot: _Slot, able: Capabilities, need: Need) -> Voice | Passed:
    """The first voice of the slot that speaks the language and can read the segment."""
    language = need.say.language
    if slot.voice:
        fits = fitting(able, slot.voice, language)
    else:
        fits = fitting(able, None, need.language or language) or (fitting(able, None, language) if slot.named else [])
    for voice in fits:
        if not foreign_words(need.text, voice.scripts):
            return voice
    return _unfit(slot, able, need, fits)


def _unfit(slot: _Slot, able: Capabilities, need: Need, fits: Sequence[Voice]) -> Passed:
    speaker = Speaker(slot.provider, fits[0].id if fits else slot.voice or "")
    if fits:
        words = quoted(foreign_words(need.text, fits[0].scripts))
        return Passed(speaker, f"{speaker} cannot read {words}", broken=False)
    if slot.voice and not fitting(able, slot.voice, None):
        names = [voice.id for voice in able.voices]
        return Passed(speaker, f"{slot.provider} has no voice {slot.voice!r}{nearest(slot.voice, names)}")
    language = need.say.language or need.language
    if slot.voice:
        return Passed(speaker, f"{speaker} does not speak {language!r}", broken=False)
    what = f" that speaks {language!r}" if language else ""
    return Passed(speaker, f"{slot.provider} has no voice{what}", broken=False)
