"""What a daemon loads: nothing that belongs to clients or engines, and nothing that only its log's looks would need."""

from __future__ import annotations

import re
import signal
import sys

import pytest

from tests.integration.daemon import Place, eventually

# A module that was looked for in vain is noted too, its parts are not. hashlib brings OpenSSL in, and is for who speaks; tomllib
# for who has a configuration, difflib for who made a mistake.
FOREIGN = {
    "click",
    "difflib",
    "hashlib",
    "numpy",
    "onnxruntime",
    "pygments",
    "rich.console",
    "soundfile",
    "structlog",
    "tomllib",
    "voicebox_cli",
    "voicebox_client",
    "voicebox_provider",
}


@pytest.mark.parametrize("mode", ["--foreground", "--autostart"])
def test_a_daemon_loads_no_rich_and_nothing_of_others(mode: str) -> None:
    """A library for logs loaded rich where it found it, which tripled what it cost."""
    place = Place()
    noted = place.root / "imports"
    try:
        with noted.open("wb") as errors:
            process = place.popen(sys.executable, "-X", "importtime", "-m", "voiceboxd", mode, stderr=errors)
        eventually(lambda: place.answers() or process.poll() is not None, "the daemon answers")
        assert place.voicebox("status").returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(15.0) == 0
        loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", noted.read_text(), re.M))
    finally:
        place.remove()
        process.wait()
    assert {"voiceboxd.logs", "voiceboxd.app"} <= loaded
    assert sorted(FOREIGN & loaded) == []
