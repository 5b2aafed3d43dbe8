"""`python -m voiceboxd`."""

from __future__ import annotations

from voiceboxd.main import run

if __name__ == "__main__":
    run()
