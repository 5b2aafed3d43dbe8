"""Qwen3-TTS on MLX: checkpoints in directories, one of them loaded at a time, spoken frame by frame.

The weights are Apache-2.0, and the package mlx-audio that reads them is under the MIT licence. Nothing is ever downloaded.
"""

from __future__ import annotations

import platform
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from voicebox_protocol.errors import ProviderFailed
from voicebox_provider import host_memory
from voicebox_provider.engine import DeviceMemory, Engine, Extend, PermanentFault, Reference, TemporaryFault, Utterance
from voicebox_provider.engines.qwen import checkpoint, device, footprint, guards, kept, models, offer
from voicebox_provider.engines.qwen.marks import harmless
from voicebox_provider.engines.qwen_mlx import cloning, package
from voicebox_provider.native_threads import thread_count
from voicebox_provider.patience import steadily
from voicebox_provider.settings import check_settings

if TYPE_CHECKING:
    from voicebox_protocol.capabilities import Capabilities
    from voicebox_provider.engine import Samples
    from voicebox_provider.engines.qwen.checkpoint import Checkpoint, Defaults
    from voicebox_provider.engines.qwen_mlx.codec import CodecDecoder
    from voicebox_provider.engines.qwen_mlx.frames import Decoder, Prompt
    from voicebox_provider.voice_prompt import VoicePrompt

_Frame = Sequence[int]

_CPU, _GPU = "cpu", "gpu"
_SETTINGS = ("model", "models", "device", "dtype", "threads")
_DTYPES = {_CPU: ("float32", "bfloat16"), _GPU: ("bfloat16", "float32")}
_LOADING_MS = 300_000
# The first sound after one frame, then more and more at once: each portion costs something of its own.
_MOST_AT_ONCE = 8
# Segments that went wrong with their own seed, and are drawn from another from then on.
_REMEMBERED = 256
_WARM_UP = "Yes."
_WARM_UP_FRAMES = 3


class QwenMlxEngine(Engine):
    """Checkpoints on Apple's graphics processor, or on a processor, one at a time."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        check_settings("qwen-mlx", settings, _SETTINGS)
        self._threads = thread_count(settings)
        self._device = _device(settings)
        self._dtype = _one_of(settings, "dtype", _DTYPES[self._device])
        self._models = models.read(settings)
        package.require()
        self._strayed: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._checkpoint: Checkpoint | None = None
        self._model: Any = None
        self._decoder: Decoder | None = None
        self._codec: CodecDecoder | None = None

    def capabilities(self) -> Capabilities:
        nothing = offer.nothing(self._device, version("mlx-audio"))
        return self._models.document(self._capabilities_of) or nothing

    def _capabilities_of(self, checkpoint: Checkpoint) -> Capabilities:
        packages = [f"{package} {version(package)}" for package in ("mlx-audio", "mlx", "transformers")]
        how = (checkpoint.revision, self._dtype, self._device, f"{self._threads} threads")
        machine = f"{platform.system()} {platform.machine()}"
        return offer.capabilities(
            checkpoint,
            device=self._device,
            fingerprint=", ".join((*packages, *how, machine)),
            version=version("mlx-audio"),
        )

    def load(self, extend: Extend) -> None:
        first = self._models.default
        extend(_LOADING_MS, f"reading {first.name}" if first else models.NONE_YET)
        package.use(self._device)
        if first is not None:
            self._open(first)

    def prepare_voice(self, reference: Reference) -> bytes:
        chosen = self._models.cloner(reference.model)
        self._turn_to(chosen, reference)
        return cloning.listen(self._model, chosen, reference)

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        chosen = self._models.chosen(utterance)
        offer.check(chosen, utterance)
        self._turn_to(chosen, utterance)
        segment = utterance.text, utterance.seed
        attempt, spoken = _spoken(utterance.kept) or (int(segment in self._strayed), [])
        try:
            yield from self._attempt(utterance, attempt, spoken)
        except guards.Degenerate as fault:
            # The daemon asks for a failed segment once more, and compares what it has of it: it knows when the samples are others.
            self._strayed[segment] = None
            if len(self._strayed) > _REMEMBERED:
                self._strayed.popitem(last=False)
            raise ProviderFailed(str(fault)) from None
        finally:
            package.tidy()

    def device_memory(self) -> DeviceMemory | None:
        return package.memory() if self._device == _GPU and self._model is not None else None

    def unload(self) -> None:
        self._model = self._decoder = self._codec = self._checkpoint = None

    def _open(self, chosen: Checkpoint) -> None:
        """Load a model, and warm it up."""
        import numpy as np

        from voicebox_provider.engines.qwen_mlx import prompts
        from voicebox_provider.engines.qwen_mlx.codec import CodecDecoder
        from voicebox_provider.engines.qwen_mlx.frames import Decoder

        weights = footprint.weights(checkpoint.weight_files(chosen.directory), self._dtype)
        # Apple's graphics processor has the memory of the machine.
        room = host_memory.room()
        device.check_room(device.needed(weights), room, name=chosen.name, device=self._device, dtype=self._dtype)
        self._model = package.load(chosen.directory, self._dtype)
        self._codec = CodecDecoder(package.take_decoder(self._model))
        self._decoder = Decoder(self._model)
        prompt = prompts.described(self._model, _WARM_UP, offer.AUTO, None, None)
        frames = self._decoder.frames(prompt, chosen.defaults, 0, most=_WARM_UP_FRAMES)
        self._codec.stream().decode(np.array(list(frames)).T)
        self._checkpoint = chosen

    def _turn_to(self, chosen: Checkpoint, wanted: Utterance | Reference) -> None:
        """Load another model in the place of the one that is loaded: there may not be memory for two."""
        if self._checkpoint is not None and chosen.directory == self._checkpoint.directory:
            return
        self.unload()
        try:
            with steadily(wanted.progress, _LOADING_MS / 1000):
                self._open(chosen)
        except (PermanentFault, TemporaryFault) as fault:
            # This request's model alone has no room, or is damaged; the next one may ask for another.
            raise ProviderFailed(str(fault)) from None
        finally:
            if self._checkpoint is None:
                self.unload()

    def _attempt(self, utterance: Utterance, attempt: int, spoken: list[_Frame]) -> Iterator[Samples]:
        """The sound from its beginning. `spoken` are the frames that a predecessor drew of it."""
        import numpy as np

        assert self._checkpoint is not None
        assert self._decoder is not None
        assert self._codec is not None
        if not utterance.kept:
            utterance.keep(kept.first_part(attempt))
        budget = guards.budget(utterance.text, self._checkpoint.defaults.max_new_tokens)
        watch, stream = guards.Watch(budget), self._codec.stream()
        voice = None if utterance.prompt is None else cloning.read(utterance.prompt, self._checkpoint, self._model)
        if voice is not None and voice.codes:
            stream.prime(voice.code_steps.T)
        prompt = self._prompt(utterance, voice)
        settings = _settings(self._checkpoint.defaults, utterance.options)
        seed = guards.derived_seed(utterance.seed, attempt)
        drawn = self._decoder.frames(prompt, settings, seed, most=budget.most, given=spoken)
        waiting: list[_Frame] = []
        due = 1
        for number, codes in enumerate(chain(spoken, drawn)):
            utterance.progress()
            if utterance.cancelled():
                return
            watch.frame(codes)
            if number >= len(spoken):
                utterance.keep(kept.part([codes]))
            waiting.append(codes)
            if len(waiting) == due:
                yield _watched(watch, stream.decode(np.array(waiting).T))
                waiting, due = [], min(2 * due, _MOST_AT_ONCE)
        if waiting:
            yield _watched(watch, stream.decode(np.array(waiting).T))

    def _prompt(self, utterance: Utterance, voice: VoicePrompt | None) -> Prompt:
        from voicebox_provider.engines.qwen_mlx import prompts

        assert self._checkpoint is not None
        text = harmless(utterance.text)
        language = offer.language_name(self._checkpoint, utterance.language).lower()
        if voice is not None:
            return prompts.cloned(self._model, text, language, replace(voice, text=harmless(voice.text)))
        instruct = harmless(utterance.instruct) if utterance.instruct else None
        speaker = utterance.voice if self._checkpoint.variant == "custom_voice" else None
        return prompts.described(self._model, text, language, speaker, instruct)


def _settings(defaults: Defaults, options: Mapping[str, Any]) -> Defaults:
    """How frames are drawn for one request."""
    if options.get("temperature") == 0:
        options = {**options, "temperature": 1.0, "do_sample": False, "subtalker_dosample": False}
    return replace(defaults, **options)


def _spoken(state: bytes) -> tuple[int, list[_Frame]] | None:
    """Which attempt a predecessor was at, and the frames that it drew; None if it left nothing.

    Raises `ProviderFailed` for what is no such thing: the daemon then has the segment spoken without it.
    """
    if not state:
        return None
    try:
        attempt, frames = kept.read(state)
    except ValueError as error:
        raise ProviderFailed(f"what the process before kept cannot be read: {error}") from None
    return attempt, list(frames)


def _watched(watch: guards.Watch, sound: Samples) -> Samples:
    watch.samples(sound)
    return sound


def _device(settings: Mapping[str, Any]) -> str:
    """Without MLX, which is not there yet, a graphics processor that it can use is known by the system."""
    named = _one_of(settings, "device", ("auto", _CPU, _GPU))
    if named == "auto":
        return _GPU if sys.platform == "darwin" else _CPU
    return named


def _one_of(settings: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = settings.get(name, known[0])
    if value not in known:
        raise PermanentFault(f"the setting `{name}` is {value!r}; it takes {' or '.join(known)}")
    return str(value)
