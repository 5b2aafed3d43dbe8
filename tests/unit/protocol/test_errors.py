"""Errors: one tree, the same on the wire, in exceptions, in exit codes and on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from voicebox_protocol import errors

EXIT_CODES = {1, 2, 3, 4, 5, 6, 75, 77, 130}
PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"
ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.VoiceboxError)]


def test_a_code_names_one_exception() -> None:
    assert len({leaf.code for leaf in errors.LEAVES}) == len(errors.LEAVES) == len(errors.BY_CODE)
    assert all(re.fullmatch(r"[A-Z]+(_[A-Z]+)*", leaf.code) for leaf in errors.LEAVES)
    assert all(len(leaf.code) <= 64 for leaf in errors.LEAVES)


def test_every_exception_that_has_no_children_is_on_the_wire() -> None:
    childless = {each for each in ALL if not any(other is not each and issubclass(other, each) for other in ALL)}
    assert childless <= set(errors.LEAVES)


@pytest.mark.parametrize("leaf", errors.LEAVES, ids=lambda leaf: leaf.code)
def test_a_leaf_says_when_it_happens_and_ends_in_an_exit_code_of_ours(leaf: type[errors.VoiceboxError]) -> None:
    assert "__doc__" in vars(leaf)
    assert leaf.when().endswith(".")
    assert leaf.when() != errors.VoiceboxError.when()
    assert leaf.exit_code in EXIT_CODES


def test_every_exit_code_can_happen() -> None:
    assert {leaf.exit_code for leaf in errors.LEAVES} == EXIT_CODES


def test_the_tree_at_the_top_of_the_module_is_the_tree() -> None:
    drawn = re.search(r"    VoiceboxError\n(.*?)\n\n", errors.__doc__ or "", re.S)
    assert drawn is not None
    parent, seen = errors.VoiceboxError, set()
    for line in drawn.group(1).splitlines():
        names = [name for name in re.findall(r"\b[A-Z][A-Za-z]+\b", line) if hasattr(errors, name)]
        if code := re.search(r"\s(\d+)\s", line):
            parent = getattr(errors, names[0])
            assert parent.exit_code == int(code.group(1)), line
            assert issubclass(parent, errors.VoiceboxError)
            seen.add(parent)
        else:
            for name in names:
                assert getattr(errors, name).__base__ is parent, name
                seen.add(getattr(errors, name))
    assert seen == set(ALL) - {errors.VoiceboxError}


def test_the_page_has_a_row_for_each_leaf() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(\w+)` \| (\d+) \| (yes|no) \| (.+) \|$", PAGE.read_text(), re.M)
    assert rows == [
        (leaf.code, leaf.__name__, str(leaf.exit_code), "yes" if leaf.retry else "no", leaf.when())
        for leaf in errors.LEAVES
    ]


@pytest.mark.parametrize("leaf", errors.LEAVES, ids=lambda leaf: leaf.code)
def test_an_error_that_came_over_the_wire_is_the_same_exception(leaf: type[errors.VoiceboxError]) -> None:
    error = errors.from_wire(leaf.code, "what happened")
    assert type(error) is leaf
    assert str(error) == "what happened"


def test_a_code_of_a_newer_version_is_still_an_error() -> None:
    error = errors.from_wire("OUT_OF_TUNE", "what happened")
    assert type(error) is errors.VoiceboxError
    assert str(error) == "OUT_OF_TUNE: what happened"
    assert error.exit_code == 1
