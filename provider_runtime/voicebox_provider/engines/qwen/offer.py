"""What a Qwen3-TTS checkpoint can be asked for: voices, languages, options; the rest is refused, which the package would drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.errors import BadOption, NoSuchLanguage, NoSuchVoice
from voicebox_protocol.fit import nearest
from voicebox_provider.engines.qwen import cloning
from voicebox_provider.engines.qwen.checkpoint import LANGUAGES, WRITTEN_FOR, Checkpoint, Defaults, Speaker

if TYPE_CHECKING:
    from voicebox_provider.engine import Utterance

SAMPLE_RATE = 24000
MAX_CHARS = 300
"""The longer a segment, the more often the model finds no end, and the faster it speaks towards it."""

AUTO = "auto"
"""In place of a language: the model finds out by itself which one a text is in."""

DESIGNED = "designed"
"""The one voice of a voice_design checkpoint; what it sounds like, each request says itself."""

# What a text is cut into sentences as, where no language is named for a voice that has none of its own.
_COMMONEST = "en"
_SCRIPTS = {
    "zh": ("Hani", "Hans", "Hant"),
    "ja": ("Jpan", "Hira", "Kana", "Hani"),
    "ko": ("Kore", "Hang", "Hani"),
    "ru": ("Cyrl",),
}
# The first language and the gender of the speakers that the model card describes.
_KNOWN = {
    "vivian": ("zh", "female"),
    "serena": ("zh", "female"),
    "uncle_fu": ("zh", "male"),
    "dylan": ("zh", "male"),
    "eric": ("zh", "male"),
    "ryan": ("en", "male"),
    "aiden": ("en", "male"),
    "ono_anna": ("ja", "female"),
    "sohee": ("ko", "female"),
}


def capabilities(
    checkpoint: Checkpoint,
    *,
    device: str,
    fingerprint: str,
    memory_bytes: int | None = None,
    version: str = WRITTEN_FOR,
) -> Capabilities:
    """The capability document of an engine that has loaded nothing else. `version` is that of the package qwen-tts.

    A base checkpoint lists no voice, because it has none before it is given a recording.
    """
    clones = checkpoint.variant == "base"
    return Capabilities(
        engine="qwen3-tts",
        version=version,
        voices=_voices(checkpoint),
        sample_rate=SAMPLE_RATE,
        max_chars=MAX_CHARS,
        streaming=True,
        deterministic=True,
        fingerprint=fingerprint,
        instruct=checkpoint.takes_instruct,
        cloning=clones,
        languages=sorted(checkpoint.languages, key=lambda tag: tag != _COMMONEST) if clones else [],
        scripts=_scripts(checkpoint) if clones else [],
        models=[checkpoint.name],
        devices=[device],
        memory_bytes=memory_bytes,
        options=_options(checkpoint.defaults),
    )


def nothing(device: str, version: str) -> Capabilities:
    """The document of an engine that has no model yet."""
    return Capabilities(engine="qwen3-tts", version=version, sample_rate=SAMPLE_RATE, devices=[device])


def has(checkpoint: Checkpoint, utterance: Utterance) -> bool:
    """Whether the voice that is asked for is one of its own, or one of a recording that it can have."""
    if utterance.prompt is not None:
        return checkpoint.variant == "base"
    return (utterance.voice or "").lower() in [voice.id for voice in _voices(checkpoint)]


def language_name(checkpoint: Checkpoint, tag: str | None) -> str:
    """A language as qwen-tts calls it, such as English for en-US; Auto for None and `AUTO`: the model finds out by itself.

    Raises `NoSuchLanguage`, naming those there are.
    """
    if tag is None or tag.lower() == AUTO:
        return "Auto"
    base = tag.replace("_", "-").partition("-")[0].lower()
    if base not in checkpoint.languages:
        raise NoSuchLanguage(f"{checkpoint.name} does not speak {tag!r}; there is {', '.join(checkpoint.languages)}")
    return LANGUAGES[base].capitalize()


def check(checkpoint: Checkpoint, utterance: Utterance) -> None:
    """Raise `NoSuchVoice`, `BadOption` or `BadPrompt` for what qwen-tts would drop in silence, or stumble over.

    Without a speaker it would speak as anybody, without a description likewise; an instruction that it has no use for
    changes nothing.
    """
    if checkpoint.variant == "base" or utterance.prompt is not None:
        _check_prompt(checkpoint, utterance)
        return
    known = [voice.id for voice in _voices(checkpoint)]
    if (utterance.voice or "").lower() not in known:
        raise _no_voice(checkpoint, utterance.voice, known)
    if utterance.instruct and not checkpoint.takes_instruct:
        raise BadOption(f"{checkpoint.name} takes no instructions (instruct)")
    if checkpoint.needs_instruct and not (utterance.instruct or "").strip():
        raise BadOption(f"{checkpoint.name} needs a description of the voice (instruct), such as 'a calm old man'")


def _check_prompt(checkpoint: Checkpoint, utterance: Utterance) -> None:
    if checkpoint.variant != "base":
        raise BadOption(f"{checkpoint.name} cannot speak like a recording (cloning); a Base model can")
    if utterance.prompt is None:
        raise NoSuchVoice(
            f"{checkpoint.name} has no voice of its own: it speaks only like a recording that it is given"
        )
    if utterance.instruct:
        raise BadOption(f"{checkpoint.name} takes no instructions (instruct)")
    cloning.read(utterance.prompt, checkpoint)


def _no_voice(checkpoint: Checkpoint, voice: str | None, known: list[str]) -> NoSuchVoice:
    what = f"has no voice {voice!r}" if voice else "needs a voice"
    return NoSuchVoice(f"{checkpoint.name} {what}{nearest(voice or '', known)}")


def _voices(checkpoint: Checkpoint) -> list[Voice]:
    common: dict[str, Any] = {"scripts": _scripts(checkpoint)}
    if checkpoint.variant == "voice_design":
        languages = [AUTO, *checkpoint.languages]
        return [Voice(id=DESIGNED, name="Designed", languages=languages, kind="designed", **common)]
    if checkpoint.variant == "base":
        return []
    return [
        Voice(
            id=each.id, name=each.name.title(), languages=_own_first(checkpoint, each), gender=_gender(each), **common
        )
        for each in checkpoint.speakers
    ]


def _scripts(checkpoint: Checkpoint) -> list[str]:
    return list(dict.fromkeys(code for tag in checkpoint.languages for code in ("Latn", *_SCRIPTS.get(tag, ()))))


def _own_first(checkpoint: Checkpoint, speaker: Speaker) -> list[str]:
    """All languages, the speaker's first one before the others. What comes first of all is taken where a request names none."""
    first, _ = _KNOWN.get(speaker.id, (None, None))
    return [AUTO, *sorted(checkpoint.languages, key=lambda tag: tag != first)]


def _gender(speaker: Speaker) -> str | None:
    return _KNOWN.get(speaker.id, (None, None))[1]


def _options(defaults: Defaults) -> dict[str, Any]:
    """The JSON Schema of a request's options. What they change are the draws of the first codebook, which holds the words."""
    properties: dict[str, dict[str, Any]] = {
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": defaults.temperature},
        "top_k": {"type": "integer", "minimum": 0, "maximum": 1000, "default": defaults.top_k},
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": defaults.top_p},
        "repetition_penalty": {"type": "number", "minimum": 1, "maximum": 2, "default": defaults.repetition_penalty},
    }
    properties["temperature"]["description"] = "how freely it speaks; 0 always takes what is likeliest"
    properties["top_k"]["description"] = "drawn from so many of the likeliest; 0 from all"
    properties["top_p"]["description"] = "drawn from the likeliest that make up this share"
    properties["repetition_penalty"]["description"] = "makes what was drawn before less likely; 1 does not"
    return {"type": "object", "properties": properties}
