"""Qwen3-TTS on PyTorch, held against the package qwen-tts with random weights. Without torch all of it is skipped."""
