"""docs/rivals.md: what was measured beside speech-dispatcher, what it does better, and what was not compared."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.bench import page
from tests.bench.claims import Part

PATH = Path(__file__).resolve().parents[2] / "docs" / "rivals.md"

_OPENING = """# Beside speech-dispatcher, measured

speech-dispatcher is the speech service that Linux desktops have had for more than twenty years: Orca and other screen readers speak
through it. It is the nearest relative of voiceboxd, as a daemon between programs and engines, each engine in a process of its own.
Here both get the same sentences, the same engine (espeak-ng) and the same faults, in one run, in turns, whose order is reversed in
every other round. A ratio is the median of the rounds' own ratios; the 99th percentile of few rounds is nearly the slowest.

Both play at the same loudspeaker: a null sink of a PulseAudio of its own, which plays in real time for nobody. What is *heard* was
recorded at its monitor. Theirs plays from its daemon, to which the engine's process hands its sound; ours from its player, a process
of the daemon's. The sound server and the recorder add a few milliseconds to both. speech-dispatcher runs
privately with its packaged configuration, but for espeak-ng as its default module, and finds these engines: {modules}. It may turn
to another of them when one has died. Ours runs with no configuration at all; requests name the provider `espeak`, so no other
engine of ours helps out, and ask to be gone on with by the next daemon (`resume=True`), which is not the default. The two have
different builds of espeak-ng.

`tox -e rivals` measures this on your machine, if speech-dispatcher, its module for espeak-ng and PulseAudio are installed;
`tox -e rivals -- --write` writes this page.

> {measured}
"""

_LOUDSPEAKER = """## The loudspeaker by itself

Ours alone, at a null sink of the same kind, by `tox exec -e rivals -- python -m tests.bench.loudspeaker`, in twenty minutes. It writes this
section with `--write`.
"""
_BEGIN, _END = "<!-- loudspeaker -->\n", "<!-- end loudspeaker -->\n"
_SECTION = re.compile(f"{_BEGIN}(.*?){_END}", re.DOTALL)

_CLOSING = """## What speech-dispatcher does better

- **It is small.** A C program with its engine takes a fraction of the memory of two Pythons; see the table.
- **It is quicker to ask.** Its answers take a fraction of the time, and the command `spd-say` is heard long before a Python has started.
  A client that is connected has the least to gain; all of it stands in the tables.
- **It is made for screen readers**, and proven with them: Orca, BrlTTY, Emacs (speechd-el) and Chromevox work with it. It speaks single
  characters and keys (`CHAR`, `KEY`), spells, has modes for punctuation and capital letters, and plays sound icons. It replaces
  symbols and emojis by words in dozens of languages before an engine sees them.
- **Its five priorities have been tried for twenty years**: which message cancels, postpones or replaces which. Ours are the same, and new.
- **More engines and more ways out**: Festival, Flite, Pico, IBM TTS, Mary and any command line through its generic module;
  PulseAudio, ALSA, OSS, NAS and libao. There are interfaces for C, Python, Java, Lisps, Guile, Go and Rust.
- **It falls back to another engine** by itself when one has died, though not at once: see which request is heard again.
- **Index marks** tell a client where in its own SSML the speech has come to.
- **It is there already.** Debian and others package it, and every program that speaks through it has the voices of all its engines.

## What was not compared

- Its newest release where that is newer than the package above, and engines of its that play by themselves.
- Priorities, interruption and many clients at once; the sound itself, whose quality is espeak-ng's in both.
- Real sound cards, PipeWire, ALSA; macOS and Windows, where speech-dispatcher does not run.
- Neural voices, which it reaches through its generic module, and large engines.
- A service manager that restarts either daemon, or sends SIGUSR1 by itself.
"""


def write(parts: Sequence[Part], measured: str, modules: Sequence[str]) -> None:
    """Put what was found into the page, all of it anew but for what `write_loudspeaker` has put there."""
    found = _SECTION.search(PATH.read_text(encoding="utf-8")) if PATH.exists() else None
    PATH.write_text(text(parts, measured, modules, found[1] if found else ""), encoding="utf-8")


def write_loudspeaker(section: str) -> None:
    """Put what was found of the loudspeaker by itself into the page, in place of what was found before. Raises `ValueError` where
    there is no page yet."""
    before = PATH.read_text(encoding="utf-8")
    if not _SECTION.search(before):
        raise ValueError(f"{PATH} has no place for it; write it first with: python -m tests.bench.beside --write")
    PATH.write_text(_SECTION.sub(lambda _: _between(f"{_LOUDSPEAKER}\n{section}"), before), encoding="utf-8")


def text(parts: Sequence[Part], measured: str, modules: Sequence[str], loudspeaker: str = "") -> str:
    """The page; `measured` says when, where, how often and with what."""
    opening = _OPENING.format(measured=measured, modules=", ".join(modules))
    return "\n".join([opening, *(page.with_claims(part) for part in parts), _between(loudspeaker), _CLOSING])


def _between(loudspeaker: str) -> str:
    return f"{_BEGIN}{loudspeaker}{_END}"


def measured(rounds: int, faults: int, theirs: str) -> str:
    """When, where, how often and with what; `theirs` names the versions of the programs that were compared with."""
    often = f"{_today()}, {rounds} rounds, {faults} of the faults"
    return f"{often}. {page.machine()}. {theirs}; {page.versions()}, espeakng-loader {version('espeakng-loader')}."


def measured_alone(theirs: str) -> str:
    """The same of the loudspeaker by itself; `theirs` is the sound server's version."""
    return f"{_today()}. {page.machine()}. {theirs}; {page.versions()}."


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()
