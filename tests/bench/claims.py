"""What the parts of the bench have in common: how figures are summed up and told, and what is promised of them."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

ROUNDS = 50

Row = tuple[str, ...]


class Claim(NamedTuple):
    """A promise: `value` is at most `bound`, or with `at_least` no less than it. `unit` is ms, s, /s, MiB, × for a ratio, or 1/
    for one that is told as a fraction."""

    what: str
    value: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def row(self) -> Row:
        """As a row under `claims_head`."""
        return self.what, told(self.bound, self.unit), told(self.value, self.unit), "yes" if self.holds else "**no**"


def claims_head(*, at_least: bool) -> Row:
    """Promises of the two kinds stand in tables of their own, so that no limit can be read the wrong way round."""
    return "", "at least" if at_least else "at most", "measured", "holds"


@dataclass(frozen=True)
class Part:
    """What one part of the bench found: a table with a word on how it came about, what is promised of it, and what follows."""

    title: str
    how: str
    head: Row
    rows: Sequence[Row]
    claims: Sequence[Claim] = ()
    follows: str = ""

    def text(self) -> str:
        """In Markdown, without what is promised."""
        follows = f"\n{self.follows}\n" if self.follows else ""
        return f"## {self.title}\n\n{self.how}\n\n{table(self.head, self.rows)}{follows}"


def alone(measure: Callable[[int], list[Part]], about: str | None, rounds: int = ROUNDS) -> int:
    """Run one part by itself and print what it found; gives the exit code."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parts = measure(parser.parse_args().rounds)
    print("\n".join(part.text() for part in parts))
    return tell([claim for part in parts for claim in part.claims])


def tell(claims: Sequence[Claim]) -> int:
    """Print the claims; gives the exit code, 1 if one does not hold."""
    if claims:
        print(told_claims(claims))
    return int(not all(claim.holds for claim in claims))


def told_claims(claims: Sequence[Claim]) -> str:
    """As tables in Markdown, one for each kind that there is."""
    kinds = {at_least: [claim for claim in claims if claim.at_least is at_least] for at_least in (False, True)}
    return "\n".join(
        table(claims_head(at_least=at_least), [claim.row() for claim in kind])
        for at_least, kind in kinds.items()
        if kind
    )


def table(head: Row, rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; of few values nearly the greatest."""
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def middle_and_late(values: Sequence[float], unit: str = "ms") -> Row:
    """Median and 99th percentile, in words."""
    return told(statistics.median(values), unit), told(p99(values), unit)


def paired(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what slows the machine down for a while is in both halves of a round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def in_turns(things: Sequence[str], turn: int) -> Sequence[str]:
    """The order of a round: reversed in every other one."""
    return things if turn % 2 else things[::-1]


def told(value: float, unit: str) -> str:
    """A figure in words."""
    if unit == "1/":
        return f"1/{1 / value:.0f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{'' if unit in ('×', '/s') else ' '}{unit}"
