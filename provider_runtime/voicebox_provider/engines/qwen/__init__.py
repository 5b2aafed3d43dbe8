"""Qwen3-TTS on PyTorch: its checkpoint, our decode loop, its codec."""
