"""`config.toml`: what the user may set. The daemon reads it once, at its start, and never writes it; `voicebox config` does."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from voicebox_protocol.errors import InvalidConfig
from voicebox_protocol.fit import nearest

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Id = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

ID_RULE = "1 to 32 of a-z, 0-9, - and _"


class DaemonConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[daemon]`. Minutes and seconds as named."""

    idle_minutes: _Positive = 30.0
    max_requests: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 512
    max_requests_per_client: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 128
    shutdown_grace_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    audio_memory_mb: _Positive = 256.0


class SpeechConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[speech]`: what speaks when a request names nothing."""

    voice: str | None = None
    provider: str | None = None


class ProviderConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[provider.ID]`. `engine` is an entry point's name or module:Class; `command` replaces our runner altogether.
    Deadlines in seconds."""

    engine: str | None = None
    command: list[str] | None = None
    enabled: bool = True
    idle_minutes: _Positive = 10.0
    hello_s: _Positive = 15.0
    load_s: _Positive = 120.0
    silence_s: _Positive = 15.0
    progress_s: _Positive = 60.0
    cancel_s: _Positive = 10.0
    settings: dict[str, Any] = {}


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    daemon: DaemonConfig = msgspec.field(default_factory=DaemonConfig)
    speech: SpeechConfig = msgspec.field(default_factory=SpeechConfig)
    provider: dict[str, ProviderConfig] = {}


# Every key that holds a value. ID stands for any provider's.
KEYS = tuple(
    f"{table}.{key}"
    for table, struct in (("daemon", DaemonConfig), ("speech", SpeechConfig), ("provider.ID", ProviderConfig))
    for key in struct.__struct_fields__
)


def load(path: Path) -> Config:
    """The configuration in `path`, the defaults if there is none. Raises `InvalidConfig`, naming file, place and key."""
    return parse(read(path), path)


def read(path: Path) -> str:
    """The text of a configuration, empty if there is none. Raises `InvalidConfig` if it cannot be read."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path}: {error}") from None


def parse(text: str, path: Path) -> Config:
    """The configuration in `text`, which is or will be that of `path`. Raises `InvalidConfig`, naming file, place and key."""
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidConfig(f"{path}: {explain(str(error))}") from None
    for name, provider in config.provider.items():
        if not is_id(name):
            raise InvalidConfig(f"{path}: provider.{name}: an id is {ID_RULE}")
        if any("\0" in word for word in provider.command or ()):
            raise InvalidConfig(f"{path}: provider.{name}: command holds a NUL character")
        if provider.engine and provider.command:
            raise InvalidConfig(f"{path}: provider.{name}: give engine or command, not both")
    return config


def load_provider(path: Path) -> ProviderConfig:
    """A bundle's `provider.toml`, which has the keys of `[provider.ID]`. Raises `InvalidConfig`, naming file and key."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_bytes().decode()), ProviderConfig)
    except msgspec.ValidationError as error:
        raise InvalidConfig(f"{path}: {explain(str(error))}") from None
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    if bool(found.engine) == bool(found.command):
        raise InvalidConfig(f"{path}: give engine or command")
    return found


def is_id(name: str) -> bool:
    """Whether a provider may be called so."""
    return bool(_Id.fullmatch(name))


def split_key(key: str) -> tuple[str, ...]:
    """A dotted key of one value, as `daemon.idle_minutes` or `provider.mine.load_s`, in its parts; what follows `settings` is
    the engine's own. Raises `InvalidConfig`, with the nearest key, if there is none like it."""
    parts = tuple(key.split("."))
    generic = ("provider", "ID", *parts[2:]) if parts[0] == "provider" else parts
    name = ".".join(generic[:3] if generic[2:3] == ("settings",) else generic)
    if inner := [known for known in KEYS if known.startswith(f"{name}.")]:
        raise InvalidConfig(f"{key} is a table; name one of its keys: {', '.join(inner)}")
    if name not in KEYS or not all(parts):
        alike = [known for known in KEYS if known.rpartition(".")[2] == name.rpartition(".")[2]]
        raise InvalidConfig(f"there is no key {key!r}{nearest(name, alike or KEYS)}")
    if generic != parts and not is_id(parts[1]):
        raise InvalidConfig(f"{key}: an id is {ID_RULE}")
    return parts


def explain(message: str) -> str:
    """msgspec's words for an unknown key, with the nearest one that there is."""
    unknown = re.search(r"unknown field `(.+?)`(?: - at `\$\.?(.*?)`)?$", message)
    if not unknown:
        return message
    key, place = unknown.group(1), unknown.group(2) or ""
    close = difflib.get_close_matches(key, _keys(place), n=1)
    where = f"[{place.replace('[...]', '.ID')}]" if place else "the top level"
    known = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(_keys(place))}"
    return f"{where} has no key {key!r}; {known}"


def _keys(place: str) -> tuple[str, ...]:
    struct = {"": Config, "daemon": DaemonConfig, "speech": SpeechConfig}.get(place, ProviderConfig)
    return struct.__struct_fields__
