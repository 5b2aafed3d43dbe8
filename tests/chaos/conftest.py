"""The long form of these tests, for `tox -e chaos`, is asked for by the environment."""

from __future__ import annotations

import os

LONG = os.environ.get("VOICEBOX_CHAOS") == "long"
