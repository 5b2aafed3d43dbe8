"""Several checkpoints of one provider: which one a request means, and what they can do together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.provider.engines.test_qwen_checkpoint import able, config, made
from voicebox_protocol.errors import BadOption
from voicebox_provider.engine import PermanentFault, Utterance
from voicebox_provider.engines.qwen import models


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Directories by name: preset voices, one that is designed, and preset voices again."""
    variants = {"preset": "custom_voice", "design": "voice_design", "again": "custom_voice"}
    return {name: str(made(tmp_path / f"of-{name}", config(kind))) for name, kind in variants.items()}


def said(**wishes: str) -> Utterance:
    return Utterance(text="Hello.", **wishes)


def test_a_directory_alone_is_one_model_by_its_own_name(places: dict[str, str]) -> None:
    found = models.read({"model": places["preset"]})
    assert found.default is not None
    assert found.default.name == "of-preset"
    document = found.document(able)
    assert document is not None
    assert document.models == ["of-preset"]
    assert document.voices[0].models == []


def test_the_default_is_named_and_comes_first(places: dict[str, str]) -> None:
    found = models.read({"model": "design", "models": places})
    assert found.default is not None
    assert found.default.name == "design"
    document = found.document(able)
    assert document is not None
    assert document.models == ["design", "preset", "again"]
    assert [voice.id for voice in document.voices[:2]] == ["designed", "serena"]
    assert [document.voices[0].models, document.voices[1].models] == [["design"], ["preset", "again"]]
    assert document.instruct
    default = models.read({"models": places}).default
    assert default is not None
    assert default.name == "preset"


def test_a_request_names_its_model_or_means_one_that_has_its_voice(places: dict[str, str]) -> None:
    found = models.read({"model": "preset", "models": places})
    assert found.chosen(said(voice="ryan")).name == "preset"
    assert found.chosen(said(voice="ryan", model="again")).name == "again"
    assert found.chosen(said(voice="designed")).name == "design"
    assert found.chosen(said(voice="Designed")).name == "design"
    with pytest.raises(BadOption, match="'again'"):
        found.chosen(said(voice="ryan", model="agian"))


def test_without_a_model_there_is_nothing_to_ask_for() -> None:
    found = models.read({"models": {}})
    assert found.default is None
    assert found.document(able) is None
    with pytest.raises(BadOption, match="voicebox model add"):
        found.chosen(said(voice="ryan"))


def test_one_that_is_damaged_is_left_out_unless_it_is_the_default(
    places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(places["again"]) / "config.json").unlink()
    document = models.read({"model": "preset", "models": places}).document(able)
    assert document is not None
    assert document.models == ["preset", "design"]
    assert "the model again is left out" in capsys.readouterr().err
    with pytest.raises(PermanentFault, match=r"config\.json"):
        models.read({"model": "again", "models": places})


@pytest.mark.parametrize("settings", [{}, {"model": 1}, {"model": ""}, {"models": ["x"]}, {"models": {"a": 1}}])
def test_settings_that_name_no_directory_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(PermanentFault, match="the setting"):
        models.read(settings)


def test_equal_samples_need_every_model_to_be_equal(places: dict[str, str]) -> None:
    before = models.read({"model": "preset", "models": places}).document(able)
    (Path(places["design"]) / "generation_config.json").write_text('{"max_new_tokens": 7}')
    after = models.read({"model": "preset", "models": places}).document(able)
    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint
