"""The program uv: found on PATH, else fetched from the package index; and what it is told of pip's configuration."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import click

from voicebox_cli.install.programs import Ended, isolated, run
from voicebox_protocol import places

_PINNED = "uv==0.13.9"
# Older ones cannot write down what they resolved.
_OLDEST = (0, 8)
_NAME = "uv.exe" if sys.platform == "win32" else "uv"
_FETCH_S = 600.0

# What uv calls pip's settings. Where pip has several indexes the best version of all of them counts.
_FROM_PIP = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
_ALSO_KNOWN_AS = {"UV_DEFAULT_INDEX": ("UV_INDEX_URL",), "UV_INDEX": ("UV_EXTRA_INDEX_URL",), "UV_FIND_LINKS": ()}
_YES = ("1", "true", "yes", "on")
_NO_PIP = "install uv, or pip, and try again"


def find() -> Path:
    """The program, fetched if there is none on PATH that is new enough. Raises `Ended`."""
    there = shutil.which(_NAME)
    if there and _version(Path(there)) >= _OLDEST:
        return Path(there)
    own = places.cache_dir() / _PINNED / _NAME
    if not own.exists():
        _fetch(own)
    return own


def is_own(uv: Path) -> bool:
    """Whether it was fetched by us: nobody else has a use for what it keeps of its downloads."""
    return places.cache_dir() in uv.parents


def environment() -> dict[str, str]:
    """What uv runs with: pip's indexes too, unless it is told of indexes itself."""
    # It writes down what it resolved in a format that it calls a preview.
    env = {"UV_PREVIEW_FEATURES": "pylock", **isolated()}
    pip = _pip_config()
    told = [name for each, others in _ALSO_KNOWN_AS.items() for name in (each, *others) if name in env]
    if not told:
        env |= as_uv(pip)
    if pip.get("cert"):
        env.setdefault("SSL_CERT_FILE", pip["cert"])
    roots = ssl.get_default_verify_paths()
    if roots.cafile or roots.capath:
        # As pip does; its own list knows nothing of what the machine's owner trusts.
        env.setdefault("UV_SYSTEM_CERTS", "1")
    return {"UV_NO_PROGRESS": "1", **env} if not sys.stderr.isatty() else env


def as_uv(pip: dict[str, str]) -> dict[str, str]:
    """pip's settings under uv's names. Lists are separated by white space there, links by commas here."""
    env = {uv: " ".join(pip[name].split()) for name, uv in _FROM_PIP.items() if pip.get(name, "").strip()}
    if "UV_FIND_LINKS" in env:
        env["UV_FIND_LINKS"] = env["UV_FIND_LINKS"].replace(" ", ",")
    if pip.get("no-index", "").lower() in _YES:
        env["UV_NO_INDEX"] = "1"
    if "UV_INDEX" in env:
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return env


def offline(env: Mapping[str, str]) -> list[str]:
    """The argument that keeps uv from asking any index, which it takes in no other way."""
    return ["--no-index"] if env.get("UV_NO_INDEX", "").lower() in _YES else []


def _pip_config() -> dict[str, str]:
    """pip's settings from its files and variables; none where there is no pip."""
    try:
        listed = run([sys.executable, "-m", "pip", "config", "list"], "asking pip", within=60, environment=isolated())
    except Ended:
        listed = ""
    return parsed(listed) | {
        name: os.environ[variable]
        for name in (*_FROM_PIP, "no-index", "cert")
        if (variable := f"PIP_{name.upper().replace('-', '_')}") in os.environ
    }


def parsed(listed: str) -> dict[str, str]:
    """What `pip config list` prints: `global.index-url='…'` and so on; what is of one command only counts if it is install's."""
    found: dict[str, str] = {}
    for scope in ("global", "install"):
        for name, value in re.findall(rf"^{scope}\.([a-z-]+)='(.*)'$", listed, re.M):
            found[name] = value.replace("\\n", " ")
    return found


def _version(uv: Path) -> tuple[int, ...]:
    try:
        words = run([str(uv), "--version"], "asking uv", within=60)
    except Ended:
        return ()
    found = re.search(r"(\d+)\.(\d+)", words)
    return tuple(map(int, found.groups())) if found else ()


def _fetch(own: Path) -> None:
    """Take the program out of its wheel, which pip gets from whatever index it is configured with."""
    click.echo(f"there is no uv on PATH; fetching {_PINNED} from the package index", err=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=own.parent) as scratch:
        asked = ["download", _PINNED, "--no-deps", "--only-binary", ":all:", "--quiet", "--dest", scratch]
        try:
            run([*_pip(), *asked], f"fetching {_PINNED}", within=_FETCH_S)
        except Ended as error:
            raise Ended(f"{error.format_message()}\n{_NO_PIP}") from None
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(f".data/scripts/{_NAME}")]
            half = Path(scratch) / _NAME
            half.write_bytes(archive.read(member))
        half.chmod(0o755)
        half.replace(own)


def _pip() -> list[str]:
    """This Python's pip, else one on PATH."""
    try:
        run([sys.executable, "-m", "pip", "--version"], "asking pip", within=60)
    except Ended:
        other = shutil.which("pip3") or shutil.which("pip")
        if other is None:
            raise Ended(f"there is neither uv nor pip here; {_NO_PIP}") from None
        return [other]
    return [sys.executable, "-m", "pip"]
