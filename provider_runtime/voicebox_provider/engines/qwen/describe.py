"""`python -m voicebox_provider.engines.qwen.describe DIRECTORY`: what a checkpoint is, as one JSON object; or why it is none, and 1.

It needs neither torch nor transformers, so it runs wherever the runtime is installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from voicebox_provider.engine import PermanentFault
from voicebox_provider.engines.qwen import checkpoint, offer


def main(arguments: list[str]) -> int:
    """Print it; gives the exit code."""
    try:
        found = checkpoint.read(Path(*arguments))
    except PermanentFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    able = offer.capabilities(found, device="cpu", fingerprint="")
    described = {
        "name": found.name,
        "variant": found.variant,
        "size": found.size,
        "voices": [voice.id for voice in able.voices],
        "languages": list(found.languages),
        "revision": found.revision,
        "bytes": sum(path.stat().st_size for path in found.directory.rglob("*") if path.is_file()),
    }
    sys.stdout.write(json.dumps(described) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
