"""What `voicebox doctor` makes of the facts: a machine that is well, and each thing that may be wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from voicebox_cli.checkup.facts import Card, Cards, Daemon, Facts, Place, Provider, Sound
from voicebox_cli.checkup.findings import BROKEN, HINT, OK, Finding, findings, is_well
from voicebox_cli.doctor import lines

WELL = Facts(
    version="0.1.0",
    python="3.11.7",
    platform="Linux-6.18 x86_64",
    cores=2,
    memory=(8_000_000_000, 16_000_000_000),
    places=(Place("data", "/home/me/.local/share/voicebox", 9_000_000_000),),
    daemon=Daemon("answers", pid=4711, version="0.1.0", uptime_s=75.0),
    socket="/run/user/1000/voicebox/provider-0123456789abcdef.sock",
    socket_limit=107,
    descriptors=1_048_576,
    sound=Sound(backend="pulseaudio"),
    providers=(Provider("builtin", state="ready", engine="hibari", version="0.2.1", device="cpu"),),
    cards=Cards(),
)
H200 = Card("nvidia", "NVIDIA H200", 143_000_000_000, 4_500_000_000, "570.86")
ON_THE_CARD = Provider("pytorch-cuda", state="ready", engine="qwen3-tts", device="cuda:0", vram=4_200_000_000)


def but(**changed: Any) -> Facts:
    return WELL._replace(**changed)


def about(area: str, facts: Facts) -> list[Finding]:
    return [each for each in findings(facts) if each.area == area]


def test_on_a_machine_that_is_well_there_is_nothing_to_do() -> None:
    found = findings(WELL)
    assert {each.level for each in found} == {OK}
    assert all(each.do is None for each in found)
    assert lines(found) == [
        "ok      version   voicebox 0.1.0, Python 3.11.7, Linux-6.18 x86_64",
        "ok      machine   2 cores, 8.0 of 16.0 GB of memory free",
        "ok      places    data: /home/me/.local/share/voicebox (9.0 GB free)",
        "ok      limits    1048576 open files are allowed",
        "ok      daemon    version 0.1.0 runs (pid 4711), since 1 min 15 s",
        "ok      provider  builtin: hibari 0.2.1 on cpu, ready",
        "ok      device    no accelerator; engines run on the processor",
        "ok      sound     a device is there, by pulseaudio",
        "",
        "nothing is broken",
    ]


@pytest.mark.parametrize(
    ("changed", "area", "level", "what", "do"),
    [
        ({"places": (Place("data", "/d", 20_000_000),)}, "places", BROKEN, "/d (20 MB free)", "make room"),
        ({"places": (Place("data", "/d", 500_000_000),)}, "places", HINT, "/d (0.5 GB free)", "make room"),
        ({"places": (Place("sockets", "/s", 10**10, "it is open"),)}, "places", BROKEN, "sockets: /s", "it is open"),
        ({"places": (Place("configuration", "/c"),)}, "places", OK, "configuration: /c", None),
        ({"socket": "/x" * 60}, "socket", BROKEN, "has 120 bytes, and the system allows 107", "VOICEBOX_RUNTIME_DIR"),
        ({"descriptors": 256}, "limits", BROKEN, "only 256 open files", "ulimit -n 2048"),
        ({"descriptors": 1024}, "limits", HINT, "room for 448 clients", "ulimit -n 2048"),
        ({"daemon": Daemon("absent")}, "daemon", OK, "the next `voicebox say` starts one", None),
        ({"daemon": Daemon("stale")}, "daemon", OK, "left its socket behind", None),
        (
            {"daemon": Daemon("mute", said="no answer within 5 s", pid=99)},
            "daemon",
            BROKEN,
            "one is there (pid 99) and does not answer: no answer within 5 s",
            "kill -9 99",
        ),
        ({"daemon": Daemon("mute", said="gone")}, "daemon", BROKEN, "does not answer: gone", "voicebox daemon logs"),
        (
            {"daemon": Daemon("answers", pid=1, version="0.0.9", uptime_s=1.0)},
            "daemon",
            HINT,
            "version 0.0.9 runs (pid 1), and 0.1.0 is installed",
            "voicebox daemon restart",
        ),
        ({"providers": ()}, "provider", BROKEN, "there is none", "pip install voiceboxd"),
        (
            {"providers": (Provider("p", state="failed", engine="e", reason="no weights"),)},
            "provider",
            BROKEN,
            "p: e is failed: no weights",
            "voicebox provider start p",
        ),
        (
            {"providers": (Provider("p", state="backoff", engine="e", reason="it died"),)},
            "provider",
            HINT,
            "p: e is backoff: it died",
            "voicebox provider logs p",
        ),
        (
            {"providers": (Provider("pytorch-cpu", engine="e", model="m", missing="/gone/python"),)},
            "provider",
            BROKEN,
            "pytorch-cpu: e with m; /gone/python is missing",
            "voicebox provider install pytorch-cpu",
        ),
        (
            {"providers": (Provider("mine", engine="e", missing="/gone"),)},
            "provider",
            BROKEN,
            "/gone is missing",
            "voicebox provider show mine",
        ),
        ({"sound": Sound(trouble="There is none")}, "sound", HINT, "There is none", "-o speech.wav"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(
    changed: dict[str, Any], area: str, level: str, what: str, do: str | None
) -> None:
    facts = but(**changed)
    (found,) = about(area, facts)
    assert found.level == level
    assert what in found.what
    assert (do is None) == (found.do is None)
    assert (do or "") in (found.do or "")
    assert is_well(findings(facts)) == (level != BROKEN)


@pytest.mark.parametrize(
    ("cards", "provider", "expected"),
    [
        (
            Cards((H200,), driver=True),
            None,
            [
                (OK, "NVIDIA H200: 4.5 of 143.0 GB in use, driver 570.86", None),
                (HINT, "no provider uses NVIDIA H200", "voicebox provider install pytorch-cuda"),
            ],
        ),
        (
            Cards((H200, H200), driver=True),
            ON_THE_CARD,
            [(OK, "NVIDIA H200: 4.5 of 143.0 GB in use, driver 570.86; for pytorch-cuda (4.2 GB of it)", None)] * 2,
        ),
        (
            Cards((H200,), driver=True),
            ON_THE_CARD._replace(state="failed", vram=None, reason="no kernel image"),
            [(OK, "NVIDIA H200: 4.5 of 143.0 GB in use, driver 570.86; for pytorch-cuda (failed)", None)],
        ),
        (
            Cards((Card("nvidia", "NVIDIA GB10"),), driver=True),
            ON_THE_CARD._replace(state=None, vram=None, device="cuda"),
            [(OK, "NVIDIA GB10; for pytorch-cuda", None)],
        ),
        (
            Cards((H200,), driver=True),
            Provider("mine", device="auto"),
            [(OK, "NVIDIA H200: 4.5 of 143.0 GB in use, driver 570.86; for mine", None)],
        ),
        (
            Cards((), driver=True),
            None,
            [(HINT, "the NVIDIA driver is loaded and shows no card", "in a container, let it have the card")],
        ),
        (
            Cards((Card("nvidia", "GP102", trouble="its driver is not loaded"),)),
            None,
            [(HINT, "NVIDIA GP102; its driver is not loaded", "until that is mended nothing runs on it")],
        ),
        (
            Cards((Card("nvidia", "NVIDIA H200"),), driver=True, trouble="nvidia-smi gave no answer within 8 s"),
            None,
            [
                (BROKEN, "nvidia-smi gave no answer within 8 s", "restart the machine"),
                (OK, "NVIDIA H200", None),
            ],
        ),
        (
            Cards((Card("amd", "Navi 31", 24_000_000_000, 1_000_000_000), Card("intel", "Arc A770"))),
            None,
            [
                (OK, "AMD Navi 31: 1.0 of 24.0 GB in use; no engine of ours runs on it, they take the processor", None),
                (OK, "Intel Arc A770; no engine of ours runs on it, they take the processor", None),
            ],
        ),
        (
            Cards((Card("apple", "Apple M2", 16_000_000_000),)),
            None,
            [
                (OK, "Apple M2: 16.0 GB of memory", None),
                (HINT, "no provider uses Apple M2", "voicebox provider install mlx"),
            ],
        ),
        (
            Cards((Card("apple", "Apple M2", 16_000_000_000),)),
            Provider("mlx", state="ready", engine="qwen3-tts", device="gpu"),
            [(OK, "Apple M2: 16.0 GB of memory; for mlx", None)],
        ),
        (
            Cards((Card("apple", "Apple M2", 16_000_000_000),)),
            Provider("mlx", state="stopped", engine="qwen3-tts"),
            [(OK, "Apple M2: 16.0 GB of memory; for mlx", None)],
        ),
        (
            Cards((Card("apple", "Apple M2", 16_000_000_000),)),
            Provider("mlx", state="stopped", engine="qwen3-tts", device="cpu"),
            [
                (OK, "Apple M2: 16.0 GB of memory", None),
                (HINT, "no provider uses Apple M2", "voicebox provider install mlx"),
            ],
        ),
    ],
)
def test_cards_are_told_with_who_uses_them_and_an_unused_one_with_who_would(
    cards: Cards, provider: Provider | None, expected: list[tuple[str, str, str | None]]
) -> None:
    facts = but(cards=cards, providers=WELL.providers + ((provider,) if provider else ()))
    found = about("device", facts)
    assert [(each.level, each.what) for each in found] == [(level, what) for level, what, _ in expected]
    for each, (_, _, do) in zip(found, expected, strict=True):
        assert (each.do or "").startswith(do or "")
        assert (each.do is None) == (do is None)


def test_what_others_say_cannot_steer_a_terminal() -> None:
    failed = Provider("p", state="failed", engine="e\x1b[2J", reason="\x07\nno")
    assert all(line.isprintable() for line in lines(findings(but(providers=(failed,)))))


def test_the_sum_counts_what_is_broken_and_what_could_be_better() -> None:
    facts = but(descriptors=256, sound=Sound(trouble="none"), daemon=Daemon("mute", said="no"))
    assert lines(findings(facts))[-1] == "2 broken, hints: 1"
