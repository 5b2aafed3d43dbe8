"""Qwen3-TTS on MLX: checkpoints in directories, one of them loaded at a time, spoken frame by frame.

The weights are Apache-2.0, and the package mlx-audio that reads them is under the MIT licence. Nothing is ever downloaded.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from voicebox_protocol.errors import ProviderFailed
from voicebox_provider import host_memory
from voicebox_provider.engine import DeviceMemory, Engine, Extend, PermanentFault, Reference, TemporaryFault, Utterance
from voicebox_provider.engines.qwen import checkpoint, device, footprint, guards, models, offer
from voicebox_provider.engines.qwen.attempts import Attempts
from voicebox_provider.engines.qwen.marks import harmless
from voicebox_provider.engines.qwen_mlx import cloning, package
from voicebox_provider.native_threads import thread_count
from voicebox_provider.patience import steadily
from voicebox_provider.settings import check_settings, one_of

if TYPE_CHECKING:
    from voicebox_protocol.capabilities import Capabilities
    from voicebox_provider.engine import Samples
    from voicebox_provider.engines.qwen.checkpoint import Checkpoint, Defaults
    from voicebox_provider.engines.qwen_mlx.codec import CodecDecoder
    from voicebox_provider.engines.qwen_mlx.frames import Decoder, Prompt
    from voicebox_provider.voice_prompt import VoicePrompt

_CPU, _GPU = "cpu", "gpu"
_SETTINGS = ("model", "models", "device", "dtype", "threads")
_DTYPES = {_CPU: ("float32", "bfloat16"), _GPU: ("bfloat16", "float32")}
_LOADING_MS = 300_000
_WARM_UP = "Yes."
_WARM_UP_FRAMES = 3


class QwenMlxEngine(Engine):
    """Checkpoints on Apple's graphics processor, or on a processor, one at a time."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        check_settings("qwen-mlx", settings, _SETTINGS)
        self._threads = thread_count(settings)
        self._device = _device(settings)
        self._dtype = one_of(settings, "dtype", _DTYPES[self._device])
        self._models = models.read(settings)
        package.require()
        self._attempts = Attempts()
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
        try:
            yield from self._sound(utterance, chosen)
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

    def _sound(self, utterance: Utterance, chosen: Checkpoint) -> Iterator[Samples]:
        import numpy as np

        assert self._decoder is not None
        assert self._codec is not None
        stream = self._codec.stream()
        voice = None if utterance.prompt is None else cloning.read(utterance.prompt, chosen, self._model)
        if voice is not None and voice.codes:
            stream.prime(voice.code_steps.T)
        frames, prompt = self._decoder.frames, self._prompt(utterance, voice)
        settings = _settings(chosen.defaults, utterance.options)
        return self._attempts.sound(
            utterance,
            guards.budget(utterance.text, chosen.defaults.max_new_tokens),
            lambda seed, most, spoken: frames(prompt, settings, seed, most=most, given=spoken),
            lambda portion: stream.decode(np.array(portion).T),
        )

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


def _device(settings: Mapping[str, Any]) -> str:
    """Without MLX, which is not there yet, a graphics processor that it can use is known by the system."""
    named = one_of(settings, "device", ("auto", _CPU, _GPU))
    if named == "auto":
        return _GPU if sys.platform == "darwin" else _CPU
    return named
