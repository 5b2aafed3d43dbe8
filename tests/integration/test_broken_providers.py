"""Engines that crash, hang and lie: the request still ends once, and honestly."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.daemon import Daemon, eventually, running
from tests.integration.wire_client import Ending, WireClient

FAKE = """
[provider.builtin]
enabled = false

[provider.fake]
engine = "voicebox_provider.testing:FakeEngine"
{extra}
settings = {{ {settings} }}
"""

LONG = "[[slow:20]]" + "A sentence that takes a while to say in full"


def fake(settings: str = "", extra: str = "") -> str:
    return FAKE.format(settings=settings, extra=extra)


def speak(daemon: Daemon, text: str, **fields: Any) -> Ending:
    with WireClient(daemon.place) as client:
        return client.speak(text, **fields)


@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_crash_in_mid_sentence_is_resumed_to_the_sample(tmp_path: Path, after: int) -> None:
    with running(fake(f'fault_once = "{tmp_path}/flag"')) as daemon:
        text = f"{LONG}[[crash:{after}]]. And a second sentence."
        broken = speak(daemon, text, seed=11)
        whole = speak(daemon, text, seed=11)
        assert broken.samples == whole.samples
        assert (broken.end["kind"], broken.end.get("resumed")) == ("Done", "exact")
        assert [run["outcome"] for run in broken.end["attempts"]] == ["failed", "done"]
        # The notice of its death may come before the kernel says of what, where other threads still wait for a processor.
        assert broken.end["attempts"][0]["reason"] in ("fake: it was killed by SIGKILL", "fake: its process died")
        assert whole.end.get("resumed") is None


def test_the_real_voice_killed_in_mid_text_goes_on_exactly(daemon: Daemon) -> None:
    text = "The tide was out, and the harbour lay quiet. " * 12
    with WireClient(daemon.place) as client:
        whole = client.speak(text, seed=4)
        req = client.say(text, seed=4)
        ending = Ending()
        killed = False
        while not ending.messages or ending.end["kind"] not in ("Done", "Failed"):
            message, payload = client.receive()
            ending.take(message, payload)
            if message["kind"] == "Chunk":
                last = message["seq"] + len(message["descriptors"]) - 1
                client.send("Credit", boot=client.boot, req=req, first=message["seq"], last=last)
            if message["kind"] == "Chunk" and not killed:
                for provider in daemon.place.providers():
                    provider.send_signal(signal.SIGKILL)
                killed = True
        assert message["req"] == req
        assert ending.end["kind"] == "Done"
        assert len(ending.end["attempts"]) == 2
        assert ending.samples == whole.samples


def test_nothing_broke_for_the_listener_if_nothing_of_the_segment_was_delivered(tmp_path: Path) -> None:
    with running(fake(f'fault_once = "{tmp_path}/flag"')) as daemon:
        ending = speak(daemon, "Hello.[[crash:0]]", seed=1)
        assert (ending.end["kind"], ending.end.get("resumed")) == ("Done", None)
        assert len(ending.end["attempts"]) == 2


@pytest.mark.parametrize(
    ("policy", "kind", "resumed"), [("segment", "Done", "segment"), ("next", "Done", "next"), (None, "Done", "next")]
)
def test_what_cannot_be_exact_follows_the_request(tmp_path: Path, policy: str | None, kind: str, resumed: str) -> None:
    with running(fake(f'deterministic = false, fault_once = "{tmp_path}/flag"')) as daemon:
        ending = speak(daemon, f"{LONG}[[crash:3]]. And a second sentence.", on_failure=policy)
        assert (ending.end["kind"], ending.end.get("resumed")) == (kind, resumed)
        assert ("Reset" in ending.kinds) == (policy == "segment")
        assert len(ending.samples) == 4 * ending.end["frames"]
        assert ending.end["segments"] == (2 if policy == "segment" else 1)


def test_fail_means_fail(tmp_path: Path) -> None:
    with running(fake(f'deterministic = false, fault_once = "{tmp_path}/flag"')) as daemon:
        ending = speak(daemon, f"{LONG}[[crash:3]].", on_failure="fail")
        assert (ending.end["kind"], ending.end["code"]) == ("Failed", "PROVIDER_FAILED")


def test_poison_fails_its_request_and_nobody_else() -> None:
    with running(fake()) as daemon:
        poison = speak(daemon, "This kills it.[[crash:0]]")
        assert (poison.end["kind"], poison.end["code"]) == ("Failed", "PROVIDER_FAILED")
        assert [run["outcome"] for run in poison.end["attempts"]] == ["failed", "failed"]
        assert speak(daemon, "This does not.").end["kind"] == "Done"


def test_a_failing_segment_leaves_the_provider_alive() -> None:
    with running(fake(extra='standby = "none"')) as daemon:
        assert speak(daemon, "Good.").end["kind"] == "Done"
        (before,) = daemon.place.providers()
        assert speak(daemon, "Bad.[[fail:0]]").end["code"] == "PROVIDER_FAILED"
        assert speak(daemon, "Good again.").end["kind"] == "Done"
        assert daemon.place.providers() == [before]


@pytest.mark.parametrize(("marker", "code"), [("[[silent]]", "UNSPEAKABLE"), ("[[nan]]", "PROVIDER_FAILED")])
def test_an_engine_that_gives_no_sound_or_no_numbers_is_found_out(marker: str, code: str) -> None:
    with running(fake()) as daemon:
        assert speak(daemon, f"Words.{marker}").end["code"] == code


def test_an_engine_that_hangs_is_killed_and_the_speech_goes_on(tmp_path: Path) -> None:
    with running(fake(f'fault_once = "{tmp_path}/flag"', "progress_s = 1")) as daemon:
        ending = speak(daemon, "Hello.[[hang]]", seed=1)
        assert (ending.end["kind"], len(ending.end["attempts"])) == ("Done", 2)
        assert "progress" in ending.end["attempts"][0]["reason"]


def test_a_stopped_provider_is_found_out_by_its_silence() -> None:
    with running(fake(extra="silence_s = 4")) as daemon:
        assert speak(daemon, "Warm.").end["kind"] == "Done"
        (provider,) = daemon.place.providers()
        provider.send_signal(signal.SIGSTOP)
        ending = speak(daemon, "Hello.")
        assert (ending.end["kind"], len(ending.end["attempts"])) == ("Done", 2)
        assert "sign of life" in ending.end["attempts"][0]["reason"]


def test_more_voices_than_one_answer_holds_is_an_error_that_says_what_to_do() -> None:
    names = ", ".join(f'"a-voice-with-a-long-name-{number}"' for number in range(580))
    with running(fake(f"voices = [{names}]")) as daemon, WireClient(daemon.place) as client:
        client.send("Voices", query=1)
        reply, _ = client.receive()
        assert (reply["kind"], reply.get("code")) == ("Error", "BAD_REQUEST")
        assert "one provider" in reply["message"]
        assert client.speak("Hello.").end["kind"] == "Done"


def test_an_engine_that_never_finds_its_end_is_found_out() -> None:
    with running(fake("ms_per_char = 20000")) as daemon:
        end = speak(daemon, "Hello there.").end
        assert end["code"] == "PROVIDER_FAILED"
        assert "characters" in end["message"]


def test_an_engine_that_hangs_while_loading_is_quarantined_and_the_request_ends() -> None:
    with running(fake("load_ms = 60000", "load_s = 0.2")) as daemon:
        end = speak(daemon, "Hello.").end
        assert end["code"] == "PROVIDER_FAILED"
        assert daemon.status()["providers"][0]["state"] == "quarantined"


def test_a_request_that_is_cancelled_in_mid_sentence_frees_the_provider() -> None:
    with running(fake()) as daemon, WireClient(daemon.place) as client:
        req = client.say("[[slow:50]]" + "A very long sentence " * 15)
        eventually(lambda: client.receive()[0]["kind"] == "Chunk", "the first sound")
        client.send("Cancel", boot=client.boot, req=req)
        assert client.until_end(req).end["kind"] == "Cancelled"
        assert client.speak("Hello.").end["kind"] == "Done"
        assert daemon.status()["providers"][0]["restarts"] == 0


def test_an_engine_that_does_not_stop_when_told_is_killed() -> None:
    with running(fake(extra="cancel_s = 1")) as daemon, WireClient(daemon.place) as client:
        req = client.say("[[sleep:30000]]Hello.")
        eventually(lambda: daemon.status()["providers"][0]["state"] == "busy", "it works")
        client.send("Cancel", boot=client.boot, req=req)
        assert client.until_end(req).end["kind"] == "Cancelled"
        assert client.speak("Next.").end["kind"] == "Done"


def test_a_deadline_ends_a_request_that_is_being_spoken() -> None:
    with running(fake()) as daemon, WireClient(daemon.place) as client:
        assert client.speak("Warm.").end["kind"] == "Done"
        end = client.speak("[[slow:100]]" + "A very long sentence " * 15, deadline_ms=700).end
        assert (end["kind"], end["code"]) == ("Failed", "DEADLINE")
        assert end["frames"] > 0


def test_what_no_restart_mends_is_not_restarted() -> None:
    with running(fake("fail_load = true, fault_permanent = true")) as daemon:
        end = speak(daemon, "Hello.").end
        assert end["code"] == "PROVIDER_FAILED"
        assert "as the setting says" in end["message"]
        status = daemon.status()["providers"][0]
        assert (status["state"], status["restarts"]) == ("failed", 0)
        assert "as the setting says" in speak(daemon, "Hello.").end["message"]


def test_an_engine_that_cannot_even_be_found_says_so() -> None:
    with running('[provider.builtin]\nenabled = false\n[provider.lost]\nengine = "no_such_module:Engine"\n') as daemon:
        end = speak(daemon, "Hello.").end
        assert end["code"] == "PROVIDER_FAILED"
        assert "no_such_module" in end["message"]


def test_a_program_that_is_no_provider_is_quarantined_with_its_last_words() -> None:
    config = (
        '[provider.builtin]\nenabled = false\n[provider.sh]\ncommand = ["sh", "-c", "echo wrong door >&2; exit 3"]\n'
    )
    with running(config) as daemon:
        end = speak(daemon, "Hello.").end
        assert end["code"] == "PROVIDER_FAILED"
        assert "wrong door" in end["message"]
        status = daemon.status()["providers"][0]
        assert (status["state"], status["restarts"]) == ("quarantined", 4)
        assert status["log_tail"][-1] == "wrong door"
        assert 500 < status["retry_in_s"] <= 600


def test_a_crash_while_loading_is_tried_again(tmp_path: Path) -> None:
    with running(fake(f'faults = ["sigkill@loading"], fault_once = "{tmp_path}/flag"')) as daemon:
        assert speak(daemon, "Hello.").end["kind"] == "Done"
        assert daemon.status()["providers"][0]["restarts"] == 1


def test_an_idle_provider_that_is_killed_is_there_for_the_next_request(daemon: Daemon) -> None:
    with WireClient(daemon.place) as client:
        assert client.speak("Hello.").end["kind"] == "Done"
        (provider,) = daemon.place.providers()
        provider.kill()
        eventually(lambda: not psutil.pid_exists(provider.pid), "it is gone and reaped")
        end = client.speak("Hello again.").end
        assert (end["kind"], len(end["attempts"])) == ("Done", 1)


def test_a_client_that_reads_nothing_holds_up_nobody() -> None:
    with (
        running(fake("ms_per_char = 100")) as daemon,
        WireClient(daemon.place) as lazy,
        WireClient(daemon.place) as brisk,
    ):
        lazy.say("A sentence of the lazy one that is never read by anybody. " * 40)
        assert brisk.speak("One. Two. Three.").end["kind"] == "Done"
        # Its window is full: 30 s of sound, and not one segment more.
        window = eventually(lambda: _provider_rests(daemon), "the lazy one's window is full")
        assert window["requests"]["queued"] == 1


def test_who_waits_for_memory_goes_on_when_somebody_gives_some_back() -> None:
    config = fake("ms_per_char = 100") + "[daemon]\naudio_memory_mb = 0.1\n"
    with running(config) as daemon, WireClient(daemon.place) as holder, WireClient(daemon.place) as other:
        held = holder.say("A sentence that fills it.")
        while holder.receive()[0]["kind"] != "Done":
            pass
        waiting = other.say("The next one.")
        while other.receive()[0]["kind"] != "Accepted":
            pass
        assert other.silent(), "there is no memory for it"
        holder.send("Credit", boot=holder.boot, req=held, first=0, last=1000)
        assert other.until_end(waiting).end["kind"] == "Done"


def _provider_rests(daemon: Daemon) -> dict[str, Any] | None:
    status = daemon.status()
    return status if status["providers"][0]["state"] == "ready" else None
