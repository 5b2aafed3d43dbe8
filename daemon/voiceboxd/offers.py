"""Engines that could be installed, and their languages: for the error that tells a person how to get a voice.

A test of each engine holds its line to what the engine says of itself.
"""

from __future__ import annotations

from collections.abc import Collection

_ESPEAK = """
af am an ar art as az ba be bg bn bpy bs ca chr cmn cs cv cy da de el en eo es et eu fa fi fr ga gd gn grc gu
hak haw hbs he hi hr ht hu hy hyw ia id io is it ja jbo ka kk kl kn ko kok ku ky la lb lfn lt ltg lv mi mk ml mr
ms mt mto my nb nci ne nl no nog om or pa pap pl pt qdb qu quc qya ro ru sd shn si sjn sk sl smj sq sr sv sw ta
te th ti tk tlh tn tr tt ug uk ur uz vi yue zh
"""

# Base languages (BCP 47), in the order in which the engines are preferred.
OFFERS: dict[str, frozenset[str]] = {
    "kokoro": frozenset({"ja", "en"}),
    "espeak": frozenset(_ESPEAK.split()),
}


def hint(language: str, installed: Collection[str]) -> str:
    """How to get a voice for a language: the first engine that has it and is not installed, or nothing."""
    base = language.replace("_", "-").partition("-")[0].lower()
    for engine, languages in OFFERS.items():
        if base in languages and engine not in installed:
            return f"; {engine} has it: pip install 'voiceboxd[{engine}]', then voicebox daemon restart"
    return ""
