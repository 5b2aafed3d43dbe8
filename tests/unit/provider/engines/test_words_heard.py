"""How far a listener is, to the word: the engine's marks, through provider, daemon and player."""

from __future__ import annotations

import pytest

from tests.integration.daemon import running
from voicebox_client import Heard, Voicebox

TEXT = "The quick brown fox jumps over the lazy dog."

pytest.importorskip("espeakng_loader", reason="the extra `espeak` is not installed")


def test_what_was_heard_is_told_to_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(VOICEBOX_AUDIO_SINK="null") as daemon:
        for name, value in daemon.place.environment.items():
            monkeypatch.setenv(name, value)
        with Voicebox() as box:
            speech = box.say(TEXT, sink="speaker", follow=True, provider="espeak")
            heard = [event for event in speech.events() if isinstance(event, Heard)]
    ends = {len(" ".join(TEXT.split()[:count])) for count in range(len(TEXT.split()) + 1)}
    assert {each.chars for each in heard} <= ends
    assert len({each.chars for each in heard}) > 3
    assert speech.result is not None
    assert speech.result.heard_chars == len(TEXT)
