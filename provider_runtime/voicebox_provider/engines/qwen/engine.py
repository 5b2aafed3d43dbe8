"""Qwen3-TTS on PyTorch: one checkpoint in a directory, spoken frame by frame.

The weights are Apache-2.0, and so is the package qwen-tts that reads them. Nothing is ever downloaded.
"""

from __future__ import annotations

import platform
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicebox_protocol.errors import ProviderFailed
from voicebox_provider.engine import Engine, Extend, PermanentFault, Utterance
from voicebox_provider.engines.qwen import checkpoint, guards, offer, package
from voicebox_provider.native_threads import thread_count
from voicebox_provider.settings import check_settings

if TYPE_CHECKING:
    import torch

    from voicebox_protocol.capabilities import Capabilities
    from voicebox_provider.engine import Samples
    from voicebox_provider.engines.qwen.codec import CodecDecoder
    from voicebox_provider.engines.qwen.frames import Decoder

_CPU = "cpu"
_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")
_DRIVER = Path("/dev/nvidiactl")
_SETTINGS = ("model", "device", "dtype", "loop", "threads")
_DTYPES = ("float32", "bfloat16")
_LOOPS = ("own", "reference")
_LOADING_MS = 300_000
# The first sound after one frame, then more and more at once: each portion costs something of its own.
_MOST_AT_ONCE = 8
# Segments that went wrong with their own seed, and are drawn from another from then on.
_REMEMBERED = 256
_WARM_UP = "Yes."
_WARM_UP_FRAMES = 3

_MARKS = re.compile(r"<\|[^<>]*\|>|<tts_[^<>]*>")

# What the package has for each variant, and what it is to take of an utterance.
_METHODS = {
    "custom_voice": ("generate_custom_voice", ("speaker", "instruct")),
    "voice_design": ("generate_voice_design", ("instruct",)),
}


class QwenEngine(Engine):
    """One checkpoint on one device. With `loop = "reference"` the package's own loop speaks in place of ours."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        check_settings("qwen", settings, _SETTINGS)
        self._threads = thread_count(settings)
        self._device = _device(settings)
        self._dtype = _one_of(settings, "dtype", _DTYPES if self._device == _CPU else _DTYPES[::-1])
        self._loop = _one_of(settings, "loop", _LOOPS)
        self._checkpoint = checkpoint.read(Path(_text(settings, "model")).expanduser())
        if self._checkpoint.variant not in _METHODS:
            raise PermanentFault(
                f"{self._checkpoint.name} speaks only like a recording, and there is no way to give it one yet"
            )
        package.require()
        self._strayed: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._wrapper: Any = None
        self._decoder: Decoder | None = None
        self._codec: CodecDecoder | None = None

    def capabilities(self) -> Capabilities:
        packages = [f"{package} {version(package)}" for package in ("qwen-tts", "torch", "transformers")]
        how = (self._checkpoint.revision, self._loop, self._dtype, self._device, f"{self._threads} threads")
        return offer.capabilities(
            self._checkpoint,
            device=self._device,
            fingerprint=", ".join((*packages, *how, f"cpu {platform.machine()}")),
            version=version("qwen-tts"),
        )

    def load(self, extend: Extend) -> None:
        extend(_LOADING_MS, f"reading {self._checkpoint.name}")
        import torch

        from voicebox_provider.engines.qwen.codec import CodecDecoder
        from voicebox_provider.engines.qwen.frames import Decoder

        torch.set_num_threads(self._threads)
        _probe(self._device)
        self._wrapper = package.load(self._checkpoint.directory, getattr(torch, self._dtype), self._device)
        codec = self._wrapper.model.speech_tokenizer.model
        # In float32 whatever the rest is in: it is what is heard. The package's own is not needed any more, and is large.
        self._codec = CodecDecoder(codec.decoder.float())
        del codec.decoder
        if self._loop == "own":
            self._decoder = Decoder(self._wrapper.model)
        voice, instruct = self.capabilities().voices[0].id, "calm" if self._checkpoint.needs_instruct else None
        stream = self._codec.stream()
        for codes in self._frames(Utterance(text=_WARM_UP, voice=voice, instruct=instruct), 0, _WARM_UP_FRAMES):
            stream.decode(codes[:, None])

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        offer.check(self._checkpoint, utterance)
        segment = utterance.text, utterance.seed
        attempt = int(segment in self._strayed)
        try:
            yield from self._attempt(utterance, guards.derived_seed(utterance.seed, attempt))
        except guards.Degenerate as fault:
            # The daemon asks for a failed segment once more, and compares what it has of it: it knows when the samples are others.
            self._strayed[segment] = None
            if len(self._strayed) > _REMEMBERED:
                self._strayed.popitem(last=False)
            raise ProviderFailed(str(fault)) from None

    def unload(self) -> None:
        self._wrapper = self._decoder = self._codec = None

    def _attempt(self, utterance: Utterance, seed: int) -> Iterator[Samples]:
        import torch

        assert self._codec is not None
        budget = guards.budget(utterance.text, self._checkpoint.defaults.max_new_tokens)
        watch, stream = guards.Watch(budget), self._codec.stream()
        waiting: list[torch.Tensor] = []
        due = 1
        for codes in self._frames(utterance, seed, budget.most):
            utterance.progress()
            if utterance.cancelled():
                return
            watch.frame(codes.tolist())
            waiting.append(codes)
            if len(waiting) == due:
                yield _watched(watch, stream.decode(torch.stack(waiting, 1)))
                waiting, due = [], min(2 * due, _MOST_AT_ONCE)
        if waiting:
            yield _watched(watch, stream.decode(torch.stack(waiting, 1)))

    def _frames(self, utterance: Utterance, seed: int, most: int) -> Iterator[torch.Tensor]:
        """The codes of each frame, (16,)."""
        from voicebox_provider.engines.qwen import reference
        from voicebox_provider.engines.qwen.frames import capture

        method, asked = self._asked(utterance)
        if self._decoder is None:
            speak = partial(getattr(self._wrapper, method), **asked, max_new_tokens=most + 1)
            return reference.frames(self._wrapper, speak, seed)
        captured = capture(self._wrapper, method, **asked)
        return self._decoder.frames(captured.prompt, captured.sampling, seed, most=most)

    def _asked(self, utterance: Utterance) -> tuple[str, dict[str, Any]]:
        """The package's method, and all that it is called with."""
        method, takes = _METHODS[self._checkpoint.variant]
        language = offer.language_name(self._checkpoint, utterance.language)
        own = {"speaker": utterance.voice, "instruct": utterance.instruct and _harmless(utterance.instruct)}
        options = dict(utterance.options)
        if options.get("temperature") == 0:
            # The package divides by it.
            options = {**options, "temperature": 1.0, "do_sample": False, "subtalker_dosample": False}
        return method, {
            "text": _harmless(utterance.text),
            "language": language,
            **{name: own[name] for name in takes},
            **options,
        }


def _harmless(text: str) -> str:
    """Without the brackets of what the tokenizer would take for its own marks, such as the one that ends a message."""
    return _MARKS.sub(lambda mark: mark.group().strip("<>"), text)


def _watched(watch: guards.Watch, sound: Samples) -> Samples:
    watch.samples(sound)
    return sound


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


def _probe(device: str) -> None:
    """Compute something on it: a card may be there whose kernels this PyTorch has not."""
    import torch

    try:
        torch.ones(8, device=device).add_(1).sum().item()
    except (RuntimeError, AssertionError) as error:
        words = str(error).strip().partition("\n")[0]
        raise PermanentFault(
            f'PyTorch {version("torch")} cannot compute on {device}: {words}; `device = "cpu"` needs no card'
        ) from None


def _one_of(settings: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = settings.get(name, known[0])
    if value not in known:
        raise PermanentFault(f"the setting `{name}` is {value!r}; it takes {' or '.join(known)}")
    return str(value)


_HINTS = {
    "model": "it takes the directory of a Qwen3-TTS checkpoint on this machine",
    "device": "it takes cpu, cuda, cuda:1 for the second card, or auto",
}
