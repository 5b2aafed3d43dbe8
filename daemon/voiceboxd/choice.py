"""Who speaks a request: a pure function of what was asked and of what is installed. Nothing is swapped in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from voicebox_protocol import errors, fit, schema, wire
from voicebox_protocol.capabilities import Voice
from voicebox_protocol.fit import nearest
from voiceboxd import cloning, failover, offers
from voiceboxd.candidates import Candidate, Undecided, Wish, assign, fitting, in_order, told
from voiceboxd.request import Assignment, Origin, Passed, Speaker

_NAMED = 20


class _Found(NamedTuple):
    """A voice that fits, and the providers in trouble that had one before it."""

    candidate: Candidate
    voice: Voice
    troubled: tuple[Candidate, ...]


def choose(
    say: schema.Say, installed: Sequence[Candidate], wish: Wish, *, cloned: bool = False
) -> Assignment | Undecided:
    """The provider and voice for a request, `Undecided`, or the `VoiceboxError` that says why there is none. `cloned`: a voice
    prompt came with it."""
    check_standard_fields(say)
    if cloned:
        cloning.check(say, installed)
        installed, wish = cloning.view(say, installed), cloning.wish_of(wish)
    named, voice = _split(say.voice, installed)
    if say.provider and named and named != say.provider:
        raise errors.BadRequest(f"voice is {say.voice!r}, which belongs to {named}, but provider is {say.provider!r}")
    bound = say.provider or named
    if bound or voice:
        return _named(say, bound, voice, installed, wish)
    return _unnamed(say, installed, wish)


def _named(
    say: schema.Say, bound: str | None, voice: str | None, installed: Sequence[Candidate], wish: Wish
) -> Assignment | Undecided:
    """What was named speaks; if it cannot, whoever the user or the request lets follow."""
    candidates = _bound(bound, installed) if bound else in_order(installed, wish)
    found = _search(say, voice, candidates, anyone=False)
    if isinstance(found, Undecided):
        return found
    if isinstance(found, _Found):
        return assign(say, found.candidate, found.voice)
    origin, why = _origin(bound, voice, candidates, found)
    instead = failover.following(origin, failover.Need(say), installed, wish)
    if isinstance(instead, failover.Nobody):
        raise told(found, instead.passed)
    if isinstance(instead, Undecided):
        return instead
    return assign(say, instead.candidate, instead.voice, origin=origin, passed=(why, *instead.passed))


def _unnamed(say: schema.Say, installed: Sequence[Candidate], wish: Wish) -> Assignment | Undecided:
    """The user's chain speaks, else the default voice, else the first that can."""
    first = failover.in_chain(failover.Need(say), installed, wish.order)
    if isinstance(first, Undecided):
        return first
    if isinstance(first, failover.Hit):
        return assign(say, first.candidate, first.voice, passed=first.passed)
    candidates = in_order(installed, wish)
    default, missed = _default(wish, say, candidates)
    found = default or _search(say, None, candidates, anyone=True)
    if isinstance(found, errors.VoiceboxError):
        raise told(found, first.passed)
    if isinstance(found, Undecided):
        return found
    passed = dict.fromkeys((*first.passed, *missed, *(each.troubled() for each in found.troubled)))
    return assign(say, found.candidate, found.voice, passed=tuple(passed))


def check_standard_fields(say: schema.Say) -> None:
    """Raise `BadRequest` for a value that no engine could honour."""
    for name, allowed in (("priority", wire.PRIORITIES), ("on_failure", wire.ON_FAILURE), ("sink", wire.SINKS)):
        value = getattr(say, name)
        if value is not None and value not in allowed:
            raise errors.BadRequest(f"{name} is {value!r}; it takes {', '.join(allowed)}")
    fit.check_rate(say.sample_rate)


def _split(voice: str | None, installed: Sequence[Candidate]) -> tuple[str | None, str | None]:
    provider, slash, name = (voice or "").partition("/")
    if slash and any(candidate.id == provider for candidate in installed):
        return provider, name
    return None, voice


def _bound(provider: str, installed: Sequence[Candidate]) -> list[Candidate]:
    own = [candidate for candidate in installed if candidate.id == provider]
    if not own:
        names = [candidate.id for candidate in installed]
        raise errors.NoSuchProvider(f"no provider is called {provider!r}{nearest(provider, names)}")
    return own


def _default(
    wish: Wish, say: schema.Say, candidates: Sequence[Candidate]
) -> tuple[_Found | Undecided | None, list[Passed]]:
    """The user's default voice, if it has the language. If it has not, or is gone, others speak: no request asked for
    it by name, and each answer says who spoke. With it, who should have had it and is in trouble."""
    provider, voice = _split(wish.voice, candidates)
    if voice is None:
        return None, []
    own = [candidate for candidate in candidates if provider in (None, candidate.id)]
    found = _search(say, voice, own, anyone=True)
    if not isinstance(found, errors.VoiceboxError):
        return found, []
    return None, [each.troubled() for each in own if each.trouble and (provider or _has(each, voice, say.language))]


def _has(candidate: Candidate, voice: str, language: str | None) -> bool:
    return candidate.capabilities is not None and bool(fitting(candidate.capabilities, voice, language))


def _origin(
    bound: str | None, voice: str | None, candidates: Sequence[Candidate], error: errors.VoiceboxError
) -> tuple[Origin, Passed]:
    """Who was named and cannot speak, and why."""
    for candidate in candidates:
        able = candidate.capabilities
        own = fitting(able, voice, None)[:1] if able else []
        if own and able:
            speaker = Speaker(candidate.id, own[0].id)
            why = candidate.troubled(own[0].id) if candidate.trouble else Passed(speaker, str(error))
            return Origin(speaker, able.engine, candidate.reference), why
    only = candidates[0] if bound else None
    speaker = Speaker(bound or "", voice or "")
    why = only.troubled(speaker.voice) if only and only.trouble else Passed(speaker, str(error))
    return Origin(speaker, None, only.reference if only else None), why


def _search(
    say: schema.Say, voice: str | None, candidates: Sequence[Candidate], *, anyone: bool
) -> _Found | Undecided | errors.VoiceboxError:
    """The first candidate with a fitting voice; `anyone`: those in trouble are passed over."""
    troubled: list[Candidate] = []
    unknown: list[str] = []
    for candidate in candidates:
        if candidate.capabilities is None:
            if candidate.trouble:
                troubled.append(candidate)
            elif voice is None and not unknown:
                # The first in order decides alone, without the others being started for it.
                return Undecided((candidate.id,))
            else:
                unknown.append(candidate.id)
            continue
        fits = fitting(candidate.capabilities, voice, say.language, say.model)
        if fits and candidate.trouble is None:
            return _Found(candidate, fits[0], tuple(troubled))
        if fits:
            troubled.append(candidate)
            if not anyone:
                break
    if unknown:
        return Undecided(tuple(unknown))
    return _none_found(say, voice, candidates, troubled)


def _none_found(
    say: schema.Say, voice: str | None, candidates: Sequence[Candidate], troubled: Sequence[Candidate]
) -> errors.VoiceboxError:
    language = say.language
    if troubled:
        reasons = "; ".join(candidate.troubled().why for candidate in troubled)
        return errors.ProviderFailed(f"no provider can speak at present ({reasons})")
    voices = [v for c in candidates if c.capabilities for v in c.capabilities.voices]
    cloners = [c.id for c in candidates if c.capabilities and c.capabilities.cloning]
    if cloners and not voices:
        return errors.NoSuchVoice(
            f"{cloners[0]} has no voice of its own: it speaks like a recording, given with --clone or a prompt"
        )
    if voice is not None and not any(own.id.lower() == voice.lower() for own in voices):
        return errors.NoSuchVoice(f"no voice is called {voice!r}{nearest(voice, [own.id for own in voices])}")
    if say.model is not None and (others := _of_model(say.model, candidates)):
        return errors.NoSuchVoice(
            f"the model {say.model!r} does not speak so; its voices: {', '.join(others[:_NAMED])}"
        )
    if language is not None:
        asked = [own for own in voices if voice is None or own.id.lower() == voice.lower()]
        spoken = sorted({tag for own in asked for tag in own.languages})
        whose = f"the voice {voice!r} does not speak" if voice else "no installed voice speaks"
        there = ", ".join(spoken[:_NAMED]) + (" and more" if len(spoken) > _NAMED else "")
        more = "" if voice else offers.hint(language, [candidate.id for candidate in candidates])
        return errors.NoSuchLanguage(f"{whose} {language!r}; there is {there or 'none'}{more}")
    if len(candidates) == 1:
        return errors.ProviderFailed(
            f"{candidates[0].id} has no voice yet; `voicebox provider show` tells what it can do"
        )
    return errors.ProviderFailed("no provider with a voice is installed")


def _of_model(model: str, candidates: Sequence[Candidate]) -> list[str]:
    return [own.id for c in candidates if c.capabilities for own in fitting(c.capabilities, None, None, model)]
