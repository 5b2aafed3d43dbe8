"""The commands in README and docs/, run as they are printed."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.integration.daemon import Place, running
from tests.integration.wire_client import WireClient
from voicebox_protocol import places

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("cli", "loudspeaker", "troubleshooting", "voices")),
]
# What needs something that is not ours: another program, or more text than a test has time for.
FOREIGN = ("my-agent", "aplay", "play -t raw")


def commands(page: Path) -> list[str]:
    """Each command of a page's shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not any(word in line for word in FOREIGN)]


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(VOICEBOX_AUDIO_SINK="null")
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
    assert set(shown["order"]) == set(configuration.OrderConfig.__struct_fields__)
    listed = {key for provider in shown["provider"].values() for key in provider}
    assert listed == set(configuration.ProviderConfig.__struct_fields__)
    defaults = configuration.DaemonConfig()
    assert all(getattr(defaults, key) == value for key, value in shown["daemon"].items())


def test_docs_list_the_places_of_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the table's own words: with each variable of the platform set, and without."""
    rows = {
        "runtime directory": (places.runtime_dir, "XDG_RUNTIME_DIR"),
        "data": (places.data_dir, "XDG_DATA_HOME"),
        "log": (places.log_dir, "XDG_STATE_HOME"),
        "cache": (places.cache_dir, "XDG_CACHE_HOME"),
        "configuration": (places.config_file, "XDG_CONFIG_HOME"),
    }
    for variable in (places.RUNTIME_DIR, places.DATA_DIR, places.CONFIG, "TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    table = table_of_places()
    for what, (place, variable) in rows.items():
        chosen, otherwise = re.findall(r"`([^`]+)`", table[what])[:2]
        monkeypatch.setenv(variable, "/chosen")
        assert str(place()) == chosen.replace(f"${variable}", "/chosen"), what
        monkeypatch.delenv(variable)
        assert str(place()) == str(Path(otherwise.replace("<uid>", str(os.getuid()))).expanduser()), what


def table_of_places() -> dict[str, str]:
    """What lies where on Linux, by the first words of what; with the names of the files in front."""
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", text, re.M)
    return {what.partition(":")[0].strip("` "): where for what, where in rows}


@pytest.mark.parametrize("transport", ["ipc", "curve"])
def test_docs_list_the_files_that_a_daemon_makes(transport: str) -> None:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    rows = r"^\| (?:runtime directory|log|once the loudspeaker was needed): ([^|]+) \|"
    ours, theirs, aloud = (names_of(row) for row in re.findall(rows, text, re.M))
    assert aloud == {"player.page", "player.log", "audio.json"}
    with running(VOICEBOX_TRANSPORT=transport, VOICEBOX_AUDIO_SINK="null") as daemon:
        with WireClient(daemon.place) as client:
            assert client.speak("Hello.", sink="speaker").end["kind"] == "Done"
            boot = client.boot
        made = {path.name.replace(boot, "<boot>") for path in daemon.place.runtime.iterdir()}
        sockets = {name for name in ours if name.endswith(".sock")}
        own = ours if transport == "ipc" else ours - sockets | {"endpoint.json"}
        assert made == own | {"player.page"}
        # What it says before its log is open goes to its starter, who makes the file for it.
        logs = {path.name.replace("builtin", "<id>") for path in daemon.place.log.iterdir()}
        assert logs == theirs - {"voiceboxd.stderr"} | {"player.log"}


def names_of(row: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", row))


def test_docs_list_the_variables_of_the_code() -> None:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    wings = ("protocol", "clients", "provider_runtime", "daemon")
    code = "".join(path.read_text(encoding="utf-8") for wing in wings for path in (ROOT / wing).rglob("*.py"))
    # Those that begin with an underscore are a shell's, to ask for completion.
    variables = r"(?<![A-Z_])VOICEBOX_[A-Z_]+"
    assert set(re.findall(variables, text)) == set(re.findall(variables, code))


def options_of(command: click.Command) -> Iterator[set[str]]:
    """All options of a command and of those below it, each with its names."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield {*parameter.opts, *parameter.secondary_opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options_of(below)


def test_the_command_lines_page_names_every_option_and_no_other() -> None:
    from voicebox_cli.main import commands

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    code = " ".join([*re.findall(r"```\w+\n(.*?)```", text, re.S), *re.findall(r"`([^`\n]+)`", text)])
    named = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", code))
    options = [names for names in options_of(commands) if "--version" not in names]
    assert [names for names in options if not names & named] == []
    assert {name for name in named if name.startswith("--")} <= {"--help"}.union(*options)


def test_the_command_lines_page_shows_the_object_of_say(place: Place) -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.S)
    done = place.voicebox("say", "Hello there.", "-o", str(place.root / "x.wav"), "--json")
    said, shown = json.loads(done.stdout), json.loads(block)
    assert list(shown) == list(said)
    assert [list(each) for each in shown["attempts"]] == [list(each) for each in said["attempts"]]
    assert shown["duration_s"] == shown["frames"] / 24_000


# --- docs/protocol.md, beyond what is written from the table


def protocol_section(title: str) -> str:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    return text.partition(f"\n{title}\n")[2].partition("\n## ")[0]


def test_the_wires_page_lists_the_states_of_the_code() -> None:
    from voiceboxd.provider_state import Phase

    (states,) = re.findall(r"States: (.*?)\. ", protocol_section("## Status"), re.S)
    assert names_of(states) == {str(phase) for phase in Phase}


def test_the_wires_page_lists_what_status_tells(place: Place) -> None:
    shown = set(re.findall(r'"([a-z_]+)"', protocol_section("## Status")))
    assert place.voicebox("say", "Hello.", "-o", str(place.root / "x.wav")).returncode == 0
    status = json.loads(place.voicebox("status", "--json").stdout)
    status["dropped"] = {}
    assert shown <= set(keys_of(status))
    assert len(shown) >= 25


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from keys_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from keys_of(each)


def test_the_wires_page_lists_the_capability_document_of_the_code() -> None:
    from voicebox_protocol.capabilities import Capabilities, Voice

    text = protocol_section("### The capability document")
    (voice,) = re.findall(r"`\{(id, [^`]+)\}`", text)
    values = r"\([^)]*\)|:[^,]+"
    assert re.sub(values, "", voice).replace(" ", "").split(",") == list(Voice.__struct_fields__)
    assert names_of(text) >= set(Capabilities.__struct_fields__)
