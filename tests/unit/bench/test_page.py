"""The page of figures: a part that was measured anew replaces its own section, and nothing else changes."""

from __future__ import annotations

from tests.bench import page
from tests.bench.__main__ import PARTS
from tests.bench.claims import Claim, Part

ORDER = ("early", "middle", "late")
OF_TODAY = "a day, 50 rounds. A machine. Versions."


def found(title: str, measured: str = OF_TODAY, value: float = 1.0) -> str:
    claims = [Claim(f"{title}: median", value, 2.0, "ms")]
    return page.section([Part(title, "How it came about.", ("", "median"), [("it", "1 ms")], claims)], measured)


def places(text: str, *what: str) -> list[int]:
    return [text.index(each) for each in what]


def test_the_first_part_makes_the_page() -> None:
    text = page.merged("", {"middle": found("In the middle")}, ORDER)
    where = places(text, "# How fast", "<!-- part middle -->", "In the middle", "<!-- end middle -->", "## What is not")
    assert where == sorted(where)
    assert text.count("<!--") == 2


def test_a_part_replaces_its_own_section_and_keeps_the_others() -> None:
    before = page.merged("", {"early": found("Early"), "late": found("Late")}, ORDER)
    after = page.merged(before, {"late": found("Late", "another day.")}, ORDER)
    assert after == before.replace(found("Late"), found("Late", "another day."))
    assert after.count(OF_TODAY) == 1


def test_sections_keep_their_order_whichever_was_measured_first() -> None:
    text = ""
    for name in ("late", "early", "middle"):
        text = page.merged(text, {name: found(name)}, ORDER)
    assert text == page.merged("", {name: found(name) for name in ORDER}, ORDER)
    assert (where := places(text, *(f"<!-- part {name} -->" for name in ORDER))) == sorted(where)


def test_merging_again_changes_nothing() -> None:
    new = {"early": found("Early"), "middle": found("Middle")}
    once = page.merged("", new, ORDER)
    assert page.merged(once, new, ORDER) == once
    assert page.merged(once, {}, ORDER) == once


def test_a_part_that_there_is_no_more_is_dropped() -> None:
    text = page.merged("", {"early": found("Early"), "late": found("Late")}, ORDER)
    assert page.merged(text, {}, ("late",)) == page.merged("", {"late": found("Late")}, ORDER)


def test_what_does_not_hold_is_said_in_its_section() -> None:
    assert "| Slow: median | 2.00 ms | 3.00 ms | **no** |" in found("Slow", value=3.0)
    assert "**no**" not in found("Quick")


def test_a_section_says_when_and_where_it_was_measured_in_its_last_line() -> None:
    assert found("Early").splitlines()[-1] == f"> {OF_TODAY}"


def test_the_page_says_what_the_bench_would_write_around_the_figures() -> None:
    text = page.PATH.read_text(encoding="utf-8")
    assert page.merged(text, {}, list(PARTS)) == text
