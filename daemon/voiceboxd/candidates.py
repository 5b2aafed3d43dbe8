"""What is installed, as the choice of who speaks sees it: in which order, and which voices fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from voicebox_protocol import errors, fit, schema
from voicebox_protocol.capabilities import Capabilities, Voice, speaks
from voicebox_protocol.configuration import OrderConfig
from voiceboxd.request import Assignment, Origin, Passed, Speaker

# Which of ours speaks first where several can; others follow by name.
_RANKS = {"builtin": 0, "kokoro": 1, "espeak": 2}


class Candidate(NamedTuple):
    """An installed provider, as the choice sees it. `capabilities` is None until it has said Hello once; `trouble` says
    why it cannot be used at present, as "quarantined: it crashed"; `reference` is the engine that the configuration names."""

    id: str
    capabilities: Capabilities | None
    trouble: str | None = None
    reference: str | None = None

    def troubled(self, voice: str = "") -> Passed:
        """Its trouble, in words."""
        state, _, reason = (self.trouble or "").partition(": ")
        verb = "has failed" if state == "failed" else f"is {state}"
        return Passed(Speaker(self.id, voice), f"{self.id} {verb}" + (f" ({reason})" if reason else ""))


class Undecided(NamedTuple):
    """The choice needs to know what these providers can do."""

    ask: tuple[str, ...]


class Wish(NamedTuple):
    """The user's defaults, and who follows whom."""

    voice: str | None = None
    provider: str | None = None
    order: OrderConfig = OrderConfig()


def in_order(installed: Sequence[Candidate], wish: Wish) -> list[Candidate]:
    """Those that may be chosen by themselves: the user's first, then ours, then by name; never one that costs money."""
    free = [c for c in installed if c.capabilities is None or not c.capabilities.metered]
    return sorted(free, key=lambda c: (c.id != wish.provider, _RANKS.get(c.id, len(_RANKS)), c.id))


def fitting(
    capabilities: Capabilities, voice: str | None, language: str | None, model: str | None = None
) -> list[Voice]:
    """The voices of that name that speak the language and that the model has, the default one first; None fits any, and so
    does a model that there is not: `fit.check` has the words for it."""
    if "tts" not in capabilities.kinds:
        return []
    wanted = model if model in capabilities.models else None
    default = capabilities.default_voice()
    ordered = [v for v in capabilities.voices if v is default] + [v for v in capabilities.voices if v is not default]
    return [
        own
        for own in ordered
        if (voice is None or own.id.lower() == voice.lower())
        and (language is None or speaks(own.languages, language))
        and (wanted is None or not own.models or wanted in own.models)
    ]


def assign(
    say: schema.Say,
    candidate: Candidate,
    voice: Voice,
    *,
    origin: Origin | None = None,
    passed: tuple[Passed, ...] = (),
    before: Assignment | None = None,
) -> Assignment:
    """Let a voice speak a request; one that takes over from `before` keeps its rate, and its language where it has that.
    Raises `BadRequest` or `BadOption` for what it cannot honour."""
    able = candidate.capabilities
    assert able is not None
    fit.check(say, candidate.id, able)
    return Assignment(
        provider=candidate.id,
        voice=voice.id,
        language=(say.language or "").replace("_", "-") or _language(voice, before),
        sample_rate=before.sample_rate if before else say.sample_rate or able.sample_rate,
        max_chars=able.max_chars,
        streaming=able.streaming,
        deterministic=able.deterministic,
        scripts=tuple(voice.scripts),
        fingerprint=able.fingerprint,
        metered=able.metered,
        origin=origin or Origin(Speaker(candidate.id, voice.id), able.engine, candidate.reference),
        passed=passed,
    )


def base_of(language: str) -> str:
    """A language without its region: en of en-US."""
    return language.replace("_", "-").partition("-")[0].lower()


def told(error: errors.VoiceboxError, passed: Sequence[Passed]) -> errors.VoiceboxError:
    """The error, with why the others could not help."""
    whys = dict.fromkeys(each.why for each in passed)
    more = [why for why in whys if why not in str(error)]
    return type(error)("; ".join([str(error), *more])) if more else error


def _language(voice: Voice, before: Assignment | None) -> str:
    own = voice.languages or ["en"]
    if before is None:
        return own[0]
    if speaks(own, before.language):
        return before.language
    return next((tag for tag in own if base_of(tag) == base_of(before.language)), own[0])
