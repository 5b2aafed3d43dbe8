"""Qwen3-TTS on MLX: our decode loop and codec around the layers of the package mlx-audio."""
