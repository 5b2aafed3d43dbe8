"""How to get a voice for a language that none here speaks."""

from __future__ import annotations

import pytest

from voiceboxd.offers import hint


@pytest.mark.parametrize(
    ("language", "installed", "engine"),
    [
        ("ja", ["builtin"], "kokoro"),
        ("ja-JP", ["builtin", "kokoro"], "espeak"),
        ("de_AT", ["builtin"], "espeak"),
        ("de", ["builtin", "espeak"], None),
        ("xx", [], None),
    ],
)
def test_the_engine_that_has_it_and_the_command_that_installs_it_are_named(
    language: str, installed: list[str], engine: str | None
) -> None:
    told = hint(language, installed)
    assert (f"pip install 'voiceboxd[{engine}]'" in told) if engine else told == ""
