"""`config.toml`: what the user may set. The daemon reads it once, at its start, and never writes it; `voicebox config` does."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from voicebox_protocol.errors import InvalidConfig
from voicebox_protocol.fit import nearest

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Id = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEEP_ALIVE_RULE = "it takes seconds, or a duration as 5m or 1h30m; 0 unloads at once, a negative number never"

ID_RULE = "1 to 32 of a-z, 0-9, - and _"


class DaemonConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[daemon]`. Minutes, seconds and megabytes as named; `arena_mb` for each provider process, 0 for no shared memory."""

    idle_minutes: _Positive = 30.0
    max_requests: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 512
    max_requests_per_client: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 128
    shutdown_grace_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    audio_memory_mb: _Positive = 256.0
    arena_mb: Annotated[float, msgspec.Meta(ge=0, le=4096)] = 8.0


class SpeechConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[speech]`: what speaks when a request names nothing. `resume_patience_s`: for how long a listener may wait for an exact
    resumption, where the next sentence would do as well."""

    voice: str | None = None
    provider: str | None = None
    resume_patience_s: Annotated[float, msgspec.Meta(ge=0)] = 1.5


class OrderConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[order]`: who speaks when a voice cannot. A slot is PROVIDER/VOICE, or PROVIDER for its own default; `voice` and
    `language` hold a chain of slots for each that the user named, and `default` is for the rest."""

    default: list[str] = []
    voice: dict[str, list[str]] = {}
    language: dict[str, list[str]] = {}

    def __post_init__(self) -> None:
        named = {"voice": self.voice, "language": self.language}
        chains = {f"{table}.{name}": chain for table, own in named.items() for name, chain in own.items()}
        for place, chain in {"default": self.default, **chains}.items():
            for slot in chain:
                provider, slash, voice = slot.partition("/")
                if not is_id(provider) or bool(slash) != bool(voice):
                    raise ValueError(f"{place}: {slot!r} is no slot; it takes PROVIDER or PROVIDER/VOICE")


class ProviderConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[provider.ID]`. `engine` is an entry point's name or module:Class, run by the interpreter `python` where that is named;
    `command` replaces our runner altogether. Deadlines in seconds; `keep_alive` as `keep_alive_seconds` reads it."""

    engine: str | None = None
    python: str | None = None
    command: list[str] | None = None
    enabled: bool = True
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    standby: Literal["none", "auto", "warm"] = "auto"
    keep_alive: str | float = "10m"
    hello_s: _Positive = 15.0
    load_s: _Positive = 120.0
    probe_s: _Positive = 0.5
    suspect_s: _Positive = 3.0
    silence_s: _Positive = 15.0
    progress_s: _Positive = 60.0
    cancel_s: _Positive = 10.0
    drain_s: _Positive = 30.0
    restart_base_s: _Positive = 0.5
    restart_cap_s: _Positive = 30.0
    restart_budget: Annotated[int, msgspec.Meta(ge=1)] = 5
    quarantine_s: _Positive = 600.0
    recycle_jobs: _Count = 0
    recycle_growth_mb: Annotated[float, msgspec.Meta(ge=0)] = 2048.0
    settings: dict[str, Any] = {}

    def __post_init__(self) -> None:
        keep_alive_seconds(self.keep_alive)
        if self.python is not None and (not os.path.isabs(self.python) or "\0" in self.python):  # noqa: PTH117 (no pathlib)
            raise ValueError(f"python is {self.python!r}; it takes the absolute path of an interpreter")
        if self.python and self.command:
            raise ValueError("python runs an engine; a command runs itself")


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    daemon: DaemonConfig = msgspec.field(default_factory=DaemonConfig)
    speech: SpeechConfig = msgspec.field(default_factory=SpeechConfig)
    order: OrderConfig = msgspec.field(default_factory=OrderConfig)
    provider: dict[str, ProviderConfig] = {}


# Every table, and every key that holds a value. ID stands for any provider's.
_TABLES: dict[str, type[msgspec.Struct]] = {
    "daemon": DaemonConfig,
    "speech": SpeechConfig,
    "order": OrderConfig,
    "provider.ID": ProviderConfig,
}
KEYS = tuple(f"{table}.{key}" for table, struct in _TABLES.items() for key in struct.__struct_fields__)
_FREE = ("provider.ID.settings", "order.voice", "order.language")


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
    if not text:
        return Config()
    import tomllib

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
        import tomllib

        found = msgspec.convert(tomllib.loads(path.read_bytes().decode()), ProviderConfig)
    except msgspec.ValidationError as error:
        raise InvalidConfig(f"{path}: {explain(str(error))}") from None
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    if bool(found.engine) == bool(found.command):
        raise InvalidConfig(f"{path}: give engine or command")
    return found


def keep_alive_seconds(value: str | float) -> float:
    """For how long an engine without work stays loaded, in Ollama's words: seconds, or "5m", "1h30m"; 0 for not at all, and
    negative for ever (infinite). Raises `ValueError`."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = _duration(str(value))
    if math.isnan(seconds):
        raise ValueError(f"keep_alive is {value!r}; {_KEEP_ALIVE_RULE}")
    return math.inf if seconds < 0 else seconds


def _duration(text: str) -> float:
    sign, parts = text[:1] == "-", _DURATION_PART.findall(text.lstrip("+-"))
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("+-"):
        raise ValueError(f"keep_alive is {text!r}; {_KEEP_ALIVE_RULE}")
    return (-1 if sign else 1) * sum(float(number) * _UNITS[unit] for number, unit in parts)


def is_id(name: str) -> bool:
    """Whether a provider may be called so."""
    return bool(_Id.fullmatch(name))


def split_key(key: str) -> tuple[str, ...]:
    """A dotted key of one value, as `daemon.idle_minutes` or `provider.mine.load_s`, in its parts; what follows `settings` is
    the engine's own, what follows `order.voice` and `order.language` one name. Raises `InvalidConfig`, with the nearest
    key, if there is none like it."""
    parts = tuple(key.split(".", 2 if key.startswith("order.") else -1))
    generic = ("provider", "ID", *parts[2:]) if parts[0] == "provider" else parts
    name = next((free for free in _FREE if ".".join(generic).startswith(f"{free}.")), ".".join(generic))
    if inner := [known for known in KEYS if known.startswith(f"{name}.")]:
        raise InvalidConfig(f"{key} is a table; name one of its keys: {', '.join(inner)}")
    if name not in KEYS or not all(parts):
        alike = [known for known in KEYS if known.rpartition(".")[2] == name.rpartition(".")[2]]
        if name == key and "." not in key:
            alike = alike[:1]
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
    import difflib

    close = difflib.get_close_matches(key, _keys(place), n=1)
    where = f"[{place.replace('[...]', '.ID')}]" if place else "the top level"
    known = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(_keys(place))}"
    return f"{where} has no key {key!r}; {known}"


def _keys(place: str) -> tuple[str, ...]:
    struct = Config if not place else _TABLES.get(place, ProviderConfig)
    return struct.__struct_fields__
