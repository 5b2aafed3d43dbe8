"""Qwen3-TTS on MLX, held against the package mlx-audio with random weights. Without MLX all of it is skipped."""
