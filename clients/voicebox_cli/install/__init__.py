"""What `provider install` and `model` do: environments of engines, and the models that they load."""

from __future__ import annotations

INSTALLABLE = ("pytorch-cpu", "pytorch-cuda", "mlx")
"""The ids of what can be installed."""
