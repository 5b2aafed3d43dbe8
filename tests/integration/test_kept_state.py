"""What an engine keeps with its sound spares its successor the thinking: a slow engine killed in mid-sentence goes on exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemon import running
from tests.integration.test_broken_providers import fake, speak

# Twice as slow as it sounds: two seconds of it take four to say again, and a listener waits for 1.5.
SLOW = "[[slow:200]]"
SENTENCE = "A long sentence of it."


@pytest.mark.parametrize(("keeps", "resumed"), [("true", "exact"), ("false", "next")])
def test_a_slow_engine_that_keeps_its_thoughts_is_continued_exactly(tmp_path: Path, keeps: str, resumed: str) -> None:
    settings = f'ms_per_char = 100, keeps = {keeps}, fault_once = "{tmp_path}/flag"'
    with running(fake(settings, extra='standby = "none"')) as daemon:
        text = f"{SLOW}{SENTENCE}[[crash:20]]"
        (tmp_path / "flag").touch()
        whole = speak(daemon, text, seed=7)
        (tmp_path / "flag").unlink()
        broken = speak(daemon, text, seed=7)
    assert (broken.end["kind"], broken.end.get("resumed")) == ("Done", resumed)
    assert (broken.samples == whole.samples) == (resumed == "exact")
    assert whole.samples.startswith(broken.samples)
    assert len(broken.end["attempts"]) == (2 if resumed == "exact" else 1)
