"""Where everything lies: the runtime directory, data, state and configuration, and the variables that move them.

`docs/files.md` has the table. Only the runtime directory is on the thin client's path, so platformdirs loads with the rest, and
so does pathlib.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from voicebox_protocol.errors import BadPlace

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME_DIR = "VOICEBOX_RUNTIME_DIR"
DATA_DIR = "VOICEBOX_DATA_DIR"
CONFIG = "VOICEBOX_CONFIG"

_APP = "voicebox"


def runtime_dir() -> Path:
    """Sockets, lock and endpoint file: `$VOICEBOX_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/voicebox`, else a private one."""
    return as_path(runtime_path())


def runtime_path() -> str:
    """`runtime_dir` for those who need no more than its name."""
    if chosen := os.environ.get(RUNTIME_DIR):
        return chosen if os.path.isabs(chosen) else os.path.join(os.getcwd(), chosen)  # noqa: PTH109, PTH117, PTH118 (no pathlib)
    if xdg := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(xdg, _APP)  # noqa: PTH118
    if sys.platform == "win32":
        return str(data_dir() / "run")
    import tempfile

    return os.path.join(tempfile.gettempdir(), f"{_APP}-{os.getuid()}")  # noqa: PTH118


def data_dir() -> Path:
    """Providers, models and the database: `$VOICEBOX_DATA_DIR`, else the platform's place for a user's data."""
    if chosen := os.environ.get(DATA_DIR):
        return as_path(chosen).absolute()
    from platformdirs import user_data_path

    return user_data_path(_APP, appauthor=False, roaming=False)


def providers_dir() -> Path:
    """One directory for each provider that was added, named by its id; the daemon writes there, nobody else."""
    return data_dir() / "providers"


def environments_dir() -> Path:
    """What `provider install` built: `<id>/<build>/`, a Python environment each, which `provider.toml` names."""
    return data_dir() / "environments"


def models_dir() -> Path:
    """Models by name: a directory of files each, or `<name>.toml`, which says where they lie."""
    return data_dir() / "models"


def cache_dir() -> Path:
    """What can be fetched or made again: below `$VOICEBOX_DATA_DIR` if that is set, else the platform's place."""
    if os.environ.get(DATA_DIR):
        return data_dir() / "cache"
    from platformdirs import user_cache_path

    return user_cache_path(_APP, appauthor=False)


def state_dir() -> Path:
    """What the daemon remembers and logs: below `$VOICEBOX_DATA_DIR` if that is set, else the platform's place."""
    if os.environ.get(DATA_DIR):
        return data_dir() / "state"
    from platformdirs import user_state_path

    return user_state_path(_APP, appauthor=False, roaming=False)


def log_dir() -> Path:
    """The daemon's log and one log a provider."""
    return state_dir() / "log"


def config_file() -> Path:
    """`config.toml`, which belongs to the user: `$VOICEBOX_CONFIG`, else the platform's place. It need not exist."""
    if chosen := os.environ.get(CONFIG):
        return as_path(chosen).absolute()
    from platformdirs import user_config_path

    return user_config_path(_APP, appauthor=False, roaming=False) / "config.toml"


def ensure_private(directory: Path) -> Path:
    """Make `directory` with mode 0700 if it is missing; raise `BadPlace` unless it is ours, real and closed to others."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadPlace(
            f"cannot make {directory}: {error.strerror}; set {RUNTIME_DIR} to a directory of yours"
        ) from None
    check_private(directory)
    return directory


def check_private(directory: str | Path) -> None:
    """Raise `BadPlace` unless `directory` is a real directory of ours that nobody else may enter."""
    found = os.lstat(directory)
    if stat.S_ISLNK(found.st_mode):
        raise BadPlace(f"{directory} is a symbolic link; remove it, or set {RUNTIME_DIR} to a directory of yours")
    if not stat.S_ISDIR(found.st_mode):
        raise BadPlace(f"{directory} is no directory; remove it, or set {RUNTIME_DIR} to another place")
    if sys.platform == "win32":
        return
    if found.st_uid != os.getuid():
        raise BadPlace(
            f"{directory} belongs to user {found.st_uid}, not to you; set {RUNTIME_DIR} to a directory of yours"
        )
    if found.st_mode & 0o077:
        raise BadPlace(f"{directory} is open to others (mode {found.st_mode & 0o777:o}); run: chmod 700 {directory}")


def as_path(place: str | Path) -> Path:
    """`Path`, loaded only now."""
    from pathlib import Path

    return Path(place)
