"""`voicebox completion`: a shell that reads the script completes our commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voicebox_cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_VOICEBOX_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["da"], ["daemon"]),
        (["daemon", "re"], ["restart"]),
        (["config", "get", "speech."], ["speech.voice", "speech.provider", "speech.resume_patience_s"]),
        (["say", "--prov"], ["--provider"]),
        (["vol"], ["volume"]),
        (["audio", "t"], ["test"]),
        (["mute", "o"], ["on", "off"]),
        (["provider", "install", "pytorch-c"], ["pytorch-cpu", "pytorch-cuda"]),
        (["model", "add", "Qwen/Qwen3-TTS-12Hz-0.6B-C"], ["Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    """Sourced as a user sources it; the shell then calls the function that it was told to."""
    command = tmp_path / "voicebox"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m voicebox_cli "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(voicebox completion bash)"\n'
        f"COMP_WORDS=(voicebox {' '.join(words)}); COMP_CWORD={len(words)}\n"
        '_voicebox_completion voicebox\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == expected, done.stderr
