"""What the parts of the bench have in common: how series of figures are summed up, and what is promised of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Row = tuple[str, ...]


class Claim(NamedTuple):
    """A promise: `value` is at most `most`. `unit` is ms, s, /s, × for a ratio, or 1/ for one that is told as a fraction."""

    what: str
    value: float
    most: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.most

    def row(self) -> Row:
        """As a row of `CLAIMS_HEAD`."""
        return self.what, _told(self.most, self.unit), _told(self.value, self.unit), "yes" if self.holds else "**no**"


CLAIMS_HEAD: Row = ("", "at most", "measured", "holds")


def _told(value: float, unit: str) -> str:
    if unit == "1/":
        return f"1/{1 / value:.0f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{unit}" if unit in ("×", "/s") else f"{value:.{digits}f} {unit}"


@dataclass(frozen=True)
class Part:
    """What one part of the bench found: a table with a word on how it came about, and what is promised of it."""

    title: str
    how: str
    head: Row
    rows: Sequence[Row]
    claims: Sequence[Claim] = field(default=())

    def text(self) -> str:
        """As a section of docs/performance.md."""
        return f"## {self.title}\n\n{self.how}\n\n{table(self.head, self.rows)}"


def table(head: Row, rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def told_claims(claims: Sequence[Claim]) -> str:
    """Claims as a table."""
    return table(CLAIMS_HEAD, [claim.row() for claim in claims])


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; of few values nearly the greatest."""
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def milliseconds(values: Sequence[float]) -> tuple[str, str]:
    """Median and 99th percentile."""
    return f"{statistics.median(values):.1f} ms", f"{p99(values):.1f} ms"


def paired(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of the rounds' own ratios: whatever slows the machine for a while is in both halves of a round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def in_turns(things: Sequence[str], turn: int) -> Sequence[str]:
    """The order of a round: reversed in every other one."""
    return things if turn % 2 else things[::-1]
