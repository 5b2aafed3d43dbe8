"""`python -m voicebox_cli`."""

from __future__ import annotations

from voicebox_cli.main import run

if __name__ == "__main__":
    run()
