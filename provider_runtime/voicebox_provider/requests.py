"""From a Synthesize message to an `Utterance`, or to the error that says why not.

The daemon checks the same against the capability document; this is the second net, so that no engine meets a wish that
it cannot honour and drops it.
"""

from __future__ import annotations

from voicebox_protocol import fit
from voicebox_protocol.capabilities import Capabilities, Voice, speaks
from voicebox_protocol.errors import BadOption, BadRequest, NoSuchLanguage, NoSuchVoice
from voicebox_protocol.fit import nearest
from voicebox_protocol.schema import Synthesize
from voicebox_provider.engine import Utterance


def utterance(
    request: Synthesize, text: str, provider: str, able: Capabilities, prompt: bytes | None = None
) -> Utterance:
    """What the engine is asked to do; `able` is its capability document, `provider` our own id, `prompt` the voice
    prompt that came with it.

    Raises `BadRequest`, `BadOption`, `NoSuchVoice` or `NoSuchLanguage`.
    """
    fit.check(request, provider, able)
    if len(text) > able.max_chars:
        raise BadRequest(f"the segment has {len(text)} characters; {provider} takes {able.max_chars} at a time")
    voice = _voice(request.voice, provider, able) if prompt is None else _cloned(request.voice, provider, able)
    _check_language(request.language, voice)
    return Utterance(
        text=text,
        voice=voice.id if voice and prompt is None else None,
        prompt=prompt,
        language=request.language,
        model=request.model,
        instruct=request.instruct or None,
        seed=request.seed,
        speed=request.speed or 1.0,
        pitch=request.pitch or 1.0,
        volume=1.0 if request.volume is None else request.volume,
        options=request.options or {},
        kept=request.state or b"",
    )


def _cloned(wanted: str | None, provider: str, able: Capabilities) -> Voice:
    """The voice of a recording, which none of the engine's own can be besides."""
    voice = able.cloned_voice()
    if voice is None:
        raise BadOption(f"{provider} cannot speak like a recording (cloning)")
    if wanted is not None and wanted.removeprefix(f"{provider}/") != voice.id:
        raise BadRequest(f"a voice prompt came with the voice {wanted!r}; it is a voice itself")
    return voice


def _voice(wanted: str | None, provider: str, able: Capabilities) -> Voice | None:
    if wanted is None:
        return able.default_voice()
    plain = wanted.removeprefix(f"{provider}/")
    known = {voice.id: voice for voice in able.voices}
    if plain not in known:
        raise NoSuchVoice(f"{able.engine} has no voice {wanted!r}{nearest(plain, known)}")
    return known[plain]


def _check_language(wanted: str | None, voice: Voice | None) -> None:
    if wanted and voice and voice.languages and not speaks(voice.languages, wanted):
        raise NoSuchLanguage(f"the voice {voice.id!r} speaks {', '.join(voice.languages)}, not {wanted}")
