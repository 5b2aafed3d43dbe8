"""What the loudspeaker remembers, and where its sound goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicebox_protocol.errors import InvalidConfig
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.audio_sink import SINK, sink_of


def test_what_was_set_is_there_in_the_next_life(tmp_path: Path) -> None:
    place = tmp_path / "state" / "audio.json"
    AudioSettings(place).change(0.25, True, "Kitchen")
    kept = AudioSettings(place)
    assert (kept.volume, kept.muted, kept.device) == (0.25, True, "Kitchen")
    kept.change(None, False, "")
    again = AudioSettings(place)
    assert (again.volume, again.muted, again.device) == (0.25, False, None)


@pytest.mark.parametrize("said", ["", "{", "[]", '{"volume": 7}', '{"volume": "loud"}', "\xff"])
def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path, said: str) -> None:
    place = tmp_path / "audio.json"
    place.write_bytes(said.encode("latin-1"))
    settings = AudioSettings(place)
    assert (settings.volume, settings.muted, settings.device) == (1.0, False, None)


def test_a_place_that_cannot_be_written_changes_it_for_this_life(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = AudioSettings(tmp_path / "file" / "audio.json")
    settings.change(0.5, None, None)
    assert settings.volume == 0.5


def test_where_sound_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sink_of({}) == sink_of({SINK: ""}) == "device"
    assert sink_of({SINK: "null"}) == "null"
    monkeypatch.chdir(tmp_path)
    assert sink_of({SINK: "wav:heard.wav"}) == f"wav:{tmp_path}/heard.wav"


@pytest.mark.parametrize("said", ["wav:", "mp3:x", "/tmp/x.wav", "wav:/nowhere/at/all/x.wav"])
def test_a_sink_that_is_none_says_what_there_is(said: str) -> None:
    with pytest.raises(InvalidConfig, match=r"wav:PATH or null|no directory"):
        sink_of({SINK: said})
