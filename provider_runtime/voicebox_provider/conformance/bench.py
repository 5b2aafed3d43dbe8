"""The bench that a provider is tried on: its running life, its capability document, and what was heard of it so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voicebox_protocol import wire
from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.schema import Fault, Hello, Loading, Message, Ready
from voicebox_provider.conformance import recording, sentences
from voicebox_provider.conformance.budget import Budget
from voicebox_provider.conformance.life import Life
from voicebox_provider.conformance.spoken import Spoken, breaches
from voicebox_provider.conformance.target import Target
from voicebox_provider.conformance.verdicts import ANSWERS, CLONES, READY, Breach, Broken

HELLO_S = 15.0
LOAD_S = 120.0

_LONGEST_TEXT = 2000


class Bench:
    """Owns the lives of the provider. `able` is known once it has said Hello."""

    def __init__(self, target: Target, directory: Path, budget: Budget) -> None:
        self.budget = budget
        self.able = Capabilities(engine="unknown", version="")
        self.breaches: list[Breach] = []
        self.spoken: list[Spoken] = []
        self._target = target
        self._directory = directory
        self._epochs = 0
        self._life: Life | None = None
        self._reference: Spoken | None = None
        self._prompt: bytes | None = None

    # --- lives

    def begin(self) -> Life:
        """Start a process, and nothing more; it becomes the one that is tried."""
        self.close()
        self._life = self._new()
        return self._life

    @property
    def begun(self) -> Life:
        """The life on trial as it stands, whether or not it is loaded."""
        return self._life or self.begin()

    @property
    def life(self) -> Life:
        """The life on trial, loaded; begun anew if the last one died."""
        if self._life is None or not self._life.alive:
            self.load(self.begin())
        assert self._life is not None
        return self._with_voice(self._life)

    @contextmanager
    def another(self) -> Iterator[Life]:
        """A second process of the same provider, loaded."""
        with self._new() as life:
            self.load(life)
            yield self._with_voice(life)

    def close(self) -> None:
        """End the life on trial."""
        if self._life is not None:
            self._life.close()
            self._life = None

    def _new(self) -> Life:
        self._epochs += 1
        return Life(self._target, self._directory, self.budget, self._epochs)

    def load(self, life: Life) -> None:
        """From its start to Ready."""
        life.welcome(life.expect(Hello, HELLO_S, READY))
        self.await_ready(life)

    def await_ready(self, life: Life) -> float:
        """From Welcome to Ready; gives the longest time in seconds in which it said nothing. Raises `Broken`."""
        heard = self.budget.now()
        until, longest = heard + LOAD_S, 0.0
        while True:
            message, _ = life.hear(until - heard, READY)
            now = self.budget.now()
            longest, heard = max(longest, now - heard), now
            if isinstance(message, Ready):
                return longest
            until = now + message.extend_ms / 1000 if isinstance(message, Loading) else until
            _refuse(message)

    # --- speaking

    @property
    def voice(self) -> Voice | None:
        """The voice that speaks when none is named: that of a recording, for who has no other."""
        return self.able.default_voice() or self.able.cloned_voice()

    def _with_voice(self, life: Life) -> Life:
        """A life that can speak: who has no voice of its own gets that of a recording."""
        if self.able.cloning and not self.able.voices and life.prompt is None:
            if self._prompt is None:
                self._prompt = self.listen_to_recording(life)
            life.prompt = self._prompt
        return life

    def listen_to_recording(self, life: Life) -> bytes:
        """The voice prompt of a recording of ours. Raises `Broken`."""
        end = life.prepare(recording.recording(), recording.RATE)
        if not isinstance(end, tuple):
            said = f"{getattr(end, 'code', '')} ({getattr(end, 'message', '')})"
            raise Broken(
                CLONES, f"a recording of {recording.SECONDS} s gave {type(end).__name__} {said} instead of Prepared"
            )
        _, prompt = end
        if not 0 < len(prompt) <= wire.MAX_PROMPT:
            raise Broken(CLONES, f"Prepared brought {len(prompt)} bytes; a voice prompt has 1 to {wire.MAX_PROMPT}")
        return prompt

    @property
    def first(self) -> str:
        return self._fit(sentences.phrases_for(self.voice).first)

    @property
    def second(self) -> str:
        return self._fit(sentences.phrases_for(self.voice).second)

    @property
    def brief(self) -> str:
        """A few words, for what is said often."""
        return self.brief_for(self.voice)

    def brief_for(self, voice: Voice | None) -> str:
        """A few words in a script of that voice."""
        return _first_words(self._fit(sentences.phrases_for(voice).first), 3, 6)

    @property
    def word(self) -> str:
        """A word, or the beginning of one where words are not set apart: for what is said very often."""
        return _first_words(self.first, 1, 2)

    @property
    def reference(self) -> Spoken:
        """`first` as it is spoken without any wish, asked for once."""
        if self._reference is None:
            self._reference = self.speak(self.first)
        return self._reference

    @property
    def long_text(self) -> str:
        """About as much as one segment may hold."""
        return sentences.long_text(self.voice, self.most_chars)

    @property
    def most_chars(self) -> int:
        return min(self.able.max_chars, _LONGEST_TEXT)

    def _fit(self, text: str) -> str:
        return text[: self.able.max_chars]

    def ask(self, text: str, life: Life | None = None, **wishes: Any) -> Spoken:
        """Have something said, well or not; what it breaks is noted."""
        life = life or self.life
        wishes.setdefault("sample_rate", self.able.sample_rate)
        return self.take(life.answer(life.ask(text, **wishes)))

    def speak(self, text: str, life: Life | None = None, *, paragraph: str = ANSWERS, **wishes: Any) -> Spoken:
        """Have something said that can be said. Raises `Broken` unless it is heard."""
        spoken = self.ask(text, life, **wishes)
        if not spoken.done or not spoken.audible:
            told = {name: value for name, value in wishes.items() if name != "prompt" and value is not None}
            asked = ", ".join(f"{name} {value}" for name, value in told.items())
            raise Broken(paragraph, f"“{text[:40]}”" + (f" ({asked})" if asked else "") + f" gave {spoken.words()}")
        return spoken

    def listen(self) -> None:
        """See to it that something was said."""
        if not self.spoken:
            self.ask(self.long_text)

    def take(self, spoken: Spoken) -> Spoken:
        """Note an answer, and what it breaks."""
        self.spoken.append(spoken)
        self.breaches.extend(breaches(spoken))
        return spoken


def _first_words(text: str, words: int, letters: int) -> str:
    """So many words of it; so many letters where words are not set apart."""
    apart = text.split()
    return " ".join(apart[:words]) if len(apart) > 1 else text[:letters]


def _refuse(message: Message) -> None:
    if isinstance(message, Fault):
        raise Broken(READY, f"it cannot be used: {message.message}")
