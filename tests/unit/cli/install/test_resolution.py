"""What will be fetched, read off a lock as uv writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicebox_cli.install import build, disk, resolution
from voicebox_cli.install.resolution import Package, Plan

LOCK = """\
lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "anywhere"
version = "1.0"
wheels = [{ url = "https://index/anywhere-1.0-py3-none-any.whl", size = 1200, hashes = { sha256 = "00" } }]

[[packages]]
name = "here"
version = "2.0"
wheels = [
  { url = "https://index/here-2.0-cp27-cp27m-beos_r5_x86.whl", size = 7, hashes = { sha256 = "00" } },
  { url = "FILE", hashes = { sha256 = "00" } },
]

[[packages]]
name = "source"
version = "3.0"
sdist = { url = "https://index/source-3.0.tar.gz", size = 50, hashes = { sha256 = "00" } }
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    wheel = tmp_path / "here-2.0+cpu-py3-none-any.whl"
    wheel.write_bytes(bytes(300))
    lock = tmp_path / "pylock.all.toml"
    lock.write_text(LOCK.replace("FILE", wheel.as_uri()))
    return resolution.read(lock)


def test_each_package_counts_with_the_wheel_that_fits_this_machine(plan: Plan) -> None:
    assert [(each.name, each.version, each.size) for each in plan.packages] == [
        ("anywhere", "1.0", 1200),
        ("here", "2.0", None),
        ("source", "3.0", 50),
    ]
    assert (plan.download, plan.unknown) == (1250, 1)


def test_what_the_list_does_not_say_is_looked_up(plan: Plan) -> None:
    whole = resolution.with_sizes(plan)
    assert (whole.download, whole.unknown) == (1550, 0)
    assert build.described(whole)[:2] == ["3 packages, 2 kB to fetch", "  anywhere 1.0: 1 kB"]


def test_a_size_that_nobody_knows_is_told_as_such(tmp_path: Path) -> None:
    lost = Plan((Package("lost", "1", (tmp_path / "gone.whl").as_uri(), None), Package("odd", "1", "ssh://x/y", None)))
    assert build.described(resolution.with_sizes(lost)) == [
        "2 packages, 0 kB to fetch, and 2 whose size the index does not tell"
    ]


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([("torch", "2.13.0")], False),
        ([("torch", "2.13.0+cpu")], False),
        ([("torch", "2.13.0+cu130")], True),
        ([("torch", "2.13.0"), ("nvidia-cublas", "13.1")], True),
        ([("numpy", "2.4")], False),
    ],
)
def test_a_torch_for_cards_is_known_by_its_version_and_company(packages: list[tuple[str, str]], expected: bool) -> None:
    plan = Plan(tuple(Package(name, version, "https://index/x.whl", 1) for name, version in packages))
    assert plan.for_card is expected


def test_a_disk_that_is_too_small_is_refused_with_the_numbers(tmp_path: Path) -> None:
    assert disk.check(tmp_path / "not" / "there", 1, "it") > 1
    with pytest.raises(disk.NoRoom, match=r"it takes about 1000000.0 GB, and .* has .* left"):
        disk.check(tmp_path / "not" / "there", 10**15, "it")


def test_sizes_read_as_disks_are_sold() -> None:
    assert [disk.size(each) for each in (0, 1_500, 2_500_000, 1_600_000_000)] == ["0 kB", "2 kB", "2 MB", "1.6 GB"]
