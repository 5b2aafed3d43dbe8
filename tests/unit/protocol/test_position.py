"""The page on which a killed player has left its position."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from voicebox_protocol.position import Position, PositionPage

IDS = st.text(min_size=1, max_size=64)
FRAMES = st.integers(0, 2**64 - 1)


def test_a_fresh_page_has_no_position_and_is_the_user_s_alone(tmp_path: Path) -> None:
    page = PositionPage(str(tmp_path / "page"))
    assert page.read() is None
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o600
    page.close()


def test_what_was_written_last_is_read_through_another_mapping_and_after_the_writer(tmp_path: Path) -> None:
    page, reader = PositionPage(str(tmp_path / "page")), PositionPage(str(tmp_path / "page"))
    for frames in range(5):
        page.write(Position("request", frames, 2 * frames))
        assert reader.read() == Position("request", frames, 2 * frames)
    page.close()
    assert reader.read() == Position("request", 4, 8)
    reader.close()
    again = PositionPage(str(tmp_path / "page"))
    assert again.read() == Position("request", 4, 8)
    again.close()


@given(st.lists(st.builds(Position, IDS, FRAMES, FRAMES), min_size=1, max_size=4))
def test_any_position_comes_back(written: list[Position]) -> None:
    path = f"/tmp/voicebox-page-{os.getpid()}"
    page = PositionPage(path)
    try:
        for position in written:
            page.write(position)
            assert page.read() == position
    finally:
        page.close()
        Path(path).unlink()


def test_a_write_that_is_cut_short_leaves_the_position_before_it(tmp_path: Path) -> None:
    """A player killed between the two halves of a write: the number that says which slot counts comes last."""
    path = tmp_path / "page"
    page = PositionPage(str(path))
    page.write(Position("one", 1, 1))
    before = path.read_bytes()
    page.write(Position("two", 2, 2))
    after = path.read_bytes()
    page.close()
    path.write_bytes(before[:8] + after[8:])
    cut = PositionPage(str(path))
    assert cut.read() == Position("one", 1, 1)
    cut.close()
