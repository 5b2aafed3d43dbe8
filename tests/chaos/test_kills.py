"""Kill after kill: nothing is lost but what the poison rule says; and what never gets on is left alone, and another speaks."""

from __future__ import annotations

import pytest

from tests.chaos import kills
from tests.chaos.cell import CALM, provider_of
from tests.integration.daemon import running
from tests.integration.wire_client import WireClient

pytestmark = pytest.mark.timeout(300)

CHAIN = """
[provider.builtin]
enabled = false
[provider.calm]
engine = "voicebox_provider.testing:FakeEngine"
standby = "none"
[provider.doomed]
engine = "voicebox_provider.testing:FakeEngine"
restart_base_s = 0.05
settings = { faults = ["sigkill@first"] }
[order]
default = ["doomed", "calm"]
"""


@pytest.mark.parametrize("standby", ["none", "warm"])
def test_nothing_is_lost_but_what_the_poison_rule_says(standby: str) -> None:
    report = kills.run(10, standby, seed=0)
    assert report.kills == 10
    assert not report.record.wrong
    assert report.record.ends["Done"] + report.record.ends["Done exact"] > 0
    # Nobody has five failures in a row here by accident.
    assert report.provider["state"] in ("ready", "stopped")


def test_what_never_gets_on_is_quarantined_and_the_next_of_the_chain_speaks() -> None:
    """Each of its requests breaks twice at the same place, and is handed on; after five such deaths nobody asks it any more."""
    with running(CHAIN) as daemon, WireClient(daemon.place) as client:
        endings = [client.speak(f"This is request number {number}.") for number in range(4)]
        assert [ending.end["kind"] for ending in endings] == ["Done"] * 4
        assert {ending.end["provider"] for ending in endings} == {CALM}
        assert len({len(ending.samples) for ending in endings}) == 1
        doomed = provider_of(daemon, "doomed")
        assert (doomed["state"], doomed["failures"]) == ("quarantined", 5)
        assert [run["provider"] for run in endings[0].end["attempts"]] == ["doomed", "doomed", CALM]
        assert endings[-1].end["first_audio_ms"] < endings[0].end["first_audio_ms"], "it is not even tried"
