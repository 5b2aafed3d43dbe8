"""Models by name: where they lie, and how they are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.provider.engines.test_qwen_checkpoint import config, made
from voicebox_cli.install import adding, store
from voicebox_cli.install.store import Model
from voicebox_protocol import places
from voicebox_protocol.errors import BadRequest, Refused


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(places.DATA_DIR, str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "chosen", "expected"),
    [
        ("Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice", None, "Qwen3-TTS-12Hz-0.6B-CustomVoice"),
        ("Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice", "small", "small"),
        ("./some/where", None, "where"),
        ("/some/where/", None, "where"),
    ],
)
def test_a_model_is_known_by_its_last_part(target: str, chosen: str | None, expected: str) -> None:
    assert store.name_of(target, chosen) == expected


def test_the_directory_that_one_stands_in_has_a_name_too(data: Path) -> None:
    (data / "Custom").mkdir()
    assert store.name_of("Custom/../Custom/.", None) == "Custom"


@pytest.mark.parametrize("chosen", ["", "a b", "../up", ".hidden", "x" * 129, "one.toml", "é"])
def test_a_name_that_is_none_asks_for_another(chosen: str) -> None:
    with pytest.raises(BadRequest, match="--name"):
        store.name_of("Qwen/Some", chosen)


def test_a_directory_goes_before_a_repository(data: Path) -> None:
    assert not store.is_place("owner/name")
    (data / "owner" / "name").mkdir(parents=True)
    assert store.is_place("owner/name")
    assert [store.is_place(each) for each in ("./owner/other", "/x", "~/x", "name", "a/b/c")] == [True] * 5


def test_one_in_a_directory_is_referred_to_where_it_lies(data: Path) -> None:
    place = made(data / "Custom")
    added = adding.add(str(place), None)
    assert added == Model("Custom", place, own=False)
    assert store.known() == {"Custom": added}
    # Once more changes nothing; another one of that name is another model.
    assert adding.add("Custom", None) == added
    with pytest.raises(Refused, match="--name"):
        adding.add(str(made(data / "other" / "Custom")), None)
    assert set(store.known()) == {"Custom"}
    assert adding.add("other/Custom/", "second").directory == data / "other" / "Custom"
    adding.remove("Custom")
    assert place.is_dir()
    assert set(store.known()) == {"second"}


def test_what_is_no_model_is_refused_with_the_reason(data: Path) -> None:
    (data / "Empty").mkdir()
    with pytest.raises(BadRequest, match=r"config\.json is missing"):
        adding.add("Empty", None)
    with pytest.raises(BadRequest, match="there is no directory"):
        adding.add("./nowhere", None)
    assert store.known() == {}


def test_what_is_looked_at_says_what_it_is(data: Path) -> None:
    found = adding.look(made(data / "Design", config("voice_design")))
    assert (found["name"], found["variant"], found["voices"]) == ("Design", "voice_design", ["designed"])
    assert found["bytes"] > 200_000


def test_files_of_ours_go_with_the_model(data: Path) -> None:
    own = made(store.place_for("Fetched"))
    store.staged_for("Half").mkdir()
    assert store.known() == {"Fetched": Model("Fetched", own, own=True)}
    # Copied there by hand, it only has to be looked at.
    assert adding.add("Qwen/Fetched", None).directory == own
    adding.remove("Fetched")
    assert not own.exists()


def test_one_that_is_not_known_is_refused_with_the_nearest(data: Path) -> None:
    adding.add(str(made(data / "Custom")), None)
    with pytest.raises(adding.NoSuchModel, match="'Custom'") as caught:
        adding.remove("Costum")
    assert caught.value.exit_code == 4


def test_a_note_that_cannot_be_read_is_no_model() -> None:
    places.models_dir().mkdir(parents=True)
    (places.models_dir() / "one.toml").write_text("[")
    assert store.known() == {}


def test_offline_says_where_to_put_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(adding.NoHub) as caught:
        adding.add("Qwen/Some", None)
    assert str(store.place_for("Some")) in caught.value.format_message()
    assert "HF_HUB_OFFLINE" in caught.value.format_message()


# --- what a provider is told


def models(*names: str) -> dict[str, Model]:
    return {name: Model(name, Path("/m") / name, own=False) for name in names}


def test_a_provider_is_told_of_all_and_keeps_its_default() -> None:
    before = {"device": "cpu", "model": "b", "models": {"b": "/old/b"}}
    told = adding.settings_with(models("a", "b"), before)
    assert told == {"device": "cpu", "model": "b", "models": {"a": "/m/a", "b": "/m/b"}}


def test_a_default_that_is_gone_makes_room_for_the_first() -> None:
    assert adding.settings_with(models("a"), {"model": "gone"})["model"] == "a"
    assert adding.settings_with({}, {"model": "gone"}) == {"models": {}}
    assert adding.settings_with(models("a", "b"), {}, "b")["model"] == "b"
