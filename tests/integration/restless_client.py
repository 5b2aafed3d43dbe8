"""A client that asks for speech again and again and changes its mind: a program of its own, so that it can be killed.

Arguments: number of requests, seed of its whims. Prints one line a request: its id and how it ended.
"""

from __future__ import annotations

import random
import sys

from voicebox_client import Voicebox, VoiceboxError

SENTENCES = (
    "The kettle is on.",
    "Nobody expected the harbour to be so quiet. The gulls had gone.",
    "One, two, three.",
    "She had counted the steps twice; there were forty-one of them.",
)


def main() -> None:
    whims = random.Random(int(sys.argv[2]))
    with Voicebox(autostart=False) as box:
        for _ in range(int(sys.argv[1])):
            print(*_ask(box, whims), flush=True)


def _ask(box: Voicebox, whims: random.Random) -> tuple[str, str]:
    """One request: read to its end, cancelled at once, or cancelled after the first sound."""
    speech = box.say(whims.choice(SENTENCES), seed=whims.getrandbits(32))
    mood = whims.random()
    try:
        if mood < 0.2:
            speech.cancel()
        for _ in speech:
            if mood > 0.8:
                speech.cancel()
                mood = 0.5
    except VoiceboxError as error:
        return speech.request_id, error.code
    return speech.request_id, "done"


if __name__ == "__main__":
    main()
