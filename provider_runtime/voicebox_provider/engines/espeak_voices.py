"""espeak-ng's voices, read from its voice files: loading the library for it would make Hello wait.

A voice file (espeak-ng, docs/voices.md) is lines of a keyword and its values: `name`, `language TAG PRIORITY`, `dictionary`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from voicebox_protocol.capabilities import Voice

DEFAULT_VOICE = "en-us"

_USUAL_PRIORITY = 5
_RENAMED = {"en": "en-gb"}

_CORRECTED = {
    "ca-ba": "ca-x-balear",  # BA and VA are Bosnia and the Vatican, CL is Chile
    "ca-nw": "ca-x-northwest",
    "ca-va": "ca-valencia",
    "chr-US-Qaaa-x-west": "chr-US-x-west",
    "en-us-nyc": "en-US-x-nyc",
    "piqd": "tlh",
    "py": "art-x-pyash",
    "ru-cl": "ru-x-classic",
}
"""espeak's tags that mean something else in BCP 47, or nothing."""

_READ_BY_ALL = ("Armn", "Beng", "Cher", "Deva", "Geor", "Gujr", "Guru", "Hang", "Knda", "Latn", "Mlym", "Sinh", "Taml")
"""Every voice reads words in these, in the script's own language if not in its own; of others it only spells the letters."""

_OWN = {
    "Arab": "ar fa sd ug ur",
    "Cyrl": "ba be bg bs cv hr ka kk ky lfn ltg lv mk nog ru sr tt uk uz",
    "Ethi": "am ti",
    "Hani": "cmn yue",
    "Hebr": "he",
    "Hira": "ja",
    "Kana": "ja",
    "Mymr": "my shn",
    "Orya": "or",
    "Shaw": "en",
    "Telu": "te",
    "Thai": "th",
}
_SPELLS_GREEK = "af bs en hr lt mk sr vi"
_UNKNOWN = ("piqd",)
"""Made for a script that has no code points of its own in Unicode."""


class VoiceFile(NamedTuple):
    """What a voice file says. `path` is below `lang`; `tags` are espeak's language tags with their priorities, the lower the better."""

    path: str
    name: str
    tags: tuple[tuple[str, int], ...]
    dictionary: str

    @property
    def id(self) -> str:
        """The file's own name in lower case, which is what `espeak-ng -v` takes as well."""
        own = self.path.rpartition("/")[2].lower()
        return _RENAMED.get(own, own)


def voice_files(data: Path) -> dict[str, VoiceFile]:
    """The voices below espeak's data directory by id, those without their dictionary left out."""
    lang = data / "lang"
    found = (_read(path, lang) for path in sorted(lang.rglob("*")) if path.is_file())
    return {file.id: file for file in found if (data / f"{file.dictionary}_dict").is_file()}


def described(files: Mapping[str, VoiceFile]) -> list[Voice]:
    """The voices as the capability document lists them."""
    best = _best_priorities(files.values())
    return [
        Voice(
            id=name,
            name=file.name,
            languages=[_bcp47(tag) for tag, priority in file.tags if priority == best[tag]],
            scripts=_scripts(file.tags[0][0].partition("-")[0]),
            gender="male",
            default=name == DEFAULT_VOICE,
        )
        for name, file in files.items()
    ]


def _read(path: Path, lang: Path) -> VoiceFile:
    said: dict[str, str] = {}
    tags: list[tuple[str, int]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        keyword, _, rest = line.partition("//")[0].strip().partition(" ")
        if keyword == "language":
            tag, *priority = rest.split()
            tags.append((tag, int(priority[0]) if priority else _USUAL_PRIORITY))
        else:
            said.setdefault(keyword, rest.strip())
    dictionary = said.get("dictionary") or tags[0][0].partition("-")[0].lower()
    return VoiceFile(path.relative_to(lang).as_posix(), said["name"], tuple(tags), dictionary)


def _best_priorities(files: Iterable[VoiceFile]) -> dict[str, int]:
    """A general tag such as `en` is left to the voice that espeak prefers for it, lest a Scotsman answer to `en-AU`."""
    best: dict[str, int] = {}
    for tag, priority in (pair for file in files for pair in file.tags):
        best[tag] = min(priority, best.get(tag, priority))
    return best


def _bcp47(tag: str) -> str:
    """The tag with BCP 47's usual capitals: en-us becomes en-US, fa-latn fa-Latn; private parts stay as they are."""
    if tag in _CORRECTED:
        return _CORRECTED[tag]
    public, mark, private = tag.partition("-x-")
    language, *rest = public.split("-")
    usual = {2: str.upper, 4: str.title}
    return "-".join([language, *(usual.get(len(part), str)(part) for part in rest)]) + mark + private


def _scripts(language: str) -> list[str]:
    if language in _UNKNOWN:
        return []
    own = [script for script, languages in _OWN.items() if language in languages.split()]
    greek = [] if language in _SPELLS_GREEK.split() else ["Grek"]
    return sorted({*_READ_BY_ALL, *own, *greek})
