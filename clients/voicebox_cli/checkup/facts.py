"""The facts that `voicebox doctor` judges. Sizes in bytes; None where nothing is known."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Place(NamedTuple):
    """A directory or file of ours, which may not be there yet. `free` is what its disk has left; `problem` says what is wrong."""

    name: str
    path: str
    free: int | None = None
    problem: str | None = None


class Daemon(NamedTuple):
    """`absent`: nobody is there, `stale`: only what a dead one left behind, `mute`: one is there and gives no answer (`said` has why)."""

    state: Literal["absent", "stale", "mute", "answers"]
    said: str | None = None
    pid: int | None = None
    version: str | None = None
    uptime_s: float | None = None


class Provider(NamedTuple):
    """One that is installed. `state` is None unless a daemon told it; `device` is where it runs, or would by its settings.

    `missing` is a file of its own that is not there: the interpreter of its environment, or its model.
    """

    id: str
    state: str | None = None
    reason: str | None = None
    engine: str | None = None
    version: str | None = None
    device: str | None = None
    model: str | None = None
    vram: int | None = None
    missing: str | None = None


class Card(NamedTuple):
    """An accelerator. `driver`: its version; `trouble`: why nothing can use it as it is, in words."""

    vendor: Literal["nvidia", "amd", "intel", "apple"]
    name: str
    total: int | None = None
    used: int | None = None
    driver: str | None = None
    trouble: str | None = None


class Cards(NamedTuple):
    """What was found, and what went wrong with looking. `driver`: that of NVIDIA is loaded, cards or no cards."""

    found: tuple[Card, ...] = ()
    driver: bool = False
    trouble: str | None = None


class Sound(NamedTuple):
    """The system that sound can be played on, or why there is none."""

    backend: str | None = None
    trouble: str | None = None


class Facts(NamedTuple):
    """All of it. `descriptors`: how many open files the system lets a process raise its limit to."""

    version: str
    python: str
    platform: str
    cores: int
    memory: tuple[int, int]
    places: tuple[Place, ...]
    daemon: Daemon
    socket: str
    socket_limit: int
    descriptors: int | None
    sound: Sound
    providers: tuple[Provider, ...]
    cards: Cards
