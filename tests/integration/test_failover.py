"""A voice that cannot speak: who goes on is what the user wrote down, the client is told, and a mended one comes back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import Daemon, eventually, running
from tests.integration.test_broken_providers import LONG, speak
from tests.integration.wire_client import Ending

TWO = """
[provider.builtin]
enabled = false

[provider.first]
engine = "{engine}"
restart_base_s = 0.01
restart_budget = 2
{extra}
settings = {{ {first} }}

[provider.second]
engine = "voicebox_provider.testing:FakeEngine"
settings = {{ {second} }}

{order}
"""
FAKE = "voicebox_provider.testing:FakeEngine"
ORDER = '[order]\ndefault = ["first/tone", "second/carl"]\n'

WHOLE = "from voicebox_provider.testing import FakeEngine\n\n\nclass Mine(FakeEngine):\n    pass\n"
DIES = "import os\n\nos._exit(3)\n"


def two(
    first: str = "",
    second: str = "",
    order: str = ORDER,
    engine: object = FAKE,
    extra: str = "",
    voices: str = 'voices = ["carl"]',
) -> str:
    """A configuration with two providers; `extra` is the first one's."""
    settings = ", ".join([voices, second] if second else [voices])
    return TWO.format(engine=engine, first=first, second=settings, order=order, extra=extra)


def notices(ending: Ending) -> list[str]:
    return [message["message"] for message in ending.messages if message.get("code") == "FAILOVER"]


def speakers(ending: Ending) -> list[tuple[str, str, str]]:
    return [(run["provider"], run["voice"], run["outcome"]) for run in ending.end["attempts"]]


def state_of(daemon: Daemon, provider: str) -> str:
    return next(str(each["state"]) for each in daemon.status()["providers"] if each["id"] == provider)


# --- a provider that cannot be started


def test_one_that_cannot_be_loaded_is_replaced_and_comes_back_once_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DIES)
    with running(two(engine=file, extra="quarantine_s = 3")) as daemon:
        first = speak(daemon, "Hello there.")
        assert (first.end["kind"], first.end["provider"], first.end["voice"]) == ("Done", "second", "carl")
        assert speakers(first) == [("second", "carl", "done")]
        (told,) = notices(first)
        assert told.startswith("first is quarantined (")
        assert told.endswith("; second/carl speaks")
        file.write_text(WHOLE)
        assert speak(daemon, "Hello again.").end["provider"] == "second", "it is left alone for a while"
        eventually(lambda: state_of(daemon, "first") == "stopped", "its rest is over")
        back = speak(daemon, "And again.")
        assert (back.end["provider"], notices(back)) == ("first", [])


def test_one_that_is_not_mended_is_quarantined_again_and_costs_nobody_a_request(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DIES)
    with running(two(engine=file, extra="quarantine_s = 0.5")) as daemon:
        for _ in range(2):
            ending = speak(daemon, "Hello there.")
            assert (ending.end["kind"], ending.end["provider"]) == ("Done", "second")
            assert len(notices(ending)) == 1
            eventually(lambda: state_of(daemon, "first") == "stopped", "its rest is over")


def test_one_that_breaks_while_it_loads_hands_on_what_waited_for_it() -> None:
    with running(two("fail_load = true")) as daemon:
        ending = speak(daemon, "Hello there. And a second sentence.", on_failure="fail")
        accepted = next(message for message in ending.messages if message["kind"] == "Accepted")
        assert accepted["provider"] == "first", "it said what it can do before it failed"
        assert (ending.end["kind"], ending.end["provider"], ending.end.get("resumed")) == ("Done", "second", None)
        (told,) = notices(ending)
        assert "as the setting says" in told
        assert told.endswith("; second/carl goes on")


def test_the_rate_that_was_promised_stays() -> None:
    with running(two("fail_load = true, sample_rate = 16000", "sample_rate = 24000")) as daemon:
        ending = speak(daemon, "Hello there.")
        assert (ending.end["provider"], ending.end["sample_rate"]) == ("second", 16000)
        assert ending.end["frames"] == pytest.approx(16000 * 0.02 * len("Hello there."), abs=320)


@pytest.mark.parametrize("named", [{"voice": "tone"}, {"voice": "first/tone"}, {"provider": "first"}], ids=str)
def test_a_voice_that_was_named_is_not_swapped_without_a_chain(named: dict[str, Any]) -> None:
    with running(two("fail_load = true, fault_permanent = true", order="")) as daemon:
        for _ in range(2):
            ending = speak(daemon, "Hello there.", **named)
            assert (ending.end["kind"], ending.end["code"]) == ("Failed", "PROVIDER_FAILED")
            assert "as the setting says" in ending.end["message"]
            assert "second" not in ending.end["message"]
        assert speak(daemon, "Hello there.", any_voice=True, **named).end["provider"] == "second"


def test_a_voice_that_was_named_is_followed_by_its_chain() -> None:
    order = '[order.voice]\n"first/tone" = ["first/tone", "gone/eve", "second/carl"]\n'
    with running(two("fail_load = true, fault_permanent = true", order=order)) as daemon:
        for _ in range(2):
            ending = speak(daemon, "Hello there.", voice="first/tone")
            assert (ending.end["kind"], ending.end["provider"]) == ("Done", "second")
            assert "no provider is called 'gone'" in notices(ending)[0]


def test_all_that_was_tried_is_named_when_nobody_is_left() -> None:
    broken = "fail_load = true, fault_permanent = true"
    with running(two(broken, broken)) as daemon:
        message = speak(daemon, "Hello there.", provider="first").end["message"]
        assert "first has failed (as the setting says)" in message
        assert "second has failed (as the setting says)" in message


# --- a segment that one cannot speak


def test_a_poisonous_segment_is_spoken_by_the_next_and_so_is_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WHOLE.replace("    pass\n", ALLERGIC))
    with running(two(engine=file)) as daemon:
        ending = speak(daemon, "A good one. A POISON one. And another good one.", on_failure="segment")
        assert ending.end["kind"] == "Done"
        assert [speaker[0] for speaker in speakers(ending)] == ["first", "first", "second"]
        assert [speaker[2] for speaker in speakers(ending)] == ["failed", "failed", "done"]
        assert "failed 2 times at the same place: first" in notices(ending)[0]
        assert ending.end["segments"] == 3
        assert speak(daemon, "Another request.").end["provider"] == "first"


ALLERGIC = """\
    def synthesize(self, utterance):
        if "POISON" in utterance.text:
            import os

            os._exit(3)
        yield from super().synthesize(utterance)
"""


def test_words_that_the_first_cannot_read_are_spoken_by_the_second() -> None:
    with running(two(second='scripts = ["Cyrl", "Latn"]')) as daemon:
        ending = speak(daemon, "Hello. Привет. And goodbye.", on_failure="fail")
        assert ending.end["kind"] == "Done"
        assert speakers(ending) == [("first", "tone", "done"), ("second", "carl", "done")]
        assert "cannot read “Привет”" in notices(ending)[0]
    with running(two()) as daemon:
        end = speak(daemon, "Hello. Привет.").end
        assert (end["code"], end["frames"] > 0) == ("UNSPEAKABLE", True)
        assert "second/carl cannot read “Привет”" in end["message"]


def test_what_an_engine_gives_no_sound_for_is_spoken_by_the_second(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WHOLE.replace("    pass\n", "    def synthesize(self, utterance):\n        return iter(())\n"))
    with running(two(engine=file)) as daemon:
        ending = speak(daemon, "Words.")
        assert (ending.end["kind"], ending.end["provider"]) == ("Done", "second")
        assert "“Words.”" in notices(ending)[0]


# --- a segment of which the client has a part


@pytest.mark.parametrize("policy", ["segment", "next", "fail"])
def test_what_another_voice_cannot_continue_follows_the_request(policy: str) -> None:
    with running(two(second='fingerprint = "other", fault_once = "/dev/null"')) as daemon:
        ending = speak(daemon, f"{LONG}[[crash:3]]. And a second sentence.", on_failure=policy)
        if policy == "fail":
            assert (ending.end["kind"], ending.end["provider"], notices(ending)) == ("Failed", "first", [])
            return
        assert (ending.end["kind"], ending.end["resumed"], ending.end["provider"]) == ("Done", policy, "second")
        assert ("Reset" in ending.kinds) == (policy == "segment")
        assert ending.end["segments"] == (2 if policy == "segment" else 1)
        assert len(ending.samples) == 4 * ending.end["frames"]
        assert len(notices(ending)) == 1


def test_the_very_voice_of_another_provider_goes_on_to_the_sample() -> None:
    """Both have the same engine and voice; no chain is needed."""
    with running(two(second='fault_once = "/dev/null"', order="", voices='voices = ["tone"]')) as daemon:
        text = f"{LONG}[[crash:3]]. And a second sentence."
        assert speak(daemon, "It has that voice.", provider="first").end["kind"] == "Done"
        broken = speak(daemon, text, seed=11, voice="tone")
        whole = speak(daemon, text, seed=11, provider="second")
        assert (broken.end["kind"], broken.end["resumed"], broken.end["provider"]) == ("Done", "exact", "second")
        assert broken.samples == whole.samples
        assert "Reset" not in broken.kinds


def test_a_provider_that_comes_back_as_another_version_is_not_continued_exactly(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WHOLE.replace("    pass\n", CHANGING.format(flag=tmp_path / "flag")))
    with running(two(f'fault_once = "{tmp_path}/flag"', engine=file, extra='standby = "none"')) as daemon:
        ending = speak(daemon, f"{LONG}[[crash:3]]. And a second sentence.", on_failure="segment")
        assert (ending.end["kind"], ending.end["resumed"], ending.end["provider"]) == ("Done", "segment", "first")
        assert ending.kinds.count("Reset") == 1


CHANGING = """\
    def capabilities(self):
        from pathlib import Path

        able = super().capabilities()
        able.fingerprint = "new" if Path("{flag}").exists() else "old"
        return able
"""


# --- what costs money


def test_what_costs_money_is_asked_once_for_a_segment_and_only_if_it_is_named(tmp_path: Path) -> None:
    file, asked = tmp_path / "mine.py", tmp_path / "asked"
    file.write_text(WHOLE.replace("    pass\n", COUNTING.format(asked=asked)))
    with running(two("metered = true", engine=file)) as daemon:
        ending = speak(daemon, "Hello there.[[crash:0]]", voice="first/tone")
        assert ending.end["code"] == "PROVIDER_FAILED", "it kills the second too"
        assert [speaker[0] for speaker in speakers(ending)] == ["first", "second", "second"]
        assert asked.read_text() == "x"
    with running(two("metered = true", order="")) as daemon:
        assert speak(daemon, "Hello.").end["provider"] == "second"
        end = speak(daemon, "This kills it.[[crash:0]]", any_voice=True).end
        assert end["code"] == "PROVIDER_FAILED"
        assert "first" not in end["message"]


COUNTING = """\
    def synthesize(self, utterance):
        with open("{asked}", "a") as file:
            file.write("x")
        yield from super().synthesize(utterance)
"""


# --- the command


def test_the_command_says_who_speaks_in_whose_place() -> None:
    with running(two("fail_load = true, fault_permanent = true")) as daemon:
        file = daemon.place.root / "x.wav"
        done = daemon.place.voicebox("say", "Hello there.", "-o", str(file))
        told = "voicebox: first has failed (as the setting says); second/carl goes on\n"
        assert (done.returncode, done.stderr) == (0, told)
        done = daemon.place.voicebox("say", "Hello there.", "-o", str(file), "--json")
        assert (done.returncode, done.stderr) == (0, told.replace("goes on", "speaks"))
        said = json.loads(done.stdout)
        assert (said["provider"], said["voice"]) == ("second", "carl")
        assert said["attempts"] == [{"provider": "second", "voice": "carl", "outcome": "done", "reason": None}]


def test_an_order_is_written_down_and_followed_after_a_restart() -> None:
    with running(two("fail_load = true, fault_permanent = true", order="")) as daemon:
        done = daemon.place.voicebox("provider", "order", "first/tone", "second/carl")
        assert (done.returncode, done.stderr) == (0, "")
        assert "`voicebox daemon restart`" in done.stdout
        assert 'default = ["first/tone", "second/carl"]' in (daemon.place.root / "config.toml").read_text()
        began = time.monotonic()
        refused = daemon.place.voicebox("provider", "order", "first/tone", "second/karl")
        assert (refused.returncode, time.monotonic() - began < 10) == (4, True)
        assert "did you mean 'second/carl'" in refused.stderr
