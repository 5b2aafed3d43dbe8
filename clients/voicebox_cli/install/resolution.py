"""What an install will fetch: read off uv's lock (pylock.toml, PEP 751), with sizes where the index tells them."""

from __future__ import annotations

import concurrent.futures
import http.client
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

_LOOK_S = 5.0
_LOOKING_S = 20.0
_CARD = ("nvidia-", "cuda-")
# 356 MB of wheels, PyTorch for the processor among them, were 1.4 GB when they were unpacked.
_UNPACKED = 4


class Package(NamedTuple):
    """One wheel that will be there; `size` in bytes, None where nobody says."""

    name: str
    version: str
    url: str
    size: int | None


class Plan(NamedTuple):
    """All of them."""

    packages: tuple[Package, ...]

    @property
    def download(self) -> int:
        """Bytes to fetch, of those whose size is known."""
        return sum(each.size or 0 for each in self.packages)

    @property
    def unknown(self) -> int:
        """How many have no known size."""
        return sum(each.size is None for each in self.packages)

    @property
    def needed(self) -> int:
        """Bytes of disk, about: what is fetched, and what becomes of it."""
        return self.download * (1 + _UNPACKED)

    @property
    def for_card(self) -> bool:
        """Whether its PyTorch was built for a graphics card: it brings the card's libraries, or its version says so."""
        torch = next((each.version for each in self.packages if each.name == "torch"), "")
        return any(each.name.startswith(_CARD) for each in self.packages) or torch.partition("+")[2].startswith("cu")


def read(*locks: Path) -> Plan:
    """The plan that these locks make together; the wheel of each package that fits this machine."""
    from packaging.tags import sys_tags

    ranks = {str(tag): rank for rank, tag in enumerate(sys_tags())}
    found = [
        _package(each, ranks)
        for lock in locks
        for each in tomllib.loads(lock.read_text(encoding="utf-8")).get("packages", [])
    ]
    return Plan(tuple(found))


def with_sizes(plan: Plan) -> Plan:
    """The plan, with the sizes that the index's server tells of files whose size its list does not."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = {each.name: pool.submit(_size, each.url) for each in plan.packages if each.size is None}
        concurrent.futures.wait(asked.values(), _LOOKING_S)
        pool.shutdown(wait=False, cancel_futures=True)
    told = {name: each.result() for name, each in asked.items() if each.done() and not each.cancelled()}
    return Plan(tuple(each._replace(size=each.size or told.get(each.name)) for each in plan.packages))


def _package(entry: dict[str, Any], ranks: dict[str, int]) -> Package:
    wheels = sorted(entry.get("wheels", []), key=lambda wheel: _rank(wheel, ranks))
    source = (wheels or [entry.get("sdist") or entry.get("archive") or {}])[0]
    url = source.get("url") or Path(source.get("path", "")).absolute().as_uri()
    return Package(entry["name"], str(entry.get("version", "")), url, source.get("size"))


def _rank(wheel: dict[str, Any], ranks: dict[str, int]) -> int:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    name = wheel.get("name") or Path(urllib.parse.unquote(urllib.parse.urlsplit(wheel.get("url") or "").path)).name
    try:
        tags = parse_wheel_filename(name or Path(wheel.get("path", "")).name)[3]
    except InvalidWheelFilename:
        return len(ranks)
    return min((ranks.get(str(tag), len(ranks)) for tag in tags), default=len(ranks))


def _size(url: str) -> int | None:
    parts = urllib.parse.urlsplit(url)
    try:
        if parts.scheme == "file":
            return Path(urllib.request.url2pathname(parts.path)).stat().st_size
        if parts.scheme not in ("http", "https"):
            return None
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_LOOK_S) as answer:  # noqa: S310 (checked)
            return int(answer.headers.get("Content-Length") or 0) or None
    except (OSError, ValueError, http.client.HTTPException):
        return None
