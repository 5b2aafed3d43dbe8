"""A Qwen3-TTS checkpoint as it lies on the disk: what it is, told from its small files.

Neither torch nor transformers is imported, and of the weights a few kilobytes are read: Hello must not wait for a model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple, TypeVar

import msgspec

from voicebox_provider.engine import PermanentFault

WRITTEN_FOR = "0.1.1"
"""The version of the package qwen-tts whose prompts, names and defaults this engine follows."""

_MODEL_TYPE = "qwen3_tts"
_TOKENIZER = "qwen3_tts_tokenizer_12hz"
_CONFIG = "config.json"
_GENERATION = "generation_config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_CODEC = "speech_tokenizer"
_TAKES_INSTRUCT = "1b7"

_MOST_BYTES = 4 * 1024 * 1024
_BLOCK = 4096
_BLOCKS = 32
_AGAIN = "copy the checkpoint again"

LANGUAGES = {
    "zh": "chinese",
    "en": "english",
    "de": "german",
    "it": "italian",
    "pt": "portuguese",
    "es": "spanish",
    "ja": "japanese",
    "ko": "korean",
    "fr": "french",
    "ru": "russian",
}
"""BCP 47 tags, and what the package calls them."""
_T = TypeVar("_T")


class Speaker(NamedTuple):
    """A preset voice: its name as config.json writes it, and the dialect in which it speaks Chinese, if any."""

    name: str
    dialect: str | None

    @property
    def id(self) -> str:
        """The voice's id: qwen-tts takes names in any case, and looks for them in small letters."""
        return self.name.lower()


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """How frames are drawn unless a request says otherwise: generation_config.json, else what qwen-tts itself would take."""

    do_sample: bool = True
    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.05
    subtalker_dosample: bool = True
    subtalker_temperature: float = 0.9
    subtalker_top_k: int = 50
    subtalker_top_p: float = 1.0
    max_new_tokens: Annotated[int, msgspec.Meta(ge=2)] = 2048


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What `read` found in `directory`, an absolute path. `languages` are BCP 47 tags; `size` is as the config says it: "0b6", "1b7".

    `defaults` is what counts of generation_config.json. `revision` changes with the weights and with each file that says how
    they are used.
    """

    directory: Path
    name: str
    variant: Literal["base", "custom_voice", "voice_design"]
    size: str
    speakers: tuple[Speaker, ...]
    languages: tuple[str, ...]
    defaults: Defaults
    revision: str

    @property
    def needs_instruct(self) -> bool:
        """Whether each request has to describe the voice."""
        return self.variant == "voice_design"

    @property
    def takes_instruct(self) -> bool:
        """Whether an instruction changes anything: qwen-tts drops it for Base, and for CustomVoice of 0.6B."""
        return self.needs_instruct or (self.variant == "custom_voice" and self.size == _TAKES_INSTRUCT)


class _Kind(msgspec.Struct):
    model_type: str = ""
    tokenizer_type: str = ""


class _Talker(msgspec.Struct):
    codec_language_id: dict[str, int]
    spk_id: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=128)], int]
    spk_is_dialect: dict[str, bool | str] = {}


class _Config(msgspec.Struct):
    tts_model_type: Literal["base", "custom_voice", "voice_design"]
    tts_model_size: str
    talker_config: _Talker


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class _Tensor(msgspec.Struct):
    """A line of a safetensors header. `__metadata__` stands among them and has no place in the file."""

    data_offsets: tuple[int, int] = (0, 0)


def read(directory: Path) -> Checkpoint:
    """The checkpoint in `directory`.

    Raises `PermanentFault`, in words that say what to do, unless it is a whole Qwen3-TTS checkpoint of the 12 Hz family.
    """
    place = directory.absolute()
    _check_directory(place)
    config_file, codec_file, generation_file = place / _CONFIG, place / _CODEC / _CONFIG, place / _GENERATION
    small = {path: _content(path) for path in (config_file, generation_file, codec_file)}
    _check_kind(config_file, _decoded(config_file, small[config_file], _Kind))
    config = _decoded(config_file, small[config_file], _Config)
    # The package reads all of it, so all of it has to be readable.
    _decoded(generation_file, small[generation_file], dict[str, object])
    return Checkpoint(
        directory=place,
        name=place.resolve().name if place.name in ("", "..") else place.name,
        variant=config.tts_model_type,
        size=config.tts_model_size,
        speakers=_speakers(config_file, config),
        languages=_languages(config_file, config.talker_config),
        defaults=_decoded(generation_file, small[generation_file], Defaults),
        revision=_revision(place, small),
    )


# --- what config.json says


def _check_directory(place: Path) -> None:
    try:
        is_there = place.is_dir()
    except OSError as error:
        raise PermanentFault(f"{place} cannot be read: {error.strerror}") from None
    if not is_there:
        raise PermanentFault(
            f"there is no directory {place}; `model` takes the directory of a Qwen3-TTS checkpoint on this machine"
            " (nothing is downloaded)"
        )


def _check_kind(path: Path, kind: _Kind) -> None:
    if kind.model_type != _MODEL_TYPE:
        raise PermanentFault(
            f"{path.parent} is no Qwen3-TTS checkpoint: its model_type is {kind.model_type!r}, not {_MODEL_TYPE!r}"
        )
    if kind.tokenizer_type != _TOKENIZER:
        raise PermanentFault(
            f"{path.parent} has the speech tokenizer {kind.tokenizer_type!r}; only the 12 Hz family ({_TOKENIZER}) can be"
            " spoken with"
        )


def _speakers(path: Path, config: _Config) -> tuple[Speaker, ...]:
    talker = config.talker_config
    speakers = tuple(Speaker(name, _dialect(path, talker, name)) for name in talker.spk_id)
    if len({each.id for each in speakers}) < len(speakers):
        raise PermanentFault(f"{path}: two speakers in talker_config.spk_id differ in upper and lower case alone")
    if config.tts_model_type == "custom_voice" and not speakers:
        raise PermanentFault(f"{path}: talker_config.spk_id names no speaker; {_AGAIN}")
    return speakers


def _dialect(path: Path, talker: _Talker, name: str) -> str | None:
    """qwen-tts fails in mid-request where an entry is missing or names a dialect that is none."""
    dialect = talker.spk_is_dialect.get(name)
    if dialect is False:
        return None
    if not isinstance(dialect, str) or dialect not in talker.codec_language_id:
        raise PermanentFault(
            f"{path}: talker_config.spk_is_dialect has for {name!r} neither false nor a key of codec_language_id; {_AGAIN}"
        )
    return dialect


def _languages(path: Path, talker: _Talker) -> tuple[str, ...]:
    """The tags of the languages that we know. Dialects stand among them and are spoken by their speakers alone."""
    languages = tuple(tag for tag, name in LANGUAGES.items() if name in talker.codec_language_id)
    if not languages:
        raise PermanentFault(f"{path}: talker_config.codec_language_id names no language; {_AGAIN}")
    return languages


# --- reading files


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, for reading; `PermanentFault` where that fails, now or later."""
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise PermanentFault(f"{path} is missing; {_AGAIN}") from None
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        raise PermanentFault(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _content(path: Path) -> bytes:
    with _opened(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise PermanentFault(f"{path} has more than {_MOST_BYTES // 1024**2} MB, which none of its kind has; {_AGAIN}")
    return content


def _decoded(path: Path, content: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PermanentFault(f"{path} is damaged: {error}; {_AGAIN}") from None


def weight_files(place: Path) -> list[Path]:
    """The files of the model; the last one is its codec's."""
    codec = place / _CODEC / _WEIGHTS
    index = place / _INDEX
    if (place / _WEIGHTS).exists() or not index.exists():
        return [place / _WEIGHTS, codec]
    names = sorted(set(_decoded(index, _content(index), _Index).weight_map.values()))
    if not names or any(Path(name).name != name for name in names):
        raise PermanentFault(f"{index} does not name files of its own directory; {_AGAIN}")
    return [*(place / name for name in names), codec]


def _revision(place: Path, small: dict[Path, bytes]) -> str:
    """A digest of all that changes samples, in 16 hexadecimal digits: the same wherever the checkpoint lies."""
    digest = hashlib.sha256()
    for path, content in small.items():
        digest.update(f"{path.relative_to(place).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    for path in weight_files(place):
        digest.update(f"{path.relative_to(place).as_posix()} ".encode())
        for part in _sampled(path):
            digest.update(part)
    return digest.hexdigest()[:16]


def _sampled(path: Path) -> Iterator[bytes]:
    """A safetensors file's size, its header and blocks from all over it. Raises `PermanentFault` if it is not whole.

    The blocks are there because fine-tuning changes neither size nor header, but nearly every weight. The format: 8 bytes
    with the header's length, little-endian; the header, a JSON object with the place of each tensor; the tensors, without
    gaps (https://github.com/huggingface/safetensors#format).
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MOST_BYTES, size - 8):
            raise PermanentFault(f"{path} is no safetensors file, or only its beginning; {_AGAIN}")
        header = file.read(length)
        tensors = _decoded(path, header, dict[str, _Tensor])
        whole = 8 + length + max((each.data_offsets[1] for each in tensors.values()), default=0)
        if size != whole:
            raise PermanentFault(f"{path} has {size} bytes of {whole}; {_AGAIN}")
        yield f"{size} {length}\n".encode()
        yield header
        for start in range(8 + length, size, max(1, (size - 8 - length) // _BLOCKS)):
            file.seek(start)
            yield file.read(_BLOCK)
