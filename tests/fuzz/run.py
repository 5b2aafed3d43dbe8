"""Fuzzes the decoders, guided by coverage: python -m tests.fuzz.run --seconds 60 [--target NAME] [--keep]

The seconds are shared out among the targets. Each starts from its seeds and from what was found before (tests/fuzz/corpus).
An input that breaks a decoder is printed and kept as a file, and the exit code is 1. --keep adds what this run found to
the corpus: inputs that reach something which those before them did not.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SLOWEST_S = 10
MEMORY_MB = 2048
OURS = ["voicebox_protocol", "voicebox_client", "voicebox_provider", "voiceboxd", "jsonschema", "json"]
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**32, 2**63, 2**64 - 1, -(2**63), 0.0, -0.5, 1e308, float("nan"), float("inf"),
    "", "a", "ü😀", "x" * 65, b"\x00", [], {}, [[]], {"": None}, {"$ref": "#"}, [0, 0, 1, 0],
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="in all")
    parser.add_argument("--target", action="append", help="one target; may be given more than once")
    parser.add_argument("--seed", type=int, default=0, help="of its chances; 0: another one each time")
    parser.add_argument("--keep", action="store_true", help="add what is found to the corpus")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked, rest = parser.parse_known_args()
    if asked.one:
        return fuzz(asked.one, rest)
    from tests.fuzz.targets import TARGETS

    wanted = asked.target or list(TARGETS)
    if unknown := set(wanted) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there is {', '.join(TARGETS)}")
    each = max(1, asked.seconds // len(wanted))
    return max(run(name, each, asked.seed, keep=asked.keep) for name in wanted)


def run(name: str, seconds: int, chance: int, *, keep: bool) -> int:
    """One target in a process of its own, from its seeds and its corpus; gives the exit code."""
    from tests.fuzz.targets import CORPUS, TARGETS

    target = TARGETS[name]
    kept = CORPUS / name
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        found, seeds, broken = (Path(root) / part for part in ("found", "seeds", "broken"))
        for directory in (found, seeds, broken):
            directory.mkdir()
        for seed in target.seeds():
            (seeds / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
        sources = [str(directory) for directory in (kept, seeds) if directory.exists()]
        limits = [f"-max_len={target.longest}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MEMORY_MB}"]
        print(f"--- {name}", flush=True)
        ended = _run(
            name, f"-max_total_time={seconds}", f"-seed={chance}", *limits, f"-artifact_prefix={broken}/", str(found), *sources,
            within=seconds + 120,
        )  # fmt: skip
        if ended.returncode:
            print(ended.stdout[-6000:])
            places = [
                shutil.move(file, Path(tempfile.gettempdir()) / f"{name}-{file.name}") for file in broken.iterdir()
            ]
            print(f"{name} is broken by: {', '.join(map(str, places))}")
            return 1
        print("\n".join([line for line in ended.stdout.splitlines() if "cov:" in line or line.startswith("Done")][-2:]))
        if keep:
            # Of each input that reached something new the fuzzer keeps the shortest that still does.
            shutil.copytree(found, kept, dirs_exist_ok=True)
    return 0


def _run(name: str, *arguments: str, within: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--one", name, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=within, check=False,
    )  # fmt: skip


def fuzz(name: str, arguments: list[str]) -> int:
    """Hand this process over to the fuzzer."""
    import atheris

    with atheris.instrument_imports(include=OURS):
        import jsonschema.validators  # noqa: F401 (imported late by the code that is tested)
        import referencing  # noqa: F401

        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    seeds = tuple(target.seeds())
    change = {"custom_mutator": functools.partial(changed, seeds)} if target.structured else {}
    atheris.Setup([sys.argv[0], *arguments], target.check, **change)
    atheris.Fuzz()
    return 0


def changed(seeds: tuple[bytes, ...], data: bytes, longest: int, seed: int) -> bytes:
    """A changed input: half of the time some bytes, half of the time some values of what the bytes say. Often it starts
    again from a seed, because what is not Python (msgspec, msgpack) is not seen by the fuzzer, which then forgets them."""
    import atheris
    import msgpack

    chance = random.Random(seed)
    if chance.random() < 0.5:
        data = chance.choice(seeds)
    if chance.random() < 0.5:
        return atheris.Mutate(data, longest)
    try:
        value = msgpack.unpackb(data, strict_map_key=False)
        for _ in range(chance.randrange(1, 4)):
            value = _other(value, value, chance)
        packed = msgpack.packb(value)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return atheris.Mutate(data, longest)
    return packed if len(packed) <= longest else atheris.Mutate(data, longest)


def _other(value: Any, whole: Any, chance: random.Random) -> Any:
    """The value with one place in it changed: to something odd, or to what stands elsewhere in the whole."""
    if not isinstance(value, list | dict) or not value or chance.random() < 0.2:
        return chance.choice(ODD) if chance.random() < 0.6 else _any_part(whole, chance)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        middle = [] if chance.random() < 0.1 else [_other(value[at], whole, chance)] * (1 + (chance.random() < 0.1))
        return [*value[:at], *middle, *value[at + 1 :]]
    key = chance.choice(list(value))
    if chance.random() < 0.1:
        return {name: own for name, own in value.items() if name != key}
    if chance.random() < 0.1:
        return {**value, chance.choice(("", "x", 1, b"n", "kind", "query")): _any_part(whole, chance)}
    return {**value, key: _other(value[key], whole, chance)}


def _any_part(whole: Any, chance: random.Random) -> Any:
    part = whole
    while isinstance(part, list | dict) and part and chance.random() < 0.7:
        part = chance.choice(list(part.values()) if isinstance(part, dict) else part)
    return part


if __name__ == "__main__":
    sys.exit(main())
