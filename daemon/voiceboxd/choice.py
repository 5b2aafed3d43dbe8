"""Who speaks a request: a pure function of what was asked and of what is installed. Nothing is swapped in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from voicebox_protocol import errors, fit, schema, wire
from voicebox_protocol.capabilities import Capabilities, Voice, speaks
from voicebox_protocol.fit import nearest
from voiceboxd import offers
from voiceboxd.request import Assignment

# Which of ours speaks first where several can; others follow by name.
_RANKS = {"builtin": 0, "kokoro": 1, "espeak": 2}
_NAMED = 20


class Candidate(NamedTuple):
    """An installed provider, as the choice sees it. `capabilities` is None until it has said Hello once; `trouble` says
    why it cannot be used at present."""

    id: str
    capabilities: Capabilities | None
    trouble: str | None = None


class Undecided(NamedTuple):
    """The choice needs to know what these providers can do."""

    ask: tuple[str, ...]


class Wish(NamedTuple):
    """The user's defaults."""

    voice: str | None = None
    provider: str | None = None


def choose(say: schema.Say, installed: Sequence[Candidate], wish: Wish) -> Assignment | Undecided:
    """The provider and voice for a request, `Undecided`, or the `VoiceboxError` that says why there is none."""
    check_standard_fields(say)
    named, voice = _split(say.voice, installed)
    if say.provider and named and named != say.provider:
        raise errors.BadRequest(f"voice is {say.voice!r}, which belongs to {named}, but provider is {say.provider!r}")
    bound = say.provider or named
    candidates = _bound(bound, installed) if bound else _in_order(installed, wish)
    default = None if bound or voice else _default(wish, say.language, candidates)
    found = default or _search(voice, say.language, candidates, anyone=not (voice or bound))
    if isinstance(found, errors.VoiceboxError) and say.any_voice:
        found = _search(None, say.language, _in_order(installed, wish), anyone=True)
    if isinstance(found, errors.VoiceboxError):
        raise found
    if isinstance(found, Undecided):
        return found
    return _assign(say, *found)


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
    wish: Wish, language: str | None, candidates: Sequence[Candidate]
) -> tuple[Candidate, Voice] | Undecided | None:
    """The user's default voice, if it has the language. If it has not, or is gone, others speak: no request asked for
    it by name, and each answer says who spoke."""
    provider, voice = _split(wish.voice, candidates)
    if voice is None:
        return None
    own = [candidate for candidate in candidates if provider in (None, candidate.id)]
    found = _search(voice, language, own, anyone=True)
    return None if isinstance(found, errors.VoiceboxError) else found


def _in_order(installed: Sequence[Candidate], wish: Wish) -> list[Candidate]:
    """Those that may be chosen by themselves: the user's first, then ours, then by name; never one that costs money."""
    free = [c for c in installed if c.capabilities is None or not c.capabilities.metered]
    return sorted(free, key=lambda c: (c.id != wish.provider, _RANKS.get(c.id, len(_RANKS)), c.id))


def _search(
    voice: str | None, language: str | None, candidates: Sequence[Candidate], *, anyone: bool
) -> tuple[Candidate, Voice] | Undecided | errors.VoiceboxError:
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
        fitting = _fitting(candidate.capabilities, voice, language)
        if fitting is not None and candidate.trouble is None:
            return candidate, fitting
        if fitting is not None:
            troubled.append(candidate)
            if not anyone:
                break
    if unknown:
        return Undecided(tuple(unknown))
    return _none_found(voice, language, candidates, troubled)


def _fitting(capabilities: Capabilities, voice: str | None, language: str | None) -> Voice | None:
    if "tts" not in capabilities.kinds:
        return None
    default = capabilities.default_voice()
    ordered = [v for v in capabilities.voices if v is default] + [v for v in capabilities.voices if v is not default]
    for own in ordered:
        if (voice is None or own.id.lower() == voice.lower()) and (language is None or speaks(own.languages, language)):
            return own
    return None


def _none_found(
    voice: str | None, language: str | None, candidates: Sequence[Candidate], troubled: Sequence[Candidate]
) -> errors.VoiceboxError:
    if troubled:
        reasons = "; ".join(f"{candidate.id}: {candidate.trouble}" for candidate in troubled)
        return errors.ProviderFailed(f"no provider can speak at present ({reasons})")
    voices = [v for c in candidates if c.capabilities for v in c.capabilities.voices]
    if voice is not None and not any(own.id.lower() == voice.lower() for own in voices):
        return errors.NoSuchVoice(f"no voice is called {voice!r}{nearest(voice, [own.id for own in voices])}")
    if language is not None:
        asked = [own for own in voices if voice is None or own.id.lower() == voice.lower()]
        spoken = sorted({tag for own in asked for tag in own.languages})
        whose = f"the voice {voice!r} does not speak" if voice else "no installed voice speaks"
        there = ", ".join(spoken[:_NAMED]) + (" and more" if len(spoken) > _NAMED else "")
        more = "" if voice else offers.hint(language, [candidate.id for candidate in candidates])
        return errors.NoSuchLanguage(f"{whose} {language!r}; there is {there or 'none'}{more}")
    return errors.ProviderFailed("no provider with a voice is installed")


def _assign(say: schema.Say, candidate: Candidate, voice: Voice) -> Assignment:
    capabilities = candidate.capabilities
    assert capabilities is not None
    fit.check(say, candidate.id, capabilities)
    return Assignment(
        provider=candidate.id,
        voice=voice.id,
        language=(say.language or "").replace("_", "-") or (voice.languages[0] if voice.languages else "en"),
        sample_rate=say.sample_rate or capabilities.sample_rate,
        max_chars=capabilities.max_chars,
        streaming=capabilities.streaming,
        deterministic=capabilities.deterministic,
        scripts=tuple(voice.scripts),
    )
