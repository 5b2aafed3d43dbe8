"""Who can speak like a recording: what is installed, as the choice of who speaks sees it for a request with a voice prompt."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from voicebox_protocol import errors, schema
from voicebox_protocol.capabilities import CLONED
from voiceboxd.candidates import Candidate, Wish

_CANNOT = "cannot speak like a recording (cloning)"


def check(say: schema.Say, installed: Sequence[Candidate]) -> None:
    """Raise `BadRequest` for what cannot go with a voice prompt, and `BadOption` where it is known that nobody can use it."""
    provider, _, voice = (say.voice or "").rpartition("/")
    if say.voice is not None and voice.lower() != CLONED:
        raise errors.BadRequest(f"a voice prompt is a voice, and so is {say.voice!r}: ask for one of them")
    if say.any_voice:
        raise errors.BadRequest("a voice prompt is for its own voice: any_voice cannot go with it")
    bound = say.provider or provider
    for each in installed:
        if each.id == bound and each.capabilities is not None and not each.capabilities.cloning:
            raise errors.BadOption(f"{each.id} {_CANNOT}{_others(installed)}")
    if not bound and all(each.capabilities is not None and not each.capabilities.cloning for each in installed):
        raise errors.BadOption(f"no provider that is installed can speak like a recording{_others(installed)}")


def view(say: schema.Say, installed: Sequence[Candidate]) -> list[Candidate]:
    """What is installed, each with the voice of a recording in place of its own, or with none: a prompt is for one model, so who has not
    that one is passed over, if it may be had elsewhere."""
    elsewhere = any(each.capabilities is None or say.model in each.capabilities.models for each in installed)
    model = say.model if elsewhere and not say.provider else None
    return [_seen(each, model) for each in installed]


def wish_of(wish: Wish) -> Wish:
    """The user's wish, less what names voices: the prompt is one."""
    return Wish(provider=wish.provider)


def _seen(candidate: Candidate, model: str | None) -> Candidate:
    able = candidate.capabilities
    if able is None:
        return candidate
    voice = able.cloned_voice() if model is None or model in able.models else None
    return candidate._replace(capabilities=replace(able, voices=[] if voice is None else [voice]))


def _others(installed: Sequence[Candidate]) -> str:
    able = [each.id for each in installed if each.capabilities is not None and each.capabilities.cloning]
    return f"; {', '.join(able)} can" if able else "; Qwen3-TTS can, with a Base model"
