"""`say --json`: the one object at the end, of a request that was done, accepted (with `--no-wait`), failed, cancelled or never
made."""

from __future__ import annotations

from typing import Any

from voicebox_client import Result, Speech
from voicebox_client.events import RECONNECTED
from voicebox_protocol.errors import CancelledByRequest, VoiceboxError


def describe(speech: Speech | None, error: VoiceboxError | None, output: str | None) -> dict[str, Any]:
    """The object, from whatever is known. Times are in milliseconds, from the request's arrival at the daemon. What was heard is
    null for anything but the loudspeaker."""
    result = speech.result if speech else None
    accepted = speech.known if speech else None
    best: Any = result or accepted
    return {
        "request_id": speech.request_id if speech else None,
        "state": _state(error, result),
        "provider": best.provider if best else None,
        "voice": best.voice if best else None,
        "sample_rate": best.sample_rate if best else None,
        "frames": result.frames if result else 0,
        "duration_s": round(result.duration_s, 6) if result else 0.0,
        "first_audio_ms": _rounded(result.first_audio_ms if result else None),
        "total_ms": _rounded(result.total_ms if result else None),
        "attempts": [_attempt(attempt) for attempt in result.attempts] if result else [],
        "resumed": result.resumed if result else None,
        "reconnects": sum(notice.code == RECONNECTED for notice in speech.notices) if speech else 0,
        "delivered_chars": result.delivered_chars if result else 0,
        "heard_chars": result.heard_chars if result else None,
        "heard_s": _rounded(result.heard_s if result else None),
        "seed": best.seed if best else None,
        "output": output,
        "error": {"code": error.code, "message": str(error)} if error else None,
    }


def _state(error: VoiceboxError | None, result: Result | None) -> str:
    if error is None:
        return "done" if result else "accepted"
    return "cancelled" if isinstance(error, CancelledByRequest) else "failed"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    return {name: attempt.get(name) for name in ("provider", "voice", "outcome", "reason")}
