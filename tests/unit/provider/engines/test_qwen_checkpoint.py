"""Qwen3-TTS checkpoints as they lie on the disk: told apart, described, and refused in words that say what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import BadOption, NoSuchLanguage, NoSuchVoice
from voicebox_protocol.fit import check_options
from voicebox_provider.engine import PermanentFault, Utterance
from voicebox_provider.engines.qwen import checkpoint as qwen
from voicebox_provider.engines.qwen import offer

TEN = ["zh", "en", "de", "it", "pt", "es", "ja", "ko", "fr", "ru"]
LANGUAGES = dict.fromkeys(
    ["english", "chinese", "german", "italian", "portuguese", "spanish", "japanese", "korean", "french", "russian"],
    2050,
)
DIALECTS = {"sichuan_dialect": 2062, "beijing_dialect": 2074}
SPEAKERS = ["serena", "vivian", "uncle_fu", "ryan", "aiden", "ono_anna", "sohee", "eric", "dylan"]
BODY = 200_000

Json = dict[str, Any]


def config(variant: str = "custom_voice", size: str = "1b7") -> Json:
    """What a checkpoint's config.json holds, as far as it matters here."""
    speakers = SPEAKERS if variant == "custom_voice" else []
    dialects = {"eric": "sichuan_dialect", "dylan": "beijing_dialect"}
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_type": variant,
        "tts_model_size": size,
        "talker_config": {
            "codec_language_id": LANGUAGES | (DIALECTS if speakers else {}),
            "spk_id": {name: 3000 + number for number, name in enumerate(speakers)},
            "spk_is_dialect": {name: dialects.get(name, False) for name in speakers},
            "hidden_size": 2048,
        },
    }


def safetensors(body: bytes) -> bytes:
    """A file of one tensor."""
    tensor = {"dtype": "U8", "shape": [len(body)], "data_offsets": [0, len(body)]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + body


def made(place: Path, parts: Json | None = None, generation: Json | None = None) -> Path:
    """A checkpoint's directory, with everything but sensible weights."""
    codec = place / "speech_tokenizer"
    codec.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(parts or config()))
    (place / "generation_config.json").write_text(json.dumps({"max_new_tokens": 8192} | (generation or {})))
    (place / "model.safetensors").write_bytes(safetensors(bytes(BODY)))
    (codec / "config.json").write_text(json.dumps({"model_type": "qwen3_tts_tokenizer_12hz"}))
    (codec / "model.safetensors").write_bytes(safetensors(bytes(1000)))
    return place


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return made(tmp_path / "CustomVoice")


def variant(place: Path, name: str, size: str = "1b7") -> qwen.Checkpoint:
    return qwen.read(made(place / name, config(name, size)))


def able(checkpoint: qwen.Checkpoint) -> Capabilities:
    return offer.capabilities(checkpoint, device="cpu", fingerprint="f", memory_bytes=1)


def refused(place: Path) -> str:
    with pytest.raises(PermanentFault) as caught:
        qwen.read(place)
    return str(caught.value)


# --- what it is


def test_a_checkpoint_says_what_it_is(place: Path) -> None:
    read = qwen.read(place)
    assert (read.directory, read.name, read.variant, read.size) == (place, "CustomVoice", "custom_voice", "1b7")
    assert [each.name for each in read.speakers] == SPEAKERS
    assert {each.id: each.dialect for each in read.speakers if each.dialect} == {
        "eric": "sichuan_dialect",
        "dylan": "beijing_dialect",
    }
    assert list(read.languages) == TEN
    assert read.defaults.max_new_tokens == 8192
    assert len(read.revision) == 16


def test_a_directory_may_be_named_in_any_way(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for way in (".", "../CustomVoice", "speech_tokenizer/.."):
        assert qwen.read(Path(way)).name == "CustomVoice"


def test_defaults_are_the_checkpoint_s_else_the_package_s(tmp_path: Path) -> None:
    read = qwen.read(
        made(tmp_path / "model", generation={"temperature": 1, "top_k": 20, "subtalker_top_k": 5, "x": [1]})
    )
    assert read.defaults == qwen.Defaults(temperature=1.0, top_k=20, subtalker_top_k=5, max_new_tokens=8192)
    assert qwen.Defaults() == qwen.Defaults(
        temperature=0.9, top_k=50, top_p=1.0, repetition_penalty=1.05, max_new_tokens=2048, do_sample=True
    )


@pytest.mark.parametrize(
    ("name", "size", "takes", "needs"),
    [
        ("custom_voice", "1b7", True, False),
        ("custom_voice", "0b6", False, False),
        ("base", "1b7", False, False),
        ("voice_design", "1b7", True, True),
    ],
)
def test_who_takes_instructions(tmp_path: Path, name: str, size: str, takes: bool, needs: bool) -> None:
    read = variant(tmp_path, name, size)
    assert (read.takes_instruct, read.needs_instruct, able(read).instruct) == (takes, needs, takes)


def test_neither_torch_nor_numpy_comes_in() -> None:
    code = (
        "import sys, voicebox_provider.engines.qwen.offer, voicebox_provider.engines.qwen.guards;"
        "sys.exit(bool({'torch', 'transformers', 'numpy', 'qwen_tts'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
def test_gigabytes_are_not_read(place: Path) -> None:
    body = 5 * 1024**3
    header = json.dumps({"weight": {"dtype": "U8", "shape": [body], "data_offsets": [0, body]}}).encode()
    with (place / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + body)

    before = bytes_read()
    qwen.read(place)
    with (place / "config.json").open("r+b") as file:
        file.truncate(body)
    assert "more than 4 MB" in refused(place)
    assert bytes_read() - before < 8 * 1024**2


def bytes_read() -> int:
    """By this process, so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


# --- its revision


def touched(path: Path, place: int) -> None:
    """One bit of a file turned."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_the_revision_is_that_of_the_contents(place: Path, tmp_path: Path) -> None:
    before = qwen.read(place).revision
    assert qwen.read(place).revision == before
    assert qwen.read(shutil.copytree(place, tmp_path / "elsewhere")).revision == before


@pytest.mark.parametrize(
    "change",
    [
        lambda place: (place / "config.json").write_text(json.dumps(config(size="0b6"))),
        lambda place: (place / "config.json").write_text(json.dumps(config()) + "\n"),
        lambda place: (place / "generation_config.json").write_text("{}"),
        lambda place: (place / "speech_tokenizer" / "config.json").write_text("{}"),
        lambda place: (place / "model.safetensors").write_bytes(safetensors(bytes(BODY + 1))),
        lambda place: touched(place / "model.safetensors", -BODY),
        lambda place: touched(place / "model.safetensors", -BODY // 32),
        lambda place: touched(place / "speech_tokenizer" / "model.safetensors", -1),
        lambda place: (place / "model.safetensors").write_bytes(
            safetensors(bytes(BODY)).replace(b'"weight"', b'"height"')
        ),
    ],
)
def test_the_revision_changes_with_what_changes_samples(place: Path, change: Callable[[Path], Any]) -> None:
    before = qwen.read(place).revision
    change(place)
    assert qwen.read(place).revision != before


def in_shards(place: Path, names: list[str]) -> Path:
    (place / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {f"tensor.{number}": name for number, name in enumerate(names)}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


def test_the_weights_may_lie_in_several_files(place: Path) -> None:
    in_shards(place, ["b.safetensors", "a.safetensors", "a.safetensors"])
    for name in ("a", "b"):
        (place / f"{name}.safetensors").write_bytes(safetensors(name.encode() * 5000))
    before = qwen.read(place).revision
    touched(place / "b.safetensors", -1)
    assert qwen.read(place).revision != before
    (place / "a.safetensors").unlink()
    assert "a.safetensors is missing; copy the checkpoint again" in refused(place)


def test_one_file_of_weights_goes_before_an_index(place: Path) -> None:
    before = qwen.read(place).revision
    (place / "model.safetensors.index.json").write_text("no longer true")
    assert qwen.read(place).revision == before


def test_the_revision_knows_the_files_by_name(place: Path) -> None:
    revisions = set()
    for name in ("a.safetensors", "b.safetensors"):
        (place / "model.safetensors").write_bytes(b"")
        in_shards(place, [name])
        (place / name).write_bytes(safetensors(bytes(1000)))
        revisions.add(qwen.read(place).revision)
    assert len(revisions) == 2


@pytest.mark.parametrize("names", [[], ["../model.safetensors"], ["/etc/passwd"], ["sub/a"], ["a\0b"], [""], [".."]])
def test_an_index_names_files_of_its_own_directory(place: Path, names: list[str]) -> None:
    assert str(place) in refused(in_shards(place, names))


# --- what is refused


def test_no_directory(tmp_path: Path) -> None:
    assert f"there is no directory {tmp_path / 'none'}" in refused(tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "there is no directory" in refused(tmp_path / "file")
    assert "x" * 5000 in refused(tmp_path / ("x" * 5000))


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "speech_tokenizer/config.json",
        "speech_tokenizer/model.safetensors",
    ],
)
def test_a_missing_file_is_named(place: Path, name: str) -> None:
    (place / name).unlink()
    assert refused(place) == f"{place / name} is missing; copy the checkpoint again"
    (place / name).mkdir()
    assert refused(place) == f"{place / name} cannot be read: Is a directory"


def altered(place: Path, change: Callable[[Json], Any]) -> str:
    parts = config()
    change(parts)
    (place / "config.json").write_text(json.dumps(parts))
    return refused(place)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts.update(model_type="bert"), "no Qwen3-TTS checkpoint: its model_type is 'bert'"),
        (lambda parts: parts.clear(), "no Qwen3-TTS checkpoint"),
        (lambda parts: parts.update(tokenizer_type="qwen3_tts_tokenizer_25hz"), "only the 12 Hz family"),
        (lambda parts: parts.pop("tokenizer_type"), "only the 12 Hz family"),
        (lambda parts: parts.pop("tts_model_type"), "missing required field `tts_model_type`"),
        (lambda parts: parts.update(tts_model_type="sings"), "$.tts_model_type"),
        (lambda parts: parts.pop("tts_model_size"), "missing required field `tts_model_size`"),
        (lambda parts: parts.pop("talker_config"), "missing required field `talker_config`"),
        (lambda parts: parts.update(talker_config=[]), "Expected `object`, got `array` - at `$.talker_config`"),
        (lambda parts: parts["talker_config"].pop("spk_id"), "missing required field `spk_id` - at `$.talker_config`"),
        (lambda parts: parts["talker_config"].update(spk_id=None), "$.talker_config.spk_id"),
        (lambda parts: parts["talker_config"].update(spk_id={}), "names no speaker"),
        (lambda parts: parts["talker_config"].update(spk_id={"": 1}), "talker_config.spk_id"),
        (lambda parts: parts["talker_config"].pop("codec_language_id"), "`codec_language_id`"),
        (lambda parts: parts["talker_config"].update(codec_language_id=DIALECTS), "names no language"),
        (lambda parts: parts["talker_config"].pop("spk_is_dialect"), "spk_is_dialect has for 'serena' neither"),
        (lambda parts: parts["talker_config"]["spk_is_dialect"].update(eric=True), "for 'eric' neither"),
        (lambda parts: parts["talker_config"]["spk_is_dialect"].update(eric="swiss"), "for 'eric' neither"),
        (lambda parts: parts["talker_config"]["spk_id"].update(Eric=1), "for 'Eric' neither"),
    ],
)
def test_a_config_that_is_none_is_refused_with_the_place(
    place: Path, change: Callable[[Json], Any], words: str
) -> None:
    assert words in altered(place, change)


def test_two_speakers_of_one_name_are_refused(place: Path) -> None:
    def twice(parts: Json) -> None:
        parts["talker_config"]["spk_id"]["Ryan"] = 1
        parts["talker_config"]["spk_is_dialect"]["Ryan"] = False

    assert "upper and lower case" in altered(place, twice)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b'{"model_type": "qwen3_tts", ', "truncated"),
        (b'{"model_type": qwen3_tts}', "(byte 15)"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"model_type": "\xff"}', "damaged"),
        (b'{"a": ' + b"[" * 1_000_000, "damaged"),
        (b'{"a": ' + b'{"a":' * 100_000, "damaged"),
        (b" " * (4 * 1024**2 + 1), "more than 4 MB"),
    ],
)
def test_damaged_files_are_refused(place: Path, name: str, content: bytes, words: str) -> None:
    (place / name).write_bytes(content)
    told = refused(place)
    assert words in told
    assert str(place / name) in told


@pytest.mark.parametrize("value", [{"temperature": "warm"}, {"max_new_tokens": 1}, {"top_k": None}])
def test_defaults_of_another_type_are_refused(tmp_path: Path, value: Json) -> None:
    assert f"$.{next(iter(value))}" in refused(made(tmp_path / "model", generation=value))


@pytest.mark.parametrize("name", ["model.safetensors", "speech_tokenizer/model.safetensors"])
def test_weights_that_are_not_whole_are_refused(place: Path, name: str) -> None:
    whole = (place / name).read_bytes()
    for content, words in (
        (b"", "only its beginning"),
        (whole[:7], "only its beginning"),
        (whole[:60], "only its beginning"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "no safetensors file"),
        (whole[:-1], f"has {len(whole) - 1} bytes of {len(whole)}"),
        (whole + b"x", f"has {len(whole) + 1} bytes of {len(whole)}"),
        (whole[:8] + b"[" + whole[9:], "damaged"),
    ):
        (place / name).write_bytes(content)
        told = refused(place)
        assert words in told
        assert "copy the checkpoint again" in told


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
)
KEYS = st.sampled_from(
    ["tts_model_type", "tts_model_size", "talker_config", "codec_language_id", "spk_id", "spk_is_dialect"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(key=KEYS, value=ANYTHING, file=st.sampled_from(["config.json", "generation_config.json"]))
def test_garbage_is_refused_and_never_crashes(place: Path, key: str, value: Any, file: str) -> None:
    parts = config()
    (parts["talker_config"] if key in parts["talker_config"] else parts)[key] = value
    whole = json.dumps(config())
    (place / "config.json").write_text(whole if file != "config.json" else json.dumps(parts))
    (place / "generation_config.json").write_text("{}" if file == "config.json" else json.dumps(value))
    try:
        read = qwen.read(place)
    except PermanentFault:
        return
    msgspec.convert(msgspec.to_builtins(able(read)), Capabilities)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_bytes_that_are_no_weights_never_crash(place: Path, content: bytes) -> None:
    (place / "model.safetensors").write_bytes(content)
    assert str(place) in refused(place)


# --- what it can do


def test_the_capability_document_of_custom_voices(place: Path) -> None:
    document = offer.capabilities(
        qwen.read(place), device="cuda:0", fingerprint="all of it", memory_bytes=5, version="9"
    )
    assert msgspec.convert(msgspec.to_builtins(document), Capabilities) == document
    assert (document.engine, document.version, document.fingerprint) == ("qwen3-tts", "9", "all of it")
    assert (document.sample_rate, document.max_chars, document.memory_bytes) == (24000, 300, 5)
    assert (document.models, document.devices) == (["CustomVoice"], ["cuda:0"])
    assert document.streaming
    assert document.deterministic
    assert not document.cloning
    assert able(qwen.read(place)).version == qwen.WRITTEN_FOR == "0.1.1"


def test_each_speaker_is_a_voice_with_its_own_language_first(place: Path) -> None:
    voices = {voice.id: voice for voice in able(qwen.read(place)).voices}
    assert list(voices) == SPEAKERS
    assert {voice.languages[0] for voice in voices.values()} == {"auto"}
    first = {name: voice.languages[1] for name, voice in voices.items()}
    assert first == dict.fromkeys(SPEAKERS, "zh") | {"ryan": "en", "aiden": "en", "ono_anna": "ja", "sohee": "ko"}
    assert all(sorted(voice.languages) == sorted(["auto", *TEN]) for voice in voices.values())
    assert (voices["uncle_fu"].name, voices["uncle_fu"].gender, voices["uncle_fu"].kind) == (
        "Uncle_Fu",
        "male",
        "preset",
    )
    expected = {"Latn", "Cyrl", "Hans", "Hant", "Hani", "Jpan", "Hira", "Kana", "Hang", "Kore"}
    assert all(set(voice.scripts) == expected and len(voice.scripts) == 10 for voice in voices.values())


def test_a_speaker_of_one_s_own_is_a_voice_too(tmp_path: Path) -> None:
    parts = config()
    parts["talker_config"].update(spk_id={"Grandma": 3000}, spk_is_dialect={"Grandma": False})
    read = qwen.read(made(tmp_path / "model", parts))
    (voice,) = able(read).voices
    assert (voice.id, voice.name, voice.gender, voice.languages) == ("grandma", "Grandma", None, ["auto", *TEN])
    offer.check(read, Utterance(text="Well, well.", voice="grandma"))


def test_fewer_languages_are_fewer_scripts(tmp_path: Path) -> None:
    parts = config("voice_design")
    parts["talker_config"]["codec_language_id"] = {"russian": 1, "english": 2, "klingon": 3}
    (voice,) = able(qwen.read(made(tmp_path / "model", parts))).voices
    assert (voice.languages, voice.scripts) == (["auto", "en", "ru"], ["Latn", "Cyrl"])


def test_a_designed_voice(tmp_path: Path) -> None:
    (voice,) = able(variant(tmp_path, "voice_design")).voices
    assert (voice.id, voice.kind, voice.languages) == ("designed", "designed", ["auto", *TEN])


def test_base_has_no_voice_before_it_is_given_one(tmp_path: Path) -> None:
    document = able(variant(tmp_path, "base"))
    assert document.voices == []
    assert document.cloning


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ({"temperature": 0, "top_k": 0, "top_p": 0.01, "repetition_penalty": 1}, True),
        ({"temperature": 2, "top_k": 1000, "top_p": 1, "repetition_penalty": 2.0}, True),
        ({"temperature": 2.1}, False),
        ({"top_k": -1}, False),
        ({"top_k": 1.5}, False),
        ({"top_p": 0}, False),
        ({"repetition_penalty": 0.9}, False),
        ({"max_new_tokens": 10}, False),
    ],
)
def test_options_have_ranges(place: Path, options: Json, good: bool) -> None:
    schema = able(qwen.read(place)).options
    if good:
        check_options(options, "qwen", schema)
    else:
        with pytest.raises(BadOption):
            check_options(options, "qwen", schema)


def test_options_tell_the_checkpoint_s_own_defaults(tmp_path: Path) -> None:
    schema = able(qwen.read(made(tmp_path / "model", generation={"temperature": 0.7}))).options
    defaults = {name: each["default"] for name, each in schema["properties"].items()}
    assert defaults == {"temperature": 0.7, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.05}


# --- what a request asks for


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (None, "Auto"),
        ("auto", "Auto"),
        ("zh", "Chinese"),
        ("EN-us", "English"),
        ("pt_BR", "Portuguese"),
        ("zh-Hant-TW", "Chinese"),
    ],
)
def test_languages_have_the_package_s_names(place: Path, tag: str | None, name: str) -> None:
    assert offer.language_name(qwen.read(place), tag) == name


@pytest.mark.parametrize("tag", ["nl", "english", "automatic", "sichuan_dialect", ""])
def test_other_languages_are_refused_with_those_there_are(place: Path, tag: str) -> None:
    with pytest.raises(NoSuchLanguage, match="zh, en, de, it, pt, es, ja, ko, fr, ru"):
        offer.language_name(qwen.read(place), tag)


def test_speakers_are_found_in_any_case(place: Path) -> None:
    read = qwen.read(place)
    for voice in ("Vivian", "vivian"):
        offer.check(read, Utterance(text="Hello.", voice=voice))
    with pytest.raises(NoSuchVoice, match="did you mean 'vivian'"):
        offer.check(read, Utterance(text="Hello.", voice="vivien"))


GOOD = {
    "custom_voice": {"voice": "ryan", "instruct": "whispering"},
    "voice_design": {"voice": "designed", "instruct": "a calm old man"},
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_honoured_passes(tmp_path: Path, name: str) -> None:
    offer.check(variant(tmp_path, name), Utterance(text="Hello.", **GOOD[name]))


@pytest.mark.parametrize(
    ("name", "size", "wishes", "error", "words"),
    [
        ("custom_voice", "0b6", {"voice": "ryan", "instruct": "whispering"}, BadOption, "takes no instructions"),
        ("custom_voice", "1b7", {"voice": "bryan"}, NoSuchVoice, "did you mean 'ryan'"),
        ("custom_voice", "1b7", {"voice": None}, NoSuchVoice, "needs a voice; there is aiden, dylan"),
        ("custom_voice", "1b7", {"voice": "designed"}, NoSuchVoice, "no voice 'designed'"),
        ("voice_design", "1b7", {"voice": "designed"}, BadOption, "needs a description"),
        ("voice_design", "1b7", {"voice": "designed", "instruct": " \n"}, BadOption, "needs a description"),
        ("voice_design", "1b7", {"voice": "ryan", "instruct": "calm"}, NoSuchVoice, "designed"),
        ("base", "1b7", {"voice": None}, NoSuchVoice, "like a recording"),
        ("base", "1b7", {"voice": "ryan"}, NoSuchVoice, "like a recording"),
    ],
)
def test_what_the_package_would_swallow_is_refused(
    tmp_path: Path, name: str, size: str, wishes: Json, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        offer.check(variant(tmp_path, name, size), Utterance(text="Hello.", **wishes))
