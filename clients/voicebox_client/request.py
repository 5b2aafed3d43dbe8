"""A `Say` from its arguments: what cannot be right is refused here, before a daemon is even looked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from voicebox_client.voice_prompt import VoicePrompt
from voicebox_protocol import wire
from voicebox_protocol.errors import BadRequest, InvalidText, TextTooLong

_CHOICES = {"priority": wire.PRIORITIES, "on_failure": wire.ON_FAILURE, "sink": wire.SINKS}
_LENGTHS = {"id": 64, "name": 128, "note": 4096}
# What goes with the loudspeaker only.
_ALOUD = ("follow", "detached", "wait_device")
# The header holds the other fields too; the longest of these take less than half.
_MOST_OPTIONS = wire.MAX_HEADER // 2
_BITS = {"u32": 32, "u64": 64}


def new_id() -> str:
    """A request's random name."""
    return os.urandom(16).hex()


def encode(text: str) -> bytes:
    """Text as UTF-8; `InvalidText` where it holds half a surrogate pair, which no UTF-8 can say."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"character {error.start} of the text is U+{ord(text[error.start]):04X}, half of a surrogate pair"
        ) from None


def whole(text: str) -> bytes:
    """The text of a request that is not streamed, encoded; `TextTooLong` above 1 MiB."""
    encoded = encode(text)
    if len(encoded) > wire.MAX_TEXT:
        raise TextTooLong(f"the text has {len(encoded)} bytes; {TextTooLong.when()}")
    return encoded


def like(prompt: VoicePrompt | None, asked: dict[str, Any]) -> bytes | None:
    """The bytes of a voice prompt that a `Say` is to carry; what goes with it is added to `asked`. Raises `BadRequest`."""
    if prompt is None:
        return None
    if not isinstance(prompt, VoicePrompt):
        raise BadRequest(f"prompt takes what prepare_voice gave, not {type(prompt).__name__}")
    for name in ("voice", "any_voice"):
        if asked.get(name):
            raise BadRequest(f"{name} is {asked[name]!r}, and prompt is a voice itself: give one of them")
    if asked.get("model") is None:
        asked["model"] = prompt.model
    elif prompt.model is not None and asked["model"] != prompt.model:
        raise BadRequest(f"the voice prompt was made for {prompt.model}, and model is {asked['model']!r}")
    if prompt.model is None and asked.get("provider") is None:
        # Nothing else says whose prompt it is.
        asked["provider"] = prompt.provider
    return prompt.data


def fields(deadline: float | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Say`, each checked against the wire's table; `deadline` is in seconds."""
    checked = {
        field.name: _CHECKS[field.type](field.name, values[field.name])
        for field in wire.BY_NAME["Say"].fields
        if values.get(field.name) is not None
    }
    for name, choices in _CHOICES.items():
        if name in checked and checked[name] not in choices:
            raise BadRequest(f"{name} is {checked[name]!r}; it takes {', '.join(choices)}")
    _check_aloud(checked)
    if checked.get("sink") == "speaker" and values.get("resume"):
        checked["follow"] = True  # the next daemon goes on with what was being heard
    if deadline is not None:
        checked["deadline_ms"] = milliseconds(deadline, "deadline")
    return checked


def _check_aloud(checked: dict[str, Any]) -> None:
    """What is not wished for is left out; what is must have its place."""
    for name in _ALOUD:
        if checked.pop(name, None):
            if checked.get("sink") != "speaker":
                raise BadRequest(
                    f"{name} goes with sink 'speaker': without it the sound comes to the program that asks"
                )
            checked[name] = True


def whole_if_detached(text: object, asked: Mapping[str, Any]) -> None:
    """Raise `BadRequest` for a text that is still being written and is to be spoken without its writer."""
    if asked["detached"] and not isinstance(text, str):
        raise BadRequest("detached takes the whole text as a string: nobody would be there to go on with it")


def audio(volume: float | None, muted: bool | None, device: str | None) -> dict[str, Any]:
    """The fields of an `Audio` that change something. Raises `BadRequest`."""
    if volume is not None and not 0 <= _real("volume", volume) <= 1:
        raise BadRequest(f"volume is {volume!r}; it takes a number from 0 to 1")
    asked = {"volume": volume, "muted": muted, "device": device}
    return {
        field.name: _CHECKS[field.type](field.name, asked[field.name])
        for field in wire.BY_NAME["Audio"].fields
        if asked.get(field.name) is not None
    }


def listening(
    audio: Any, text: str | None, provider: str | None, model: str | None, sample_rate: int | None, timeout: float
) -> tuple[bytes, dict[str, Any]]:
    """The payload and the fields of a `PrepareVoice`. Raises `BadReference` or `BadRequest`."""
    from voicebox_client import reference_audio

    deadline = milliseconds(timeout, "timeout")
    asked = {"text": text or None, "provider": provider, "model": model}
    named = {
        field.name: _CHECKS[field.type](field.name, asked[field.name])
        for field in wire.BY_NAME["PrepareVoice"].fields
        if asked.get(field.name) is not None
    }
    recording = reference_audio.read(audio, sample_rate)
    return recording.audio, {**named, "sample_rate": recording.sample_rate, "deadline_ms": deadline}


def prepared(answer: Mapping[str, Any]) -> VoicePrompt:
    """What `VoicePrepared` brought."""
    return VoicePrompt(answer.get("payload", b""), provider=answer["provider"], model=answer.get("model"))


def milliseconds(seconds: float, name: str) -> int:
    """A duration that the caller calls `name`. Raises `BadRequest`."""
    checked = _real(name, seconds)
    if checked <= 0:
        raise BadRequest(f"{name} is {seconds!r}; it takes a number of seconds above 0")
    return math.ceil(checked * 1000)


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise BadRequest(f"{name} takes a string of at most {most} characters")
    encode(value)
    return value


def _whole_number(name: str, value: Any, bits: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**bits:
        raise BadRequest(f"{name} is {value!r}; it takes a whole number from 0 to {2**bits - 1}")
    return value


def _real(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{name} is {value!r}; it takes a number")
    return float(value)


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is {value!r}; it takes true or false")
    return value


def _map(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadRequest(f"{name} takes a mapping from strings")
    try:
        size = len(msgpack.packb(dict(value)))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"{name} holds what MessagePack cannot say: {error}") from None
    if size > _MOST_OPTIONS:
        raise BadRequest(f"{name} has {size} bytes; it takes {_MOST_OPTIONS}")
    return dict(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "bool": _bool,
    "real": _real,
    "map": _map,
    **{
        type_: lambda name, value, most=most: _text(name, value, most)  # type: ignore[misc]
        for type_, most in _LENGTHS.items()
    },
    **{
        type_: lambda name, value, bits=bits: _whole_number(name, value, bits)  # type: ignore[misc]
        for type_, bits in _BITS.items()
    },
}
