"""The contract that every wing shares: the wire, the errors, the endpoints and the places. Imports nothing else of ours."""

from __future__ import annotations

__version__ = "0.1.0"
