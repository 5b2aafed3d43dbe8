"""`python -m voicebox_provider.conformance TARGET`: one line a check; exit code 0 if the provider keeps the protocol, else 1."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from voicebox_provider.conformance import suite
from voicebox_provider.conformance.bench import Bench
from voicebox_provider.conformance.budget import Budget
from voicebox_provider.conformance.target import Target, resolve
from voicebox_provider.conformance.verdicts import Verdict

LIMIT_S = 170.0
EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(arguments: list[str]) -> int:
    """Try one provider; gives the exit code."""
    chosen = _parser().parse_args(arguments)
    budget = Budget(LIMIT_S)
    verdicts: list[Verdict] = []
    try:
        for verdict in _trial(resolve(chosen.target), budget, chosen.only or ()):
            verdicts.append(verdict)
            if not chosen.json:
                _show(verdict, len(verdicts))
    except ValueError as error:
        sys.stderr.write(f"voicebox: {error}\n")
        return EXIT_USAGE
    passed = not budget.over and all(verdict.result != "broken" for verdict in verdicts)
    _conclude(chosen, verdicts, passed, budget)
    return 0 if passed else EXIT_BROKEN


def _trial(target: Target, budget: Budget, only: Sequence[str]) -> Iterator[Verdict]:
    # Below the system's temporary directory: a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="vb-") as directory:
        bench = Bench(target, Path(directory), budget)
        try:
            yield from suite.run(bench, only)
        finally:
            bench.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voicebox provider test", description=__doc__)
    parser.add_argument("target", help="an installed provider's id, FILE.py[:Class], module[:Class] or a program")
    parser.add_argument("--only", action="append", choices=list(suite.CHECKS), help="run this check, and what it needs")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    return parser


def _show(verdict: Verdict, number: int) -> None:
    paragraph = f"{verdict.paragraph} — " if verdict.paragraph else ""
    _progress("")
    sys.stdout.write(f"{verdict.result:<8} {verdict.check:<12} {_printable(paragraph + verdict.seen)}\n")
    sys.stdout.flush()
    _progress(f"[{number} of {len(suite.FIRST) + len(suite.CHECKS)}]")


def _progress(words: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()


def _conclude(chosen: argparse.Namespace, verdicts: list[Verdict], passed: bool, budget: Budget) -> None:
    broken = sum(verdict.result == "broken" for verdict in verdicts)
    if chosen.json:
        checks = [dataclasses.asdict(verdict) for verdict in verdicts]
        whole = {"target": chosen.target, "passed": passed, "seconds": round(budget.spent, 1), "checks": checks}
        sys.stdout.write(json.dumps(whole) + "\n")
        return
    _progress("")
    late = f"; not finished within {LIMIT_S:g} s" if budget.over else ""
    words = "keeps the protocol" if passed else f"does not keep the protocol: {broken} broken"
    sys.stdout.write(f"{_printable(chosen.target)} {words}{late} ({len(verdicts)} checks, {budget.spent:.1f} s)\n")


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def run() -> int:
    """The program: `main`, ended quietly by Ctrl-C and when nobody reads what it prints."""
    try:
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Let the interpreter's last flush of standard output find somebody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(run())
