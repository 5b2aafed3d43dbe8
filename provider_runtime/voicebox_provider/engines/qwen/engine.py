"""Qwen3-TTS on PyTorch: checkpoints in directories, one of them loaded at a time, spoken frame by frame.

The weights are Apache-2.0, and so is the package qwen-tts that reads them. Nothing is ever downloaded.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicebox_protocol.errors import ProviderFailed
from voicebox_provider.engine import Engine, Extend, PermanentFault, Reference, TemporaryFault, Utterance
from voicebox_provider.engines.qwen import (
    checkpoint,
    cloning,
    device,
    footprint,
    guards,
    models,
    offer,
    package,
    processor,
)
from voicebox_provider.engines.qwen.attempts import Attempts, Frame
from voicebox_provider.engines.qwen.marks import harmless
from voicebox_provider.native_threads import thread_count
from voicebox_provider.patience import steadily
from voicebox_provider.settings import check_settings, one_of

if TYPE_CHECKING:
    from voicebox_protocol.capabilities import Capabilities
    from voicebox_provider.engine import DeviceMemory, Samples
    from voicebox_provider.engines.qwen.checkpoint import Checkpoint
    from voicebox_provider.engines.qwen.codec import CodecDecoder
    from voicebox_provider.engines.qwen.frames import Decoder
    from voicebox_provider.voice_prompt import VoicePrompt

_CPU = "cpu"
_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")
_DRIVER = Path("/dev/nvidiactl")
_SETTINGS = ("model", "models", "device", "dtype", "quantize", "loop", "threads")
_DTYPES = ("float32", "bfloat16")
_QUANTIZE = ("auto", "none", "int8")
_LOOPS = ("own", "reference")
_LOADING_MS = 300_000
_WARM_UP = "Yes."
_WARM_UP_FRAMES = 3

# What the package has for each variant, and what it is to take of an utterance.
_METHODS = {
    "custom_voice": ("generate_custom_voice", ("speaker", "instruct")),
    "voice_design": ("generate_voice_design", ("instruct",)),
    "base": ("generate_voice_clone", ("voice_clone_prompt",)),
}


class QwenEngine(Engine):
    """Checkpoints on one device, one at a time. With `loop = "reference"` the package's own loop speaks in place of ours."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        check_settings("qwen", settings, _SETTINGS)
        self._threads = thread_count(settings)
        self._device = _device(settings)
        self._dtype = one_of(settings, "dtype", _DTYPES if self._device == _CPU else _DTYPES[::-1])
        self._loop = one_of(settings, "loop", _LOOPS)
        self._int8 = _int8(one_of(settings, "quantize", _QUANTIZE), possible=self._own_on_cpu())
        self._models = models.read(settings)
        default = self._models.default
        package.require()
        if default is not None:
            # The one that is loaded, or is to be.
            self._checkpoint = default
        self._attempts = Attempts()
        self._wrapper: Any = None
        self._decoder: Decoder | None = None
        self._codec: CodecDecoder | None = None

    def capabilities(self) -> Capabilities:
        nothing = offer.nothing(self._device, version("qwen-tts"))
        return self._models.document(self._capabilities_of) or nothing

    def _capabilities_of(self, checkpoint: Checkpoint) -> Capabilities:
        packages = [f"{package} {version(package)}" for package in ("qwen-tts", "torch", "transformers")]
        numbers = f"{self._dtype} and int8" if self._int8 else self._dtype
        how = (checkpoint.revision, self._loop, numbers, self._device, f"{self._threads} threads")
        return offer.capabilities(
            checkpoint,
            device=self._device,
            fingerprint=", ".join((*packages, *how, f"cpu {platform.machine()}")),
            version=version("qwen-tts"),
        )

    def load(self, extend: Extend) -> None:
        first = self._models.default
        extend(_LOADING_MS, f"reading {first.name}" if first else models.NONE_YET)
        import torch

        torch.set_num_threads(self._threads)
        device.compute(self._device, self._dtype)
        if first is None:
            # Ready for the model that it will be given: whatever is missing besides is told now.
            package.import_qwen_tts()
        else:
            self._open()

    def _open(self) -> None:
        """Load the current model, and warm it up."""
        import torch

        from voicebox_provider.engines.qwen.codec import CodecDecoder
        from voicebox_provider.engines.qwen.frames import Decoder
        from voicebox_provider.engines.qwen.graphs import Graphs

        size = footprint.weights(checkpoint.weight_files(self._checkpoint.directory), self._dtype)
        device.admit(size, name=self._checkpoint.name, device=self._device, dtype=self._dtype)
        with device.explained(self._device):
            self._wrapper = package.load(self._checkpoint.directory, getattr(torch, self._dtype), self._device)
        codec = self._wrapper.model.speech_tokenizer.model
        # In float32 whatever the rest is in: it is what is heard. The package's own is not needed any more, and is large.
        self._codec = CodecDecoder(codec.decoder.float())
        del codec.decoder
        if self._loop == "own":
            graphs = None if self._device == _CPU else Graphs()
            self._decoder = Decoder(self._wrapper.model, int8=self._int8, graphs=graphs)
        stream = self._codec.stream()
        for frame in self._frames(self._warm_up(), 0, _WARM_UP_FRAMES):
            stream.decode(torch.tensor([frame]).T)

    def _own_on_cpu(self) -> bool:
        return self._loop == "own" and self._device == _CPU

    def _warm_up(self) -> Utterance:
        if self._checkpoint.variant == "base":
            return Utterance(text=_WARM_UP, prompt=cloning.nobody(self._wrapper, self._checkpoint))
        voice = self._capabilities_of(self._checkpoint).voices[0].id
        return Utterance(text=_WARM_UP, voice=voice, instruct="calm" if self._checkpoint.needs_instruct else None)

    def prepare_voice(self, reference: Reference) -> bytes:
        chosen = self._models.cloner(reference.model)
        self._turn_to(chosen, reference)
        return cloning.listen(self._wrapper, chosen, reference)

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        import torch

        chosen = self._models.chosen(utterance)
        offer.check(chosen, utterance)
        self._turn_to(chosen, utterance)
        assert self._codec is not None
        stream = self._codec.stream()
        if utterance.prompt is not None and (past := self._prompt(utterance.prompt)).codes:
            stream.prime(torch.from_numpy(past.code_steps.astype("int64")).T)
        budget = guards.budget(utterance.text, chosen.defaults.max_new_tokens)
        yield from self._attempts.sound(
            utterance, budget, partial(self._frames, utterance), lambda frames: stream.decode(torch.tensor(frames).T)
        )

    def device_memory(self) -> DeviceMemory | None:
        return device.memory(self._device)

    def unload(self) -> None:
        self._wrapper = self._decoder = self._codec = None

    def _turn_to(self, chosen: Checkpoint, wanted: Utterance | Reference) -> None:
        """Load another model in the place of the one that is loaded: there may not be memory for two."""
        if self._wrapper is not None and chosen.directory == self._checkpoint.directory:
            return
        self.unload()
        self._checkpoint = chosen
        try:
            with steadily(wanted.progress, _LOADING_MS / 1000):
                self._open()
        except (PermanentFault, TemporaryFault) as fault:
            # This request's model alone has no room, or is damaged; the next one may ask for another.
            self.unload()
            raise ProviderFailed(str(fault)) from None
        except BaseException:
            self.unload()
            raise

    def _frames(self, utterance: Utterance, seed: int, most: int, spoken: Sequence[Frame] = ()) -> Iterator[Frame]:
        """The codes of each frame, after those that were spoken."""
        import torch

        from voicebox_provider.engines.qwen import reference
        from voicebox_provider.engines.qwen.frames import capture

        method, asked = self._asked(utterance)
        drawn: Iterator[torch.Tensor]
        if self._decoder is None:
            speak = partial(getattr(self._wrapper, method), **asked, max_new_tokens=most + 1)
            # It has no way to begin in the middle, but says the same again.
            drawn = islice(reference.frames(self._wrapper, speak, seed), len(spoken), None)
        else:
            captured = capture(self._wrapper, method, **asked)
            given = torch.tensor(spoken) if spoken else None
            drawn = self._decoder.frames(captured.prompt, captured.sampling, seed, most=most, given=given)
        return (codes.tolist() for codes in drawn)

    def _asked(self, utterance: Utterance) -> tuple[str, dict[str, Any]]:
        """The package's method, and all that it is called with."""
        method, takes = _METHODS[self._checkpoint.variant]
        language = offer.language_name(self._checkpoint, utterance.language)
        own: dict[str, Any] = {
            "speaker": utterance.voice,
            "instruct": utterance.instruct and harmless(utterance.instruct),
        }
        if utterance.prompt is not None:
            prompt = self._prompt(utterance.prompt)
            own["voice_clone_prompt"] = [cloning.item(prompt, self._wrapper, harmless(prompt.text))]
        options = dict(utterance.options)
        if options.get("temperature") == 0:
            # The package divides by it.
            options = {**options, "temperature": 1.0, "do_sample": False, "subtalker_dosample": False}
        return method, {
            "text": harmless(utterance.text),
            "language": language,
            **{name: own[name] for name in takes},
            **options,
        }

    def _prompt(self, data: bytes) -> VoicePrompt:
        return cloning.read(data, self._checkpoint, self._wrapper)


def _text(settings: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = settings.get(name, default)
    if not isinstance(value, str) or not value:
        raise PermanentFault(f"the setting `{name}` is {value!r}; {_HINTS[name]}")
    return value


def _device(settings: Mapping[str, Any]) -> str:
    """As torch names it. Without torch, which is not there yet, a card is known by its driver."""
    named = _text(settings, "device", _CPU)
    if named == "auto":
        return "cuda" if _DRIVER.exists() else _CPU
    if not _DEVICE.fullmatch(named):
        raise PermanentFault(f"the setting `device` is {named!r}; {_HINTS['device']}")
    return named


def _int8(asked: str, *, possible: bool) -> bool:
    """Whether the code predictor's weights are rounded to eight bits: by itself only where the processor is quicker for it."""
    if asked == "int8" and not possible:
        raise PermanentFault(
            '`quantize = "int8"` is for our own loop on the processor: `device = "cpu"`, `loop = "own"`'
        )
    return possible and (asked == "int8" or (asked == "auto" and processor.has_int8_products()))


_HINTS = {
    "device": "it takes cpu, cuda, cuda:1 for the second card, or auto",
}
