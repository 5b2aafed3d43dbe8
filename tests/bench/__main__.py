"""Every part of the bench: python -m tests.bench [--rounds 50] [--only PART] [--write]

Prints what each part found as soon as it has, and then what is promised. Exit code 1 if a promise does not hold. With
--write each part that ran replaces its own section of docs/performance.md, and the others stay. All of them take about
fifty minutes; see the parts for what they measure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.bench import (
    book,
    bystander,
    control_path,
    crowd,
    death_notice,
    endurance,
    first_audio,
    handoff,
    idle,
    page,
    recovery,
    startup,
    stopped,
    zygote,
)
from tests.bench.claims import ROUNDS, Part, tell

PARTS: dict[str, Callable[[int], list[Part]]] = {
    "recovery": recovery.measure,
    "stopped": stopped.measure,
    "bystander": bystander.measure,
    "death_notice": death_notice.measure,
    "idle": idle.measure,
    "handoff": handoff.measure,
    "control_path": control_path.measure,
    "crowd": crowd.measure,
    "first_audio": first_audio.measure,
    "startup": startup.measure,
    "endurance": endurance.measure,
    "book": book.measure,
    "zygote": zygote.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given more than once")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    print(f"{page.machine()}; {page.versions()}; {chosen.rounds} rounds\n", flush=True)
    parts: list[Part] = []
    for name in chosen.only or PARTS:
        found = PARTS[name](chosen.rounds)
        print("\n".join(part.text() for part in found), flush=True)
        if chosen.write:
            page.write(name, found, chosen.rounds, list(PARTS))
        parts += found
    return tell([claim for part in parts for claim in part.claims])


if __name__ == "__main__":
    sys.exit(main())
