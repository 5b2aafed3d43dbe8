"""Which accelerators are found: by a fake `nvidia-smi` on PATH, and in trees as the kernel shows them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from voicebox_cli.checkup import cards
from voicebox_cli.checkup.facts import Card, Cards

PATIENCE_S = 60.0
MIB = 1024 * 1024
H200 = Card("nvidia", "NVIDIA H200", 143771 * MIB, 4 * MIB, "570.86.15")
VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Tue Jan  1 00:00:00 UTC 2025\nGCC version: 12\n"

Search = Callable[..., Cards]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Look for cards with a program of these lines for `nvidia-smi` (None: there is none), and these trees."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(cards, "_NAMES", (tmp_path / "pci.ids",))
    (tmp_path / "pci.ids").write_text(
        "# comment\n1002  Advanced Micro Devices\n\t744c  Navi 31 [Radeon RX 7900 XT]\n\t\t1002 0e3b  Its board\n"
        "10de  NVIDIA Corporation\n\t1b06  GP102\n\t744c  Another\n8086  Intel Corporation\n"
    )

    def look(script: str | None = None, *, driver: bool = False, timeout: float = PATIENCE_S) -> Cards:
        if script is not None:
            program = programs / "nvidia-smi"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        elif cards.shutil.which("nvidia-smi"):
            pytest.skip("there is a real one")
        if driver:
            (tmp_path / "driver" / "gpus").mkdir(parents=True, exist_ok=True)
            (tmp_path / "driver" / "version").write_text(VERSION)
        return cards.Search(tmp_path / "driver", tmp_path / "pci").result(timeout)

    return look


@pytest.fixture
def bus(tmp_path: Path) -> Callable[..., None]:
    """Put a card on the bus."""

    def put(slot: str, vendor: str, device: str, kind: str = "0x030000", **more: str) -> None:
        place = tmp_path / "pci" / slot
        place.mkdir(parents=True)
        for name, text in {"vendor": vendor, "device": device, "class": kind, **more}.items():
            (place / name).write_text(text + "\n")

    return put


def test_without_any_there_is_none(search: Search) -> None:
    assert search() == Cards()


def test_what_nvidia_smi_lists_is_there(search: Search) -> None:
    found = search('echo "NVIDIA H200, 143771, 4, 570.86.15"\necho "NVIDIA GB10, [N/A], [Not Supported], 580.1"')
    assert found == Cards((H200, Card("nvidia", "NVIDIA GB10", None, None, "580.1")), driver=True)


def test_it_is_asked_for_a_table_of_numbers(search: Search) -> None:
    assert search(
        'echo "$1 $2" | grep -q "^--query-gpu=.* --format=csv,noheader,nounits$" && echo "X, 1, 1, 1.0"'
    ).found


def test_one_that_hangs_is_left_in_time_and_ended(search: Search, tmp_path: Path) -> None:
    began = time.monotonic()
    found = search(f"sleep 600 & echo $! > {tmp_path}/pid\nsleep 600", driver=True, timeout=0.5)
    assert time.monotonic() - began < PATIENCE_S
    assert "gave no answer within 0.5 s" in (found.trouble or "")
    pid = tmp_path / "pid"
    if pid.exists():
        assert gone(int(pid.read_text()))


def gone(pid: int) -> bool:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]:
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo garbage; echo more", "an answer that is not understood: garbage more"),
        ("printf '\\377\\376\\000, 1, 2'", "an answer that is not understood"),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "failed with code 18: Failed to initialize NVML: Driver/library version mismatch",
        ),
        ("exit 9", "failed with code 9: it gave no reason"),
        ("kill -9 $$", "failed with code -9"),
    ],
)
def test_one_that_lies_or_fails_is_quoted_where_there_is_a_driver(search: Search, script: str, words: str) -> None:
    found = search(script, driver=True)
    assert found.found == ()
    assert found.driver
    assert words in (found.trouble or "")
    assert len(found.trouble or "") < 300


def test_one_that_fails_where_nothing_is_nvidias_troubles_nobody(search: Search) -> None:
    assert search("exit 9") == Cards()


def test_one_that_cannot_be_started_is_told(search: Search, tmp_path: Path) -> None:
    (tmp_path / "bin" / "nvidia-smi").write_bytes(b"\x7fELF but not really")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    (tmp_path / "driver").mkdir()
    found = cards.Search(tmp_path / "driver", tmp_path / "pci").result(PATIENCE_S)
    assert "cannot be started" in (found.trouble or "")


def test_a_driver_without_a_card_is_no_trouble(search: Search) -> None:
    assert search("echo 'No devices were found'; exit 6", driver=True) == Cards(driver=True)


def test_without_the_program_the_driver_tells(search: Search, tmp_path: Path) -> None:
    place = tmp_path / "driver" / "gpus" / "0000:01:00.0"
    place.mkdir(parents=True)
    (place / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\n")
    assert search(driver=True) == Cards((Card("nvidia", "NVIDIA H200", driver="570.86.15"),), driver=True)


def test_a_card_whose_driver_is_not_loaded_is_named_from_the_bus(search: Search, bus: Callable[..., None]) -> None:
    bus("0000:01:00.0", "0x10de", "0x1b06")
    bus("0000:01:00.1", "0x10de", "0x10ef", "0x040300")  # its sound
    (card,) = search().found
    assert (card.vendor, card.name) == ("nvidia", "GP102")
    assert "install the NVIDIA driver" in (card.trouble or "")


def test_a_card_is_listed_once(search: Search, bus: Callable[..., None]) -> None:
    bus("0000:01:00.0", "0x10de", "0x1b06", "0x030200")
    assert search('echo "NVIDIA H200, 143771, 4, 570.86.15"').found == (H200,)


def test_other_makers_cards_are_named(search: Search, bus: Callable[..., None]) -> None:
    bus("0000:00:02.0", "0x8086", "0x56a0")
    memory = {"mem_info_vram_total": "24000000000", "mem_info_vram_used": "1000000000"}
    bus("0000:03:00.0", "0x1002", "0x744c", **memory)
    bus("0000:04:00.0", "0x1234", "0x1111")  # a virtual machine's screen
    assert search() == Cards(
        (
            Card("intel", "card 8086:56a0"),
            Card("amd", "Navi 31 [Radeon RX 7900 XT]", 24_000_000_000, 1_000_000_000),
        )
    )
