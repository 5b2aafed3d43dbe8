"""`voicebox say`: its options, and what is wrong with them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from voicebox_cli import exit_codes, text_source

if TYPE_CHECKING:
    from voicebox_client import Speech, Voicebox


def _options(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any] | None:
    """KEY=VALUE, any number of times; a value is read as JSON if it is any, else as a string."""
    merged: dict[str, Any] = {}
    for value in values:
        key, equals, said = value.partition("=")
        if not key or not equals or key in merged:
            wrong = "is given twice" if key in merged else "is not KEY=VALUE"
            raise click.BadParameter(f"{value!r} {wrong}", ctx, param)
        try:
            merged[key] = json.loads(said)
        except ValueError:
            merged[key] = said
    return merged or None


@click.command(epilog=exit_codes.HELP)
@click.argument("text", required=False)
@click.option(
    "-f", "--file", metavar="FILE", help="Speak a file, while it is still being written; - is standard input."
)
@click.option("-v", "--voice", metavar="VOICE", help="A voice, or PROVIDER/VOICE; see `voicebox voices`.")
@click.option("-l", "--language", metavar="LANG", help="The text's language, as en or en-US.")
@click.option("--provider", metavar="ID", help="Speak with this provider and no other.")
@click.option("--model", metavar="NAME", help="The engine's model, where it has several.")
@click.option("--instruct", metavar="TEXT", help="How to speak, in words, for engines that understand it.")
@click.option("--clone", metavar="FILE", help="Speak like the recording in this file: 1 to 60 s of one voice.")
@click.option(
    "--clone-text", metavar="TEXT", help="What is said in that recording, word for word: the voice comes out closer."
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), metavar="N", help="Equal seeds give equal sound.")
@click.option("--speed", type=float, metavar="X", help="1 is the voice's own pace, 2 twice as fast.")
@click.option("--pitch", type=float, metavar="X", help="1 is the voice's own pitch, 2 an octave up.")
@click.option("--volume", type=float, metavar="X", help="1 leaves the sound as it is.")
@click.option(
    "-O",
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_options,
    help="An option of the engine; repeatable.",
)
@click.option("--rate", "sample_rate", type=click.IntRange(min=1), metavar="HZ", help="Sample rate of the sound.")
@click.option(
    "--priority",
    type=click.Choice(["important", "message", "text", "notification", "progress"]),
    default="message",
    show_default=True,
    help="What goes first.",
)
@click.option("--deadline", type=float, metavar="SECONDS", help="Give up (exit code 6) when it takes longer.")
@click.option(
    "--on-failure",
    type=click.Choice(["segment", "next", "fail"]),
    help="Where a failed provider's sound cannot be continued exactly: say the segment again (default for files), "
    "skip the rest of it (default for pipes and the loudspeaker), or fail.",
)
@click.option("--any-voice", is_flag=True, help="Let another voice speak when this one cannot.")
@click.option("--resume", is_flag=True, help="If the daemon dies, go on with the next one; else it ends with code 3.")
@click.option("-o", "--output", metavar="PATH", help="Write a file instead of playing; - is standard output.")
@click.option("--format", metavar="wav|flac|mp3|opus|pcm", help="Format of the file; else that of its name, else wav.")
@click.option("--no-wait", is_flag=True, help="Return once it is accepted, not when it was heard; for the loudspeaker.")
@click.option("--wait-device", is_flag=True, help="Where there is no sound device, wait for one instead of failing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.option("--plain", is_flag=True, help="One line for each event on standard error, for screen readers.")
def say(
    text: str | None,
    file: str | None,
    output: str | None,
    format: str | None,  # noqa: A002
    clone: str | None,
    clone_text: str | None,
    no_wait: bool,
    wait_device: bool,
    as_json: bool,
    plain: bool,
    **request: Any,
) -> int:
    """Speak TEXT, a file, or what comes on standard input: at the loudspeaker, or with -o into a file.

    The loudspeaker speaks for everybody, one at a time; the command ends when it was heard, and Ctrl-C silences it.

    \b
    voicebox say "The kettle is on."
    voicebox say "Stand back!" --priority important --no-wait
    voicebox say "The quick brown fox." -o fox.wav
    tail -f notes.txt | voicebox say -
    voicebox say -f story.txt -o - | aplay
    """
    _check(output, format)
    _check_aloud(output, no_wait=no_wait, wait_device=wait_device)
    _check_clone(clone, clone_text, request)
    source = text_source.choose(text, file)

    from voicebox_cli.speaking import Speaking

    # Unasked is not refused: the daemon has its own rule for urgent speech.
    request["any_voice"] = request["any_voice"] or None
    likeness = None
    if clone is not None:
        from voicebox_cli.likeness import Likeness

        likeness = Likeness(clone, clone_text, request["provider"], request["model"])
    if output is None:
        request |= {"sink": "speaker", "wait_device": wait_device}

    def ask(box: Voicebox, **more: Any) -> Speech:
        return box.say(text_source.whole(source) if no_wait else source, **{**request, **more})

    speaking = Speaking(ask, likeness, repeatable=isinstance(source, str), plain=plain, as_json=as_json)
    if output is None:
        return speaking.aloud(detached=no_wait)
    return speaking.into_file(output, format, request["on_failure"])


def _check(output: str | None, format: str | None) -> None:  # noqa: A002
    if format is not None and output is None:
        raise click.UsageError("--format needs -o: without a file, the sound is played")
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("sound on a terminal is noise: send standard output to a pipe, or give -o a file")


def _check_aloud(output: str | None, *, no_wait: bool, wait_device: bool) -> None:
    for option, given in (("--no-wait", no_wait), ("--wait-device", wait_device)):
        if given and output is not None:
            raise click.UsageError(f"{option} is for the loudspeaker, so it does not go with -o")


def _check_clone(clone: str | None, text: str | None, request: dict[str, Any]) -> None:
    if clone is None:
        if text is not None:
            raise click.UsageError("--clone-text needs --clone: it is what is said in that recording")
        return
    if request["voice"] is not None or request["any_voice"]:
        raise click.UsageError("--clone is a voice, so it does not go with -v and --any-voice")
    if text is not None and not text.strip():
        raise click.UsageError("--clone-text is empty; leave it out if nobody knows what is said")
