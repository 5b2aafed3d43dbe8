"""The checkpoints that one provider knows, by name: which one a request means, and what they can do together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.errors import BadOption
from voicebox_protocol.fit import nearest
from voicebox_provider.engine import PermanentFault
from voicebox_provider.engines.qwen import checkpoint, offer
from voicebox_provider.engines.qwen.checkpoint import Checkpoint

if TYPE_CHECKING:
    from voicebox_provider.engine import Utterance

NONE_YET = "it has no model yet; `voicebox model add` gives it one"


class Models:
    """By name, the default first. There is none where `models` is empty and `model` is not named."""

    def __init__(self, by_name: Mapping[str, Checkpoint]) -> None:
        self._by_name = dict(by_name)

    @property
    def default(self) -> Checkpoint | None:
        """What is loaded first, and speaks where nothing else is asked for."""
        return next(iter(self._by_name.values()), None)

    def chosen(self, utterance: Utterance) -> Checkpoint:
        """The model that is named; else the default, or the first that has the voice. Raises `BadOption`."""
        if utterance.model is not None:
            if utterance.model not in self._by_name:
                raise BadOption(f"there is no model {utterance.model!r}{nearest(utterance.model, self._by_name)}")
            return self._by_name[utterance.model]
        models = list(self._by_name.values())
        if not models:
            raise BadOption(NONE_YET)
        return next((each for each in models if offer.has(each, utterance)), models[0])

    def cloner(self, model: str | None) -> Checkpoint:
        """The model that is named; else the first that can speak like a recording. Raises `BadOption`."""
        for each in self._by_name.values():
            if each.variant == "base" and model in (None, each.name):
                return each
        raise BadOption(f"{model or 'a model that is no Base model'} cannot speak like a recording (cloning)")

    def document(self, of: Callable[[Checkpoint], Capabilities]) -> Capabilities | None:
        """What they can do together, the default's first; each voice says which models have it. None if there is none."""
        own = [of(each) for each in self._by_name.values()]
        if len(own) < 2:
            return own[0] if own else None
        # Equal samples need an equal model, whichever of them speaks.
        print_of_all = ", ".join([own[0].fingerprint, *(each.revision for each in [*self._by_name.values()][1:])])
        memory = [each.memory_bytes for each in own if each.memory_bytes is not None]
        return replace(
            own[0],
            voices=_together(own),
            instruct=any(each.instruct for each in own),
            cloning=any(each.cloning for each in own),
            cloning_models=[name for each in own if each.cloning for name in each.models],
            languages=_union(own, "languages"),
            scripts=_union(own, "scripts"),
            models=list(self._by_name),
            fingerprint=print_of_all,
            memory_bytes=max(memory, default=None),
        )


def read(settings: Mapping[str, Any]) -> Models:
    """The models of the settings: `model` is a directory, or a key of `models`, which are directories by name.

    Raises `PermanentFault` if the default cannot be used. Any other that cannot is left out, with a line in the log.
    """
    named, known = settings.get("model"), settings.get("models")
    if known is None or (named is not None and named not in known):
        found = checkpoint.read(_directory("model", named))
        return Models({found.name: found} | _others(known or {}, found.name))
    if not isinstance(known, dict):
        raise PermanentFault(f"the setting `models` is {known!r}; it takes a table of directories by name")
    first = named if named is not None else next(iter(known), None)
    if first is None:
        return Models({})
    default = replace(checkpoint.read(_directory("models", known[first])), name=first)
    return Models({first: default} | _others(known, first))


def _others(known: Mapping[str, Any], first: str) -> dict[str, Checkpoint]:
    found = {}
    for name, directory in known.items():
        try:
            if name != first:
                found[name] = replace(checkpoint.read(_directory("models", directory)), name=name)
        except PermanentFault as fault:
            sys.stderr.write(f"the model {name} is left out: {fault}\n")
    return found


def _directory(setting: str, value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise PermanentFault(
            f"the setting `{setting}` is {value!r}; it takes the directory of a Qwen3-TTS checkpoint on this machine"
        )
    return Path(value).expanduser()


def _together(documents: list[Capabilities]) -> list[Voice]:
    """Every voice once, with the languages, letters and names of all models that have it."""
    voices: dict[str, Voice] = {}
    for able in documents:
        for voice in able.voices:
            known = voices.get(voice.id)
            first = known or replace(voice, models=[])
            voices[voice.id] = replace(
                first,
                languages=list(dict.fromkeys([*first.languages, *voice.languages])),
                scripts=list(dict.fromkeys([*first.scripts, *voice.scripts])),
                models=[*first.models, *able.models],
            )
    return list(voices.values())


def _union(documents: list[Capabilities], field: str) -> list[str]:
    return list(dict.fromkeys(each for able in documents for each in getattr(able, field)))
