"""The commands in README and docs/, run as they are printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon import Place

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("cli", "troubleshooting", "voices"))]
# What needs something that is not ours: another program, or more text than a test has time for.
FOREIGN = ("my-agent", "aplay", "play -t raw")


def commands(page: Path) -> list[str]:
    """Each command of a page's shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not any(word in line for word in FOREIGN)]


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(VOICEBOX_AUDIO_BACKEND="null")
    for name in ("story.txt", "book.txt"):
        (place.root / name).write_text("It was late. The lamp was still burning in the window.\n")
    yield place
    place.remove()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_the_page_works(place: Place, page: Path) -> None:
    found = commands(page)
    assert len(found) >= 4
    for command in found:
        done = place.run("bash", "-c", command, cwd=place.root)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_readmes_python_works(place: Place) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    done = place.run(sys.executable, "-W", "error", "-c", code, cwd=place.root)
    assert done.returncode == 0, done.stderr
    assert (place.root / "kettle.wav").stat().st_size > 10_000
    assert done.stdout


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(encoding="utf-8"), re.S)


def test_every_program_on_the_librarys_page_works(place: Place) -> None:
    found = python_blocks()
    assert len(found) >= 7
    for code in found:
        done = place.run(sys.executable, "-W", "error", "-c", code, cwd=place.root)
        assert done.returncode == 0, f"{code}: {done.stderr}"
        assert done.stdout or ".save(" in code
    written = {path.name for path in place.root.iterdir() if path.is_file()}
    assert {"one.flac", "two", "three.wav", "three.opus", "one.opus", "two.opus"} <= written


def test_the_librarys_page_lists_the_errors_of_the_code() -> None:
    from voicebox_protocol import errors

    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", text, re.M)
    listed = {group: set(re.findall(r"`(\w+)`", leaves)) for group, leaves in rows if hasattr(errors, group)}
    groups = errors.VoiceboxError.__subclasses__()
    expected = {
        group.__name__: {leaf.__name__ for leaf in errors.LEAVES if issubclass(leaf, group)} for group in groups
    }
    assert listed == expected


def test_the_librarys_page_lists_what_say_takes_and_the_formats() -> None:
    import inspect

    from voicebox_client import Voicebox, formats

    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in list(inspect.signature(Voicebox.say).parameters)[2:])
    assert set(re.findall(r"^\| `(\w+)` \| `\.", text, re.M)) == set(formats.FORMATS)


def test_the_command_lines_page_names_every_command() -> None:
    from voicebox_cli.main import commands

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"voicebox {name} " in text or f"voicebox {name}\n" in text for name in commands.list_commands(None))  # type: ignore[arg-type]


def test_docs_list_the_exit_codes_of_the_code() -> None:
    from voicebox_protocol import errors

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    assert listed == {leaf.exit_code for leaf in errors.LEAVES} | {0, 141}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = readme[readme.index("Exit codes:") :].split(".")[0]
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", codes)} == listed


def test_docs_list_the_configuration_of_the_code() -> None:
    import tomllib

    from voicebox_protocol import configuration

    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    shown = tomllib.loads(block.replace("# command", "command"))
    assert set(shown["daemon"]) == set(configuration.DaemonConfig.__struct_fields__)
    assert set(shown["speech"]) == set(configuration.SpeechConfig.__struct_fields__)
    listed = {key for provider in shown["provider"].values() for key in provider}
    assert listed == set(configuration.ProviderConfig.__struct_fields__)
    defaults = configuration.DaemonConfig()
    assert all(getattr(defaults, key) == value for key, value in shown["daemon"].items())


def test_docs_list_the_places_of_the_code() -> None:
    from voicebox_protocol import endpoints, places

    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    for variable in (places.RUNTIME_DIR, places.DATA_DIR, places.CONFIG, endpoints.TRANSPORT, "VOICEBOX_AUTOSTART"):
        assert variable in text
