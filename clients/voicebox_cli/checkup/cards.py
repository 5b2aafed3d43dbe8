"""The accelerators of this machine: NVIDIA's by `nvidia-smi`, others by what the kernel shows, Apple's by the platform."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from voicebox_cli.checkup.facts import Card, Cards
from voicebox_cli.checkup.program import Asked, Said

_SMI = "nvidia-smi"
_QUERY = ("--query-gpu=name,memory.total,memory.used,driver_version", "--format=csv,noheader,nounits")
_DRIVER = Path("/proc/driver/nvidia")
_PCI = Path("/sys/bus/pci/devices")
_NAMES = (Path("/usr/share/misc/pci.ids"), Path("/usr/share/hwdata/pci.ids"))
_DISPLAY = re.compile(r"0x03[0-9a-f]{4}")
_MIB = 1024 * 1024
_QUOTED = 200

Vendor = Literal["nvidia", "amd", "intel"]
_VENDORS: dict[str, Vendor] = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}


class Search:
    """Owns the `nvidia-smi` that is asked meanwhile. `result` bounds how long that may take."""

    def __init__(self, driver: Path = _DRIVER, pci: Path = _PCI) -> None:
        self._driver, self._pci = driver, pci
        self._asked: Asked | None = None
        self._failed: str | None = None
        if (program := shutil.which(_SMI)) is not None:
            try:
                self._asked = Asked([program, *_QUERY])
            except OSError as error:
                self._failed = f"{program} cannot be started: {error.strerror}"

    def result(self, timeout: float) -> Cards:
        """All cards, and what went wrong with looking, within `timeout` seconds."""
        nvidia, trouble = ([], self._failed) if self._asked is None else told(self._asked.answer(timeout), timeout)
        loaded = bool(nvidia) or self._driver.exists()
        nvidia = nvidia or list(_at_the_driver(self._driver))
        rest = [card for card in _on_the_bus(self._pci, loaded=loaded) if card.vendor != "nvidia" or not nvidia]
        if not loaded and not any(card.vendor == "nvidia" for card in rest):
            # The program lies about on a machine without a card: nobody needs it.
            trouble = None
        return Cards((*nvidia, *rest, *_apple()), loaded, trouble)


def told(said: Said, timeout: float) -> tuple[list[Card], str | None]:
    """The cards that `nvidia-smi` listed, and why it did not, in words."""
    if said.code is None:
        return [], f"{_SMI} gave no answer within {timeout:g} s: the NVIDIA driver hangs"
    words = " ".join((said.out + " " + said.err).split())[:_QUOTED]
    if said.code != 0 and "no devices" in words.lower():
        return [], None
    if said.code != 0:
        return [], f"{_SMI} failed with code {said.code}: {words or 'it gave no reason'}"
    lines = [line for line in said.out.splitlines() if line.strip()]
    cards = [card for line in lines if (card := _card(line)) is not None]
    return cards, None if len(cards) == len(lines) else f"{_SMI} gave an answer that is not understood: {words}"


def _card(line: str) -> Card | None:
    """One line of the query: name, MiB in all, MiB in use, driver. What a card cannot tell is in brackets."""
    parts = [part.strip() for part in line.rsplit(",", 3)]
    if len(parts) != 4 or not parts[0] or not re.fullmatch(r"[\d.]+|\[.*\]", parts[3]):
        return None
    total, used = (int(part) * _MIB if part.isdecimal() else None for part in parts[1:3])
    return Card("nvidia", parts[0], total, used, None if parts[3].startswith("[") else parts[3])


def _at_the_driver(driver: Path) -> Iterator[Card]:
    """What NVIDIA's driver shows by itself, for where its program is not there, or broken."""
    version = re.search(r"Kernel Module\D*([\d.]+)", _word(driver / "version"))
    for file in sorted(driver.glob("gpus/*/information")):
        if found := re.search(r"^Model:\s*(.+)$", _word(file), re.M):
            yield Card("nvidia", found.group(1), driver=version and version.group(1))


def _on_the_bus(pci: Path, *, loaded: bool) -> Iterator[Card]:
    """What the kernel sees, with a driver or without."""
    for device in sorted(pci.glob("*")):
        vendor = _VENDORS.get(_word(device / "vendor"))
        if vendor is None or not _DISPLAY.fullmatch(_word(device / "class")):
            continue
        if vendor != "nvidia":
            sizes = (_word(device / f"mem_info_vram_{what}") for what in ("total", "used"))
            total, used = (int(size) if size.isdecimal() else None for size in sizes)
            yield Card(vendor, _name(device), total, used)
        else:
            why = "its driver does not show it" if loaded else "its driver is not loaded; install the NVIDIA driver"
            yield Card(vendor, _name(device), trouble=why)


def _apple() -> Iterator[Card]:
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return
    try:
        said = Asked(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string", "hw.memsize"]).answer(2.0)
    except OSError:
        said = Said(None, "", "")
    name, size = (*said.out.splitlines(), "", "")[:2]
    yield Card("apple", name or "Apple silicon", int(size) if size.isdecimal() else None)


def _name(device: Path) -> str:
    """As the list of PCI ids has it, where there is one; else its numbers."""
    vendor, number = (_word(device / what).removeprefix("0x") for what in ("vendor", "device"))
    return next(filter(None, (_listed(names, vendor, number) for names in _NAMES)), f"card {vendor}:{number}")


def _listed(names: Path, vendor: str, number: str) -> str | None:
    """A vendor's line begins with its number, and its devices' lines follow, each behind a tab."""
    try:
        text = names.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    block = re.search(rf"^{re.escape(vendor)}  .*\n((?:[\t#].*\n)*)", text, re.M)
    found = block and re.search(rf"^\t{re.escape(number)}  (.*)$", block.group(1), re.M)
    return found.group(1) if found else None


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
