"""The loudspeaker in words: lines that hold nothing a terminal would obey, whatever a sound system calls its devices."""

from __future__ import annotations

from typing import Any

import click

from voicebox_cli.tables import printable, show_json

DEFAULT = "the system's default"


def show_volume(audio: dict[str, Any], *, as_json: bool) -> None:
    """Print how loud it is."""
    if as_json:
        show_json(audio)
    else:
        click.echo(volume_words(audio))


def volume_words(audio: dict[str, Any]) -> str:
    """How loud it is, and whether anything is heard at all."""
    states = [name for name in ("muted", "paused") if audio.get(name)]
    return ", ".join([f"volume {round(100 * audio['volume'])} %", *states])


def audio_line(audio: dict[str, Any]) -> str:
    """All of it that fits a line."""
    speaking = "speaking" if audio.get("speaking") else "silent"
    told = [volume_words(audio), speaking, f"{len(audio.get('waiting') or ())} waiting"]
    if audio.get("trouble"):
        # What to do about it is told by `voicebox audio`.
        told.append(printable(str(audio["trouble"]).partition(". ")[0]))
    return f"loudspeaker: {', '.join(told)}"


def audio_lines(audio: dict[str, Any]) -> list[str]:
    """All of it."""
    told = {
        "device": audio.get("device") or DEFAULT,
        "volume": f"{round(100 * audio['volume'])} %{', muted' if audio.get('muted') else ''}",
        "paused": "yes" if audio.get("paused") else "no",
        "speaking": audio.get("speaking") or "nothing",
        "waiting": len(audio.get("waiting") or ()),
        "underruns": audio.get("underruns") or 0,
        "sink": audio.get("sink"),
    }
    if audio.get("trouble"):
        told["trouble"] = audio["trouble"]
    return [f"{name + ':':<11}{printable(value)}" for name, value in told.items()]
