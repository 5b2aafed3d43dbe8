"""A `FakeEngine` that breaks on demand and a `FakeClock` that goes on when told, for tests of providers and daemons.

Start it as `voicebox_provider.testing:FakeEngine`. Settings describe the engine and what shall go wrong with it; markers in
the text say what happens while that text is spoken. Spoken text (markers removed) is a tone of `ms_per_char` for each
character, given in arrays of 100 ms. With `cloning` it listens to recordings, too, and has their pitch from then on; markers in
a recording's text say what happens while it listens.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.errors import BadPrompt, BadReference
from voicebox_provider import faults
from voicebox_provider.engine import DeviceMemory, Engine, Extend, PermanentFault, Reference, TemporaryFault, Utterance

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

ARRAY_MS = 100

_LOOK_S = 0.05
_MARKER = re.compile(r"\[\[(\w+)(?::(\d+))?\]\]")
_BASE_HZ = 110.0
_PROMPT = re.compile(rb"fake prompt, ([\w. -]{1,128}), (\d{1,6}\.\d{3}) Hz")


class Settings(NamedTuple):
    """What the configuration may say; every name is a key of `settings`.

    `hello_ms`, `load_ms`: how long Hello and loading take. `extend_ms`: ask for that much more time first. `fail_load`:
    loading raises; with `fault_permanent` a fault that no restart mends, with `fault_retry_s` one that says when to try again.
    `device`: where it says that it runs; `vram`: bytes of that device's memory that it says to hold itself, all programs hold,
    and there are; `vram_growth`: how many more it holds after each segment. `faults`: what goes wrong and when, as
    "sigkill@loading"; `voicebox_provider.faults` lists them. `fault_once`: path of a flag file; `faults` and the markers
    `crash`, `exit` and `hang` happen only while it does not exist, and make it. `keeps`: arrays that it made once it makes
    again without being `slow`. The rest goes into the capability document.
    """

    hello_ms: int = 0
    load_ms: int = 0
    extend_ms: int = 0
    fail_load: bool = False
    fault_permanent: bool = False
    fault_retry_s: float = 0.0
    device: str = ""
    vram: tuple[int, ...] = ()
    vram_growth: int = 0
    faults: tuple[str, ...] = ()
    fault_once: str = ""
    keeps: bool = False
    ms_per_char: int = 20
    voices: tuple[str, ...] = ("tone",)
    languages: tuple[str, ...] = ("en-US",)
    scripts: tuple[str, ...] = ("Latn",)
    sample_rate: int = 24000
    max_chars: int = 400
    streaming: bool = True
    deterministic: bool = True
    fingerprint: str = "fake"
    concurrency: int = 1
    metered: bool = False
    cloning: bool = False
    models: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple's default, never changed)


class Marker(NamedTuple):
    """One `[[name:argument]]` of a text.

    `crash:K` SIGKILL after K arrays; `exit:N` end with that code; `hang` give nothing ever after; `sleep:MS` once, before
    the first array; `slow:MS` before every array; `fail:K` raise after K arrays; `silent` give nothing; `nan` give a NaN.
    """

    name: str
    argument: int


class FakeEngine(Engine):
    """A deterministic tone, and every fault that an engine can have. `ways`: what each of `faults` does."""

    ways: ClassVar[Mapping[str, faults.Way]] = faults.WAYS

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        unknown = sorted(set(settings) - set(Settings._fields) - {"threads"})
        if unknown:
            raise PermanentFault(f"FakeEngine has no setting {unknown[0]!r}; it has {', '.join(Settings._fields)}")
        self._set = Settings(**{name: settings[name] for name in Settings._fields if name in settings})
        try:
            self._faults = faults.Faults(self._set.faults, self._set.fault_once, self.ways)
        except ValueError as error:
            raise PermanentFault(str(error)) from None
        self._rests_since: float | None = None
        self._segments = 0

    def capabilities(self) -> Capabilities:
        own = self._set
        time.sleep(own.hello_ms / 1000)
        self._faults.strike("hello")
        return Capabilities(
            engine="fake",
            version="1",
            voices=[
                Voice(id=name, languages=list(own.languages), scripts=list(own.scripts), default=index == 0)
                for index, name in enumerate(own.voices)
            ],
            sample_rate=own.sample_rate,
            max_chars=own.max_chars,
            streaming=own.streaming,
            deterministic=own.deterministic,
            fingerprint=own.fingerprint,
            concurrency=own.concurrency,
            speed=(0.5, 2.0),
            metered=own.metered,
            devices=[own.device] if own.device else [],
            cloning=own.cloning,
            languages=list(own.languages) if own.cloning else [],
            scripts=list(own.scripts) if own.cloning else [],
            models=list(own.models),
            options=own.options,
        )

    def load(self, extend: Extend) -> None:
        own = self._set
        if own.extend_ms:
            extend(own.extend_ms, "as the setting says")
        time.sleep(own.load_ms / 1000)
        self._faults.strike("loading")
        if own.fail_load:
            raise self._load_fault()
        self._rests_since = time.monotonic()
        if self._faults.expects("idle"):
            threading.Thread(target=self._watch_rest, name="fake-rest", daemon=True).start()

    def prepare_voice(self, reference: Reference) -> bytes:
        import numpy as np

        markers = {marker.name: marker.argument for marker in markers_of(reference.text or "")}
        ends = time.monotonic() + markers.get("sleep", 0) / 1000
        while time.monotonic() < ends and not reference.cancelled():
            time.sleep(_LOOK_S / 10)
        self._break(markers, sys.maxsize)
        if not reference.samples.any():
            raise BadReference("the recording is silent")
        rises = np.count_nonzero(np.diff(np.signbit(reference.samples))) / 2
        hertz = rises * reference.sample_rate / len(reference.samples)
        return b"fake prompt, %s, %.3f Hz" % (self._model(reference.model).encode(), hertz)

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        self._rests_since = None
        try:
            yield from self._speak(utterance)
        except faults.Dropped:
            return
        finally:
            self._segments += 1
            self._rests_since = time.monotonic()

    def device_memory(self) -> DeviceMemory | None:
        if not self._set.vram:
            return None
        grown = self._segments * self._set.vram_growth
        own, *others = self._set.vram
        used, total = (*others, None, None)[:2]
        return DeviceMemory(own + grown, None if used is None else used + grown, total)

    def unload(self) -> None:
        self._rests_since = None
        self._faults.strike("leaving")

    def _load_fault(self) -> Exception:
        words = "as the setting says"
        if self._set.fault_permanent:
            return PermanentFault(words)
        return TemporaryFault(words, self._set.fault_retry_s) if self._set.fault_retry_s else RuntimeError(words)

    def _speak(self, utterance: Utterance) -> Iterator[Samples]:
        markers = {marker.name: marker.argument for marker in markers_of(utterance.text)}
        time.sleep(markers.get("sleep", 0) / 1000)
        self._faults.strike("first")
        for index, array in enumerate(self._tone(utterance)):
            self._faults.strike("speaking", index)
            self._break(markers, index)
            if index >= len(utterance.kept):
                time.sleep(markers.get("slow", 0) / 1000)
                utterance.keep(b"\1" * self._set.keeps)
            if "silent" not in markers:
                yield array * float("nan") if "nan" in markers else array
        self._break(markers, sys.maxsize)
        self._faults.strike("last")

    def _watch_rest(self) -> None:
        """Nobody calls an engine that rests, so what goes wrong then comes from a thread of its own."""
        while True:
            time.sleep(_LOOK_S)
            since = self._rests_since
            if since is not None and time.monotonic() - since >= faults.REST_S:
                self._faults.strike("idle")

    def _tone(self, utterance: Utterance) -> Iterator[Samples]:
        """As long as the text asks, of a pitch that the seed picks: equal seeds give equal samples."""
        import numpy as np

        rate = self._set.sample_rate
        frames = int(len(plain(utterance.text)) * self._set.ms_per_char * rate / 1000 / utterance.speed)
        salt = 0 if self._set.deterministic else time.monotonic_ns()
        lowest = _BASE_HZ if utterance.prompt is None else self._pitch(utterance.prompt, utterance.model)
        hertz = lowest * 2 ** ((utterance.seed + salt) % 1201 / 400)
        for start in range(0, frames, rate * ARRAY_MS // 1000):
            when = np.arange(start, min(start + rate * ARRAY_MS // 1000, frames)) / rate
            yield (0.3 * np.sin(2 * np.pi * hertz * when)).astype(np.float32)

    def _model(self, asked: str | None) -> str:
        return asked or next(iter(self._set.models), "no model")

    def _pitch(self, prompt: bytes, model: str | None) -> float:
        found = _PROMPT.fullmatch(prompt)
        if found is None:
            raise BadPrompt("these bytes are no voice prompt of this engine; prepare it again from the recording")
        if found[1].decode() != self._model(model):
            raise BadPrompt(f"the voice prompt was made for {found[1].decode()}, and {self._model(model)} speaks here")
        return max(1.0, float(found[2]))

    def _break(self, markers: Mapping[str, int], index: int) -> None:
        """Break before the array `index`, if a marker says so. Past the last array whatever is left breaks."""
        if index >= markers.get("fail", sys.maxsize + 1):
            raise RuntimeError("as the text says")
        if "exit" in markers and self._faults.may_strike():
            faults.WAYS["exit"](markers["exit"])
        if "hang" in markers and self._faults.may_strike():
            faults.WAYS["hang"](0)
        if index >= markers.get("crash", sys.maxsize + 1) and self._faults.may_strike():
            time.sleep(faults.FLUSH_S)
            faults.WAYS["sigkill"](0)


class FakeClock:
    """Seconds that pass only when `advance` or `sleep` is called. Call it where a monotonic clock is asked for."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, at once."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds:g} s")
        self._now += seconds

    sleep = advance


def markers_of(text: str) -> list[Marker]:
    """The markers of a text, in order."""
    return [Marker(name, int(argument or 0)) for name, argument in _MARKER.findall(text)]


def plain(text: str) -> str:
    """The text without its markers."""
    return _MARKER.sub("", text)
