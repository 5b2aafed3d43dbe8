"""How much memory is left: the machine's word, and that of each control group around us."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voicebox_provider.host_memory import Room, room

MEMINFO = (
    "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       0\n"
)
MACHINE = Room(8_192_000_000, 16_384_000_000)


def told(tmp_path: Path, cgroup: str = "0::/a/b\n", **files: str) -> Room | None:
    """`files` by their path below the groups, with `__` for a slash."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(MEMINFO)
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = groups / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return room(proc, groups)


def test_without_groups_it_is_what_the_machine_can_spare(tmp_path: Path) -> None:
    assert told(tmp_path) == MACHINE


def test_the_tightest_group_around_us_counts(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        a__memoryDOTmax="4000000000\n",
        a__memoryDOTcurrent="1500000000\n",
        a__memoryDOTstat="anon 1\ninactive_file 500000000\nactive_file 7\n",
        a__b__memoryDOTmax="max\n",
        a__b__memoryDOTcurrent="1000\n",
    )
    assert found == Room(3_000_000_000, 4_000_000_000)


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    found = told(tmp_path, a__b__memoryDOTmax="10", a__b__memoryDOTcurrent="20")
    assert found == Room(0, 10)


def test_in_a_container_the_limit_lies_at_the_root(tmp_path: Path) -> None:
    found = told(tmp_path, "0::/not/from/in/here\n", memoryDOTmax="5000", memoryDOTcurrent="1000")
    assert found == Room(4000, 5000)


def test_groups_of_the_first_version(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        "9:name=systemd:/x\n7:cpu,memory:/x/y\nnonsense\n\n",
        memory__x__memoryDOTlimit_in_bytes="6000",
        memory__x__memoryDOTusage_in_bytes="2500",
        memory__x__memoryDOTstat="total_inactive_file 500\ninactive_file 3\n",
        memory__memoryDOTlimit_in_bytes="9223372036854771712",
        memory__memoryDOTusage_in_bytes="2500",
    )
    assert found == Room(4000, 6000)


def test_where_nobody_tells_nothing_is_known(tmp_path: Path) -> None:
    assert room(tmp_path, tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")
def test_this_machine_tells() -> None:
    found = room()
    assert found is not None
    assert 0 < found.free <= found.total
