"""A home with nothing in it, as a stranger has it, and the command line there."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import wave
from collections.abc import Iterator

from tests.integration.daemon import Place

TEXT = "The harbour was quiet that morning."
WITHIN_S = 1800.0


@contextlib.contextmanager
def nowhere() -> Iterator[Place]:
    """A place with pip's configuration and nothing else: no uv on PATH, and no variables."""
    place = Place(VOICEBOX_AUDIO_SINK="null")
    home = place.root / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = re.findall(r"^(?:global|:env:)\.([a-z-]+)='(.*)'$", listed.stdout, re.M)
    lines = [f"{name} = {value}".replace("\\n", "\n  ") for name, value in dict(settings).items()]
    (home / ".config" / "pip" / "pip.conf").write_text("\n".join(["[global]", *lines]) + "\n")
    # The uv that a test environment may have beside its Python is not a stranger's.
    place.environment |= {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    try:
        yield place
    finally:
        place.remove()


def ran(place: Place, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    before = dict(place.environment)
    place.environment |= variables
    try:
        return place.voicebox(*arguments, timeout=WITHIN_S)
    finally:
        place.environment = before


def spoken(place: Place, *arguments: str) -> int:
    """Frames of a wav that the command wrote."""
    sound = place.root / "said.wav"
    sound.unlink(missing_ok=True)
    done = ran(place, "say", TEXT, "--seed", "7", *arguments, "-o", str(sound))
    assert done.returncode == 0, done.stderr
    with wave.open(str(sound)) as found:
        return found.getnframes()
