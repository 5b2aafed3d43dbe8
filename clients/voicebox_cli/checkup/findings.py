"""From facts to findings: what is well, what could be better and what is broken, each with what to do. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from voicebox_cli.checkup.facts import Card, Facts, Place, Provider
from voicebox_cli.status_text import TROUBLED
from voicebox_cli.tables import duration
from voicebox_protocol.endpoints import DESCRIPTORS_LEAST

Level = Literal["ok", "hint", "broken"]
OK: Final = "ok"
HINT: Final = "hint"
BROKEN: Final = "broken"

_FULL = 50_000_000
_NEARLY_FULL = 1_000_000_000
_CROWD = 2048
# Where a provider runs, by whose card that is; and who would run on it.
_RUNS_ON = {"nvidia": ("cuda",), "apple": ("mps", "metal", "mlx", "gpu")}
_MADE_FOR = {"nvidia": "pytorch-cuda", "apple": "mlx"}
_MAKERS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "apple": "Apple"}


class Finding(NamedTuple):
    """One line: `area` is what it is about, `do` what to do about it, if anything."""

    level: Level
    area: str
    what: str
    do: str | None = None


def findings(facts: Facts) -> list[Finding]:
    """Everything worth telling, in an order in which it can be read and mended."""
    return [
        Finding(OK, "version", f"voicebox {facts.version}, Python {facts.python}, {facts.platform}"),
        Finding(OK, "machine", f"{facts.cores} cores, {_of(*facts.memory)} of memory free"),
        *_places(facts.places),
        *_socket(facts),
        *_descriptors(facts.descriptors),
        *_daemon(facts),
        *_providers(facts),
        *_cards(facts),
        *_sound(facts),
    ]


def is_well(found: list[Finding]) -> bool:
    """Whether nothing is broken."""
    return all(each.level != BROKEN for each in found)


def _places(places: tuple[Place, ...]) -> Iterator[Finding]:
    for place in places:
        what = f"{place.name}: {place.path}"
        if place.problem:
            yield Finding(BROKEN, "places", what, place.problem)
        elif place.free is None:
            yield Finding(OK, "places", what)
        elif place.free < _NEARLY_FULL:
            full = place.free < _FULL
            told = f"{what} ({_size(place.free)} free)"
            why = (
                "nothing can be written any more; make room"
                if full
                else "too little for an engine and its model; make room"
            )
            yield Finding(BROKEN if full else HINT, "places", told, why)
        else:
            yield Finding(OK, "places", f"{what} ({_size(place.free)} free)")


def _socket(facts: Facts) -> Iterator[Finding]:
    length = len(os.fsencode(facts.socket))
    if length > facts.socket_limit:
        do = "set VOICEBOX_RUNTIME_DIR to a shorter directory of yours"
        told = f"the path {facts.socket} has {length} bytes, and the system allows {facts.socket_limit}"
        yield Finding(BROKEN, "socket", told, do)


def _descriptors(most: int | None) -> Iterator[Finding]:
    if most is None:
        return
    if most < DESCRIPTORS_LEAST:
        told = f"only {most} open files are allowed, and {DESCRIPTORS_LEAST} are needed"
        yield Finding(BROKEN, "limits", told, f"raise it: ulimit -n {_CROWD}, also where a service manager sets it")
    elif most < _CROWD:
        told = f"{most} open files are allowed: room for {(most - 128) // 2} clients"
        yield Finding(HINT, "limits", told, f"if more are to speak at once: ulimit -n {_CROWD}")
    else:
        yield Finding(OK, "limits", f"{most} open files are allowed")


def _daemon(facts: Facts) -> Iterator[Finding]:
    daemon, pid = facts.daemon, f" (pid {facts.daemon.pid})" if facts.daemon.pid else ""
    match daemon.state:
        case "absent":
            yield Finding(OK, "daemon", "none runs; the next `voicebox say` starts one")
        case "stale":
            yield Finding(OK, "daemon", "none runs; one that died left its socket behind, which the next one replaces")
        case "mute":
            do = f"end it (kill -9 {daemon.pid}), and the next `voicebox say` starts another" if pid else None
            more = "`voicebox daemon logs` may say why"
            yield Finding(
                BROKEN,
                "daemon",
                f"one is there{pid} and does not answer: {daemon.said}",
                "; ".join(filter(None, (do, more))),
            )
        case "answers" if daemon.version != facts.version:
            told = f"version {daemon.version} runs{pid}, and {facts.version} is installed"
            yield Finding(HINT, "daemon", told, "voicebox daemon restart")
        case "answers":
            yield Finding(OK, "daemon", f"version {daemon.version} runs{pid}, since {duration(daemon.uptime_s)}")


def _providers(facts: Facts) -> Iterator[Finding]:
    if not facts.providers:
        yield Finding(
            BROKEN, "provider", "there is none, so nobody can speak", "install voiceboxd anew: pip install voiceboxd"
        )
    for one in facts.providers:
        yield _provider(one)


def _provider(one: Provider) -> Finding:
    who = ": ".join(filter(None, (one.id, _engine(one))))
    if one.missing:
        again = (
            f"voicebox provider install {one.id}" if one.id in _installable() else f"voicebox provider show {one.id}"
        )
        return Finding(BROKEN, "provider", f"{who}; {one.missing} is missing", again)
    if one.state in TROUBLED:
        level: Level = HINT if one.state == "backoff" else BROKEN
        do = f"voicebox provider start {one.id} tries it anew; voicebox provider logs {one.id}"
        return Finding(level, "provider", f"{who} is {one.state}: {one.reason}", do)
    return Finding(OK, "provider", f"{who}{f', {one.state}' if one.state else ''}")


def _engine(one: Provider) -> str:
    """What speaks, with which model, and where, as far as that is known and not told by the id."""
    known = (None if one.engine == one.id else one.engine, one.version)
    return " ".join(
        [each for each in (*known, one.model and f"with {one.model}", one.device and f"on {one.device}") if each]
    )


def _installable() -> tuple[str, ...]:
    return ("pytorch-cpu", *_MADE_FOR.values())


def _cards(facts: Facts) -> Iterator[Finding]:
    cards = facts.cards
    if cards.trouble:
        do = "restart the machine, then see what `nvidia-smi` says; until that is mended nothing runs on the card"
        yield Finding(BROKEN if cards.driver else HINT, "device", cards.trouble, do)
    elif cards.driver and not any(card.vendor == "nvidia" for card in cards.found):
        told = "the NVIDIA driver is loaded and shows no card"
        yield Finding(HINT, "device", told, "in a container, let it have the card; else see what `nvidia-smi` says")
    elif not cards.found:
        yield Finding(OK, "device", "no accelerator; engines run on the processor")
    for card in cards.found:
        yield _card(card, facts)
    if not cards.trouble:
        yield from _unused(facts)


def _unused(facts: Facts) -> Iterator[Finding]:
    """Cards that a provider could run on, and none does."""
    for vendor, provider in _MADE_FOR.items():
        idle = [card for card in facts.cards.found if card.vendor == vendor and not card.trouble]
        if idle and not _users(idle[0], facts):
            told = f"no provider uses {', '.join(map(_named, idle))}"
            yield Finding(HINT, "device", told, f"voicebox provider install {provider}")


def _card(card: Card, facts: Facts) -> Finding:
    told = _named(card)
    if card.total is not None:
        memory = f"{_size(card.total)} of memory" if card.used is None else f"{_of(card.used, card.total)} in use"
        told += f": {memory}"
    if card.driver:
        told += f", driver {card.driver}"
    if card.trouble:
        return Finding(HINT, "device", f"{told}; {card.trouble}", "until that is mended nothing runs on it")
    users = _users(card, facts)
    if users and card.vendor in _MADE_FOR:
        told += f"; for {', '.join(map(_use, users))}"
    elif card.vendor not in _MADE_FOR:
        told += "; no engine of ours runs on it, they take the processor"
    return Finding(OK, "device", told)


def _named(card: Card) -> str:
    return card.name if card.name.startswith(_MAKERS[card.vendor]) else f"{_MAKERS[card.vendor]} {card.name}"


def _use(one: Provider) -> str:
    """Who it is, and how much of the card is its share."""
    more = one.state if one.state in TROUBLED else f"{_size(one.vram)} of it" if one.vram else None
    return one.id + (f" ({more})" if more else "")


def _users(card: Card, facts: Facts) -> list[Provider]:
    """Who runs there, or would: one that chooses by itself (`auto`) takes a card where there is one, and one whose settings name no
    device what it is made for."""
    prefixes, made_for = (*_RUNS_ON.get(card.vendor, ()), "auto"), _MADE_FOR.get(card.vendor)
    return [
        one
        for one in facts.providers
        if (one.device or "").partition(":")[0] in prefixes or (one.device is None and one.id == made_for)
    ]


def _sound(facts: Facts) -> Iterator[Finding]:
    if facts.sound.backend:
        yield Finding(OK, "sound", f"a device is there, by {facts.sound.backend}")
    else:
        do = 'files and pipes need none: voicebox say "..." -o speech.wav'
        yield Finding(HINT, "sound", facts.sound.trouble or "no device", do)


def _of(part: int, whole: int) -> str:
    return f"{part / 1e9:.1f} of {_size(whole)}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
