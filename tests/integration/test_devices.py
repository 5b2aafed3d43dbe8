"""What providers say of the device they run on, and what becomes of one whose device has no room for it."""

from __future__ import annotations

import json

from tests.integration.daemon import eventually, running
from tests.integration.wire_client import WireClient

CARD = """
[provider.card]
engine = "voicebox_provider.testing:FakeEngine"
settings = { device = "cuda:1", vram = [500_000_000, 700_000_000, 900_000_000], vram_growth = 100_000_000 }
recycle_growth_mb = 150
"""
FULL = """
[provider.full]
engine = "voicebox_provider.testing:FakeEngine"
quarantine_s = 1
settings = { fail_load = true, fault_retry_s = 3600 }
"""


def test_status_tells_device_share_use_and_total() -> None:
    with running(CARD) as daemon, WireClient(daemon.place) as client:
        assert client.speak("Hello.", provider="card").end["kind"] == "Done"
        (card,) = (each for each in daemon.status()["providers"] if each["id"] == "card")
        told = {name: card[name] for name in ("device", "vram_bytes", "vram_used_bytes", "vram_total_bytes")}
        assert told == {
            "device": "cuda:1",
            "vram_bytes": 600_000_000,
            "vram_used_bytes": 800_000_000,
            "vram_total_bytes": 900_000_000,
        }
        assert [worker["vram_bytes"] for worker in card["workers"]] == [600_000_000]
        assert "cuda:1: 600 MB its own, 800 of 900 MB in use" in daemon.place.voicebox("status").stdout


def test_one_whose_share_of_the_device_grows_makes_room_for_a_fresh_one() -> None:
    with running(CARD) as daemon, WireClient(daemon.place) as client:
        for index in range(3):
            assert client.speak("Hello.", provider="card", req=f"r{index}").end["kind"] == "Done"
        eventually(lambda: "accelerator memory grew" in json.dumps(daemon.log()), "it is recycled")


def test_one_that_cannot_now_is_started_once_a_request_and_no_more() -> None:
    """Five tries in a row would load PyTorch five times, and find the memory as full as before."""
    with running(FULL) as daemon, WireClient(daemon.place) as client:
        for epoch in (1, 2):
            failed = client.speak("Hello.", provider="full", req=f"r{epoch}").end
            assert (failed["kind"], failed["code"]) == ("Failed", "PROVIDER_FAILED")
            assert "as the setting says" in failed["message"]
            (full,) = (each for each in daemon.status()["providers"] if each["id"] == "full")
            assert full["epoch"] == epoch
            assert full["restarts"] == 0
            eventually(lambda: state(daemon) == "stopped", "its rest is over")
        refused = daemon.place.voicebox("provider", "start", "full")
        assert refused.returncode == 5
        assert "as the setting says" in refused.stderr


def state(daemon) -> str:  # type: ignore[no-untyped-def]
    (found,) = (each["state"] for each in daemon.status()["providers"] if each["id"] == "full")
    return str(found)
