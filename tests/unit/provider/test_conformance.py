"""The conformance suite's own rules: what it holds against an answer, what it tries, and where its paragraphs stand."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicebox_protocol.capabilities import Voice
from voicebox_protocol.schema import Beat, Chunk, Message, Resumed, SegmentDone, SegmentFailed, Synthesize
from voicebox_provider.conformance import sentences, verdicts
from voicebox_provider.conformance.budget import Budget
from voicebox_provider.conformance.spoken import Spoken, breaches
from voicebox_provider.conformance.target import resolve
from voicebox_provider.testing import FakeClock

RATE = 1000
PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"
WHOSE: dict[str, Any] = {"epoch": 1, "req": "r", "attempt": 1, "segment": 0}


def paragraphs() -> list[str]:
    return [value for name, value in vars(verdicts).items() if name.isupper() and isinstance(value, str)]


@pytest.mark.parametrize("paragraph", paragraphs())
def test_each_paragraph_that_can_be_broken_stands_on_the_page(paragraph: str) -> None:
    heading, number = re.fullmatch(r"(.*?)(?: (\d+)\.)?", paragraph).groups()
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.M | re.S)
    assert found
    assert number is None or re.search(rf"^{number}\. ", found.group(1), re.M)


def piece(frames: int, level: float = 0.1) -> bytes:
    return np.full(frames, level, "<f4").tobytes()


def chunk(*pieces: bytes, seq: int = 0, **changed: Any) -> tuple[Message, bytes]:
    """A Chunk as it should be, but for what is changed."""
    offsets = np.cumsum([0, *map(len, pieces)])
    exact = [(0, int(at), len(each) // 4, zlib.crc32(each)) for at, each in zip(offsets, pieces, strict=False)]
    return Chunk(**{**WHOSE, "seq": seq, "descriptors": exact, **changed}), b"".join(pieces)


def done(frames: int) -> tuple[Message, bytes]:
    return SegmentDone(**WHOSE, frames=frames), b""


def resumed(frames: int) -> tuple[Message, bytes]:
    return Resumed(**WHOSE, frames=frames, crc32=0), b""


BEAT = (Beat(epoch=1, steps=1), b"")
FAILED = (SegmentFailed(**WHOSE, code="UNSPEAKABLE", message="no"), b"")


def answer(*heard: tuple[Message, bytes], from_frame: int | None = None) -> Spoken:
    asked = Synthesize(boot="b", **WHOSE, seed=1, sample_rate=RATE, from_frame=from_frame)
    return Spoken(asked, 0.0, [(float(at), *each) for at, each in enumerate(heard, 1)])


@pytest.mark.parametrize(
    "spoken",
    [
        answer(done(0)),
        answer(FAILED),
        answer(chunk(piece(100), piece(500)), BEAT, chunk(piece(3), seq=2, marks=[{"frame": 600}]), done(603)),
        answer(resumed(10), chunk(piece(7)), done(17), from_frame=10),
        answer(chunk(piece(100)), FAILED),
    ],
)
def test_an_answer_that_keeps_every_rule(spoken: Spoken) -> None:
    assert list(breaches(spoken)) == []


@pytest.mark.parametrize(
    ("spoken", "check", "paragraph"),
    [
        (answer(BEAT, FAILED, done(0)), "answers", verdicts.ANSWERS),
        (answer(resumed(0), done(0)), "answers", verdicts.REPEATS),
        (answer(chunk(piece(5)), resumed(5), done(10), from_frame=5), "answers", verdicts.REPEATS),
        (answer(chunk(piece(5), seq=1), done(5)), "answers", verdicts.ANSWERS),
        (answer(chunk(piece(5), piece(5)), chunk(piece(5), seq=1), done(15)), "answers", verdicts.ANSWERS),
        (answer(chunk(piece(102)), done(102)), "pieces", verdicts.ANSWERS),
        (answer(chunk(piece(100), piece(502)), done(602)), "pieces", verdicts.ANSWERS),
        (answer(chunk(piece(5), descriptors=[(0, 0, 0, 0)]), done(0)), "pieces", verdicts.ANSWERS),
        (answer(chunk(piece(5), descriptors=[(0, 4, 5, 0)]), done(4)), "pieces", verdicts.CHUNKS),
        (answer(chunk(piece(5), descriptors=[(1, 0, 5, 0)]), done(5)), "pieces", verdicts.CHUNKS),
        (answer(chunk(piece(5), descriptors=[(0, 0, 5, 1)]), done(5)), "crc", verdicts.CHUNKS),
        (answer(chunk(piece(5, 1.01)), done(5)), "samples", verdicts.CHUNKS),
        (answer(chunk(piece(5, float("nan"))), done(5)), "samples", verdicts.CHUNKS),
        (answer(chunk(piece(5)), done(6)), "frames", verdicts.ANSWERS),
        (answer(resumed(3), chunk(piece(5)), done(5), from_frame=3), "frames", verdicts.ANSWERS),
        (answer(chunk(piece(5), marks=[{"frame": 5}]), done(5)), "marks", verdicts.ANSWERS),
        (answer(chunk(piece(5), marks=[{"frame": 2}, {"frame": 1}]), done(5)), "marks", verdicts.ANSWERS),
    ],
)
def test_an_answer_that_breaks_a_rule(spoken: Spoken, check: str, paragraph: str) -> None:
    assert (check, paragraph) in [(breach.check, breach.paragraph) for breach in breaches(spoken)]


def test_what_an_answer_tells_of_itself() -> None:
    spoken = answer(BEAT, chunk(piece(100)), done(100))
    assert (spoken.seconds, spoken.duration, spoken.longest_silence) == (3.0, 0.1, 1.0)
    assert spoken.done
    assert spoken.audible
    assert not answer(chunk(piece(100, 0.0)), done(100)).audible


def test_the_budget_shares_what_is_left() -> None:
    clock = FakeClock(100.0)
    budget = Budget(10.0, clock)
    assert (budget.share(4.0), budget.share(40.0)) == (4.0, 10.0)
    clock.advance(9.0)
    assert (budget.spent, budget.share(4.0), budget.over) == (9.0, 1.0, False)
    clock.sleep(5.0)
    assert (budget.share(4.0), budget.over) == (0.0, True)


def test_a_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        FakeClock().advance(-1.0)


@pytest.mark.parametrize(
    ("scripts", "first", "foreign"),
    [
        (["Latn"], sentences.LATIN.first, sentences.PHRASES["Geor"].first),
        ([], sentences.LATIN.first, sentences.PHRASES["Geor"].first),
        (["Hani", "Hira", "Kana"], sentences.PHRASES["Jpan"].first, sentences.PHRASES["Geor"].first),
        (["Zzzz", "Hang"], sentences.PHRASES["Kore"].first, sentences.PHRASES["Geor"].first),
        (["Geor"], sentences.PHRASES["Geor"].first, sentences.PHRASES["Armn"].first),
        (["Ethi"], sentences.NUMBERS.first, sentences.PHRASES["Geor"].first),
    ],
)
def test_a_voice_is_asked_to_read_what_it_lists(scripts: list[str], first: str, foreign: str) -> None:
    voice = Voice(id="v", scripts=scripts)
    assert sentences.phrases_for(voice).first == first
    assert sentences.foreign_to(voice) == foreign
    assert len(sentences.long_word(voice, 77)) == 77
    assert sentences.long_word(voice, 77).isalnum()
    assert 0 < len(sentences.long_text(voice, 200)) <= 200


# --- what is tried


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICEBOX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("VOICEBOX_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bundle(home: Path, provider: str, text: str) -> Path:
    directory = home / "data" / "providers" / provider
    directory.mkdir(parents=True)
    (directory / "provider.toml").write_text(text)
    return directory


def test_a_file_is_tried_by_its_full_path(home: Path) -> None:
    (home / "mine.py").touch()
    assert resolve("./mine.py").engine == str(home / "mine.py")
    assert resolve("mine.py:Mine").engine == f"{home / 'mine.py'}:Mine"
    with pytest.raises(ValueError, match=r"no file \./other\.py"):
        resolve("./other.py")


def test_a_program_is_tried_as_it_is(home: Path) -> None:
    program = home / "speaks"
    program.touch()
    with pytest.raises(ValueError, match="neither"):
        resolve("./speaks")
    program.chmod(0o755)
    assert resolve("./speaks").command == [str(program)]
    with pytest.raises(ValueError, match="no file"):
        resolve("./nobody")


def test_an_installed_one_is_tried_as_the_daemon_would_start_it(home: Path) -> None:
    mine = bundle(home, "mine", 'engine = "mine.py:Mine"\nsettings = { a = 1, b = 1 }')
    bundle(home, "other", 'command = ["/bin/other", "-x"]')
    (home / "config.toml").write_text('[provider.conf]\nengine = "a.b:C"\n[provider.mine]\nsettings = { b = 2 }\n')
    found = resolve("mine")
    assert (found.engine, found.settings) == (f"{mine / 'mine.py'}:Mine", {"a": 1, "b": 2})
    assert resolve("other").command == ["/bin/other", "-x"]
    assert resolve("conf").engine == "a.b:C"
    assert resolve("builtin").engine == "builtin"
    assert resolve("a.b:C").engine == "a.b:C"
