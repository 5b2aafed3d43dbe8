"""What the fuzzer has found so far, and its seeds: no decoder may do what it must not, with any of it."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_takes_its_corpus(name: str) -> None:
    target = TARGETS[name]
    kept = sorted((CORPUS / name).iterdir())
    assert kept
    for data in [*target.seeds(), *(file.read_bytes() for file in kept)]:
        target.check(data)


def test_the_corpus_is_small_and_of_targets_that_there_are() -> None:
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert {file.parent.name for file in files} <= set(TARGETS)
