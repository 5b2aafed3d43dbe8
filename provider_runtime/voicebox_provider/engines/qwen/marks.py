"""The text tokenizer's own marks, which nobody may write into a text: one of them would end the message that the model hears."""

from __future__ import annotations

import re

_MARKS = re.compile(r"<\|[^<>]*\|>|<tts_[^<>]*>")


def harmless(text: str) -> str:
    """Without the brackets of what the tokenizer would take for a mark."""
    return _MARKS.sub(lambda mark: mark.group().strip("<>"), text)
