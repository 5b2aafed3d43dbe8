"""The daemon as a stranger meets it, who has read docs/protocol.md and nothing else."""

from __future__ import annotations

import secrets
import socket
import zlib
from typing import Any

import msgpack
import pytest

from tests.integration.daemon import Daemon, eventually, running
from tests.integration.wire_client import Ending, WireClient
from voicebox_protocol import wire


def test_speaks(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        ending = client.speak("Hello there. This is the second sentence.", seed=7)
        assert ending.end["kind"] == "Done"
        assert ending.end["frames"] * 4 == len(ending.samples) > 24000 * 4
        assert ending.end["segments"] == 2
        assert ending.end["delivered_chars"] == 41
        assert ending.end["seed"] == 7
        (attempt,) = ending.end["attempts"]
        assert attempt == {"provider": "builtin", "voice": "heart", "epoch": 1, "outcome": "done", "reason": None}
        assert ending.kinds[ending.kinds.index("Accepted") :].count("Accepted") == 1


def test_every_piece_has_its_crc_and_its_place(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        req = client.say("One sentence. And one more, which is somewhat longer than the first one was.", seed=1)
        due, first = 0, True
        while True:
            message, payload = client.receive()
            if message["kind"] == "Done":
                break
            if message["kind"] != "Chunk":
                continue
            assert message["req"] == req
            assert message["seq"] == due
            for _, offset, frames, crc in message["descriptors"]:
                assert zlib.crc32(payload[offset : offset + 4 * frames]) == crc
                assert frames <= (2400 if first else 12000)
                first = False
            due += len(message["descriptors"])


def test_equal_seeds_give_equal_samples_and_others_do_not(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        text = "The quick brown fox jumps over the lazy dog."
        one, same, other = (client.speak(text, seed=seed).samples for seed in (5, 5, 6))
        assert one == same != other


def test_a_text_in_pieces_is_spoken_as_one_in_whole(shared: Daemon) -> None:
    text = "Call me Ishmael. Some years ago, never mind how long precisely, I had little money. Dr. Smith knew."
    with WireClient(shared.place) as client:
        whole = client.speak(text, seed=3)
        req = client.say("Call me Ish", seed=3, more=True)
        for start in range(11, len(text), 7):
            client.send("Text", text[start : start + 7].encode(), boot=client.boot, req=req)
        client.send("Text", b"", boot=client.boot, req=req, last=True)
        pieces = client.until_end(req)
        assert pieces.samples == whole.samples
        assert pieces.end["delivered_chars"] == len(text)


def test_endless_text_flows_within_its_window(shared: Daemon) -> None:
    sentence = b"Nothing much happened on this day. "
    with WireClient(shared.place) as client:
        req = client.say("", more=True)
        allowed, sent, chars = client.welcome["limits"]["text_window"], 0, 0
        while sent < wire.TEXT_WINDOW * 5 // 4:
            while sent + len(sentence) > allowed:
                message, _ = client.receive()
                if message["kind"] == "TextCredit":
                    allowed = message["upto"]
                elif message["kind"] == "Chunk":
                    chars = message["char_end"]
                    last = message["seq"] + len(message["descriptors"]) - 1
                    client.send("Credit", boot=client.boot, req=req, first=message["seq"], last=last)
            client.send("Text", sentence, boot=client.boot, req=req)
            sent += len(sentence)
        assert 0 < chars < sent
        client.send("Cancel", boot=client.boot, req=req)
        assert client.until_end(req).end["kind"] == "Cancelled"


def test_more_text_than_the_window_allows_is_refused(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        # One character after another without a stop: nothing can be cut, so nothing is consumed.
        req = client.say("a" * 60_000, more=True)
        client.send("Text", b"b" * 6_000, boot=client.boot, req=req)
        end = client.until_end(req).end
        assert (end["kind"], end["code"]) == ("Failed", "BAD_REQUEST")


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"voice": "hart"}, "NO_SUCH_VOICE", "'heart'"),
        ({"provider": "bultin"}, "NO_SUCH_PROVIDER", "'builtin'"),
        ({"language": "de"}, "NO_SUCH_LANGUAGE", "en-US"),
        ({"speed": 9.0}, "BAD_REQUEST", "speed is 9"),
        ({"speed": 0.0}, "BAD_REQUEST", "speed is 0"),
        ({"volume": 9.0}, "BAD_REQUEST", "0 to 2"),
        ({"instruct": "angrily"}, "BAD_OPTION", "instruct"),
        ({"model": "large"}, "BAD_OPTION", "model"),
        ({"options": {"temperature": 1}}, "BAD_OPTION", "temperature"),
        ({"sample_rate": 5}, "BAD_REQUEST", "8000"),
        ({"priority": "urgent"}, "BAD_REQUEST", "important"),
        ({"on_failure": "shrug"}, "BAD_REQUEST", "segment"),
        ({"sink": "moon"}, "BAD_REQUEST", "speaker"),
    ],
)
def test_what_cannot_be_honoured_is_refused(shared: Daemon, fields: dict[str, object], code: str, says: str) -> None:
    with WireClient(shared.place) as client:
        end = client.speak("Hello.", **fields).end
        assert (end["kind"], end["code"]) == ("Failed", code)
        assert says in end["message"]
        assert end["frames"] == 0


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "NOTHING_TO_SAY", "letter"),
        (" \n ", "NOTHING_TO_SAY", "letter"),
        ("…!? 🎉", "NOTHING_TO_SAY", "letter"),
        ("This is привет in the middle.", "UNSPEAKABLE", "привет"),
        ("你好，世界。", "UNSPEAKABLE", "你好"),
    ],
)
def test_text_that_cannot_be_spoken_is_an_error_that_says_why(shared: Daemon, text: str, code: str, says: str) -> None:
    with WireClient(shared.place) as client:
        end = client.speak(text).end
        assert (end["kind"], end["code"]) == ("Failed", code)
        assert says in end["message"]


def test_a_streamed_text_with_nothing_to_say_fails_at_its_end(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        req = client.say("...", more=True)
        client.send("Text", "🎉".encode(), boot=client.boot, req=req, last=True)
        assert client.until_end(req).end["code"] == "NOTHING_TO_SAY"


def test_text_that_is_no_utf8_is_refused_with_the_place(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        req = secrets.token_hex(8)
        client.send("Say", b"abc\xff", boot=client.boot, req=req)
        end = client.until_end(req).end
        assert end["code"] == "INVALID_TEXT"
        assert "byte 3" in end["message"]


def test_two_mebibytes_in_one_message_are_too_long(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        assert client.speak("word " * 400_000).end["code"] == "TEXT_TOO_LONG"
        assert client.speak("And the next one works.").end["kind"] == "Done"


def test_another_rate_is_what_was_asked_for(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        text = "The quick brown fox jumps over the lazy dog."
        own, other = client.speak(text, seed=1).end, client.speak(text, seed=1, sample_rate=16000).end
        assert (own["sample_rate"], other["sample_rate"]) == (24000, 16000)
        assert abs(own["frames"] / 24000 - other["frames"] / 16000) < 0.01


def test_nothing_is_read_before_hello(shared: Daemon) -> None:
    with WireClient(shared.place, hello=False) as client:
        client.send("Status", query=4)
        reply, _ = client.receive()
        assert (reply["kind"], reply["code"], reply["query"]) == ("Error", "HELLO_FIRST", 4)


def test_no_common_version_says_what_to_do(shared: Daemon) -> None:
    with WireClient(shared.place, hello=False) as client:
        reply = client.hello(proto_min=7, proto_max=9)
        assert reply["code"] == "INCOMPATIBLE"
        assert "voicebox daemon restart" in reply["message"]
        assert client.hello(proto_min=1, proto_max=9)["proto"] == 1


def test_speech_needs_an_open_session_door(shared: Daemon) -> None:
    with WireClient(shared.place, attach=False) as client:
        assert client.speak("Hello.").end["code"] == "HELLO_FIRST"


def test_a_wrong_token_closes_the_session_door(shared: Daemon) -> None:
    with shared.place.transport().connect_session(5.0) as door:
        door.sendall(b"00000000000000000000000000000000\n")
        assert door.recv(16) == b""


def test_a_request_id_is_used_once(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        req = client.say("Hello there.")
        assert client.until_end(req).end["kind"] == "Done"
        client.send("Say", b"Again.", boot=client.boot, req=req)
        assert client.until_end(req).end["code"] == "DUPLICATE_REQUEST"


def test_what_belongs_to_another_life_of_the_daemon_is_dropped_and_counted(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        client.send("Say", b"Hello.", boot="0123456789abcdef", req="stale")
        assert client.silent()
        client.send("Status", query=1)
        assert client.receive()[0]["status"]["dropped"]["stale boot"] >= 1


def test_another_clients_request_cannot_be_touched(shared: Daemon) -> None:
    with WireClient(shared.place) as owner, WireClient(shared.place) as thief:
        req = owner.say("", more=True)
        for kind in ("Cancel", "EndAck"):
            thief.send(kind, boot=thief.boot, req=req)
        thief.send("Text", b"Stolen.", boot=thief.boot, req=req, last=True)
        thief.send("Credit", boot=thief.boot, req=req, first=0, last=9)
        thief.send("Status", query=1)
        assert thief.receive()[0]["kind"] == "StatusReply"
        owner.send("Text", b"Mine.", boot=owner.boot, req=req, last=True)
        end = owner.until_end(req).end
        assert (end["kind"], end["delivered_chars"]) == ("Done", 5)


# A line that ends with a stop is spoken at once.
TWO = ("This one is mine.\n", "And so is this.")


class Owner:
    """A client whose request has spoken its first sentence and waits for the rest of its text."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.whole = client.speak("".join(TWO), seed=2)
        self.req = client.say(TWO[0], seed=2, more=True)
        self._heard = Ending()
        while "Chunk" not in self._heard.kinds:
            self._heard.take(*client.receive())

    def ends_as_if_nothing_had_happened(self) -> None:
        self.client.send("Text", TWO[1].encode(), boot=self.client.boot, req=self.req, last=True)
        ending = self.client.until_end(self.req)
        assert (ending.end["kind"], ending.end["delivered_chars"]) == ("Done", len("".join(TWO)))
        assert ending.end["attempts"] == self.whole.end["attempts"]
        assert self._heard.samples + ending.samples == self.whole.samples
        assert self.client.silent(), "nothing comes after the end"


def test_a_live_requests_id_is_refused_to_another_client_and_its_owner_is_told_nothing(shared: Daemon) -> None:
    with WireClient(shared.place) as client, WireClient(shared.place) as thief:
        owner = Owner(client)
        for text, code in ((b"Mine now.", "DUPLICATE_REQUEST"), (b"\xff", "INVALID_TEXT")):
            thief.send("Say", text, boot=thief.boot, req=owner.req)
            end = thief.until_end(owner.req).end
            assert (end["kind"], end["code"], end["frames"]) == ("Failed", code, 0)
        thief.send("Text", b"\xff", boot=thief.boot, req=owner.req)
        owner.ends_as_if_nothing_had_happened()
        assert thief.silent()


def test_forged_names_open_nothing(shared: Daemon) -> None:
    """A boot, a session, an epoch, a request: whoever names another's has its message dropped, or is taken for himself."""
    with WireClient(shared.place) as client, WireClient(shared.place) as thief:
        owner = Owner(client)
        before = shared.status()["dropped"].get("stale boot", 0)
        theirs: dict[str, Any] = {"session": client.welcome["session"], "epoch": 1, "attempt": 1, "segment": 0}
        for boot in ("0" * 16, thief.boot):
            for req in (owner.req, "nobodys"):
                thief.send("Cancel", boot=boot, req=req, **theirs)
                thief.send("Credit", boot=boot, req=req, first=0, last=2**64 - 1, **theirs)
                thief.send("Text", b" Stolen.", boot=boot, req=req, last=True, **theirs)
                thief.send("EndAck", boot=boot, req=req, **theirs)
        assert shared.status()["dropped"]["stale boot"] == before + 8
        assert thief.silent()
        owner.ends_as_if_nothing_had_happened()


FROM_PROVIDERS = {kind.name for kind in wire.kinds_of(wire.PROVIDER_TO_DAEMON)}
FROM_CLIENTS = {kind.name for kind in wire.kinds_of(wire.CLIENT_TO_DAEMON)}


def test_nobody_speaks_as_a_provider_at_the_clients_door(shared: Daemon) -> None:
    with WireClient(shared.place) as client, WireClient(shared.place) as thief:
        owner = Owner(client)
        whose = {"epoch": 1, "req": owner.req, "attempt": 2, "segment": 1}
        for kind in sorted(FROM_PROVIDERS - FROM_CLIENTS):
            thief.send(kind, bytes(4), seq=0, descriptors=[[0, 0, 1, 0]], frames=1, crc32=0, steps=1, **whose)
            reply, _ = thief.receive()
            assert (reply["kind"], reply["code"]) == ("Error", "UNSUPPORTED")
        owner.ends_as_if_nothing_had_happened()


def test_a_hello_in_a_providers_name_is_a_clients(shared: Daemon) -> None:
    with WireClient(shared.place, hello=False) as client:
        able = {"engine": "thief", "version": "1", "voices": [{"id": "heart"}]}
        client.welcome = client.hello(provider="builtin", epoch=1, capabilities=able)
        client.boot = client.welcome["boot"]
        client.attach()
        assert client.speak("Who speaks?").end["provider"] == "builtin"
        assert [provider["engine"] for provider in shared.status()["providers"]] == ["hibari"]


GARBAGE = [
    [b""],
    [b"VB1"],
    [b"VB1", b""],
    [b"VB1", msgpack.packb({"kind": "Status", "query": 1})[:-2]],
    [b"VB1", msgpack.packb({"kind": "Say", "boot": 1, "req": ["r"], "more": "yes"})],
    [b"VB1", b"\x91" * 100_000],
    [b"VB1", b"\x82\xa4kind\xa3Say\xa7options\x81\xa1a" + b"\x91" * 60_000],
    [b"VB9", msgpack.packb({"kind": "Status", "query": 1})],
    [b"VB1", b"\xc1"],
    [b"VB1", b"\x91" * 60_000],
    [b"VB1", msgpack.packb([1, 2])],
    [b"VB1", msgpack.packb({"kind": 3})],
    [b"VB1", msgpack.packb({"kind": "Status"})],
    [b"VB1", msgpack.packb({"kind": "Status", "query": -1})],
    [b"VB1", msgpack.packb({"kind": "Status", "query": 2**63})],
    [b"VB1", msgpack.packb({"kind": "Say", "boot": "b", "req": "r" * 100})],
    [b"VB1", msgpack.packb({"kind": "Say", "boot": "b", "req": "r", "speed": float("nan")})],
    [b"VB1", msgpack.packb({"kind": "Status", "query": 1, "x": "y" * 70_000})],
    [b"VB1", msgpack.packb({"kind": "Status", "query": 1}), b"", b"", b""],
]


@pytest.mark.parametrize("frames", GARBAGE)
def test_garbage_is_answered_with_an_error_and_harms_nobody(shared: Daemon, frames: list[bytes]) -> None:
    with WireClient(shared.place) as client:
        client.dealer.send_multipart(frames)
        reply, _ = client.receive()
        assert (reply["kind"], reply["code"]) == ("Error", "BAD_MESSAGE")
        assert client.speak("Still here.").end["kind"] == "Done"


def test_an_unknown_kind_is_unsupported_and_an_unknown_field_ignored(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        client.send("Levitate", query=8)
        reply, _ = client.receive()
        assert (reply["code"], reply["query"]) == ("UNSUPPORTED", 8)
        client.send("Status", query=9, colour="blue")
        assert client.receive()[0]["query"] == 9


def test_an_oversized_frame_ends_only_its_sender(shared: Daemon) -> None:
    with WireClient(shared.place) as victim, WireClient(shared.place) as other:
        victim.dealer.send_multipart([b"VB1", b"x" * (wire.MAX_FRAME + 1)])
        assert other.speak("Still here.").end["kind"] == "Done"


@pytest.mark.parametrize(
    "words", [b"", b"\n", b"\xff\xfe\x00\n", b"0" * 128, b"x" * 1_000_000, b"GET / HTTP/1.1\r\n\r\n"], ids=len
)
def test_garbage_at_the_session_door_closes_it(shared: Daemon, words: bytes) -> None:
    with shared.place.transport().connect_session(5.0) as door:
        door.settimeout(30.0)
        try:
            door.sendall(words)
            door.shutdown(socket.SHUT_WR)
            assert door.recv(16) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed before all of it was read
    with WireClient(shared.place) as client:
        assert client.speak("Still here.").end["kind"] == "Done"


def test_a_token_that_has_opened_its_door_opens_no_other(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        with shared.place.transport().connect_session(5.0) as door:
            door.settimeout(30.0)
            door.sendall(client.welcome["token"].encode() + b"\n")
            assert door.recv(16) == b""
        assert client.speak("Still mine.").end["kind"] == "Done"


def test_a_client_that_dies_leaves_nothing_behind(daemon: Daemon) -> None:
    with WireClient(daemon.place) as client:
        client.say("", more=True)
        client.say("A sentence that nobody may hear.")
        client.send("Status", query=1)
        while client.receive()[0]["kind"] != "StatusReply":
            pass
    counts = eventually(lambda: _all_ended(daemon), "the requests ended")
    assert counts["cancelled"] + counts["done"] == 2


def _all_ended(daemon: Daemon) -> dict[str, int] | None:
    counts: dict[str, int] = daemon.status()["requests"]
    return counts if counts["active"] == counts["queued"] == 0 else None


def test_stop_ends_requests_of_anybody(shared: Daemon) -> None:
    with WireClient(shared.place) as speaker, WireClient(shared.place) as other:
        req = speaker.say("", more=True)
        speaker.send("Status", query=1)
        assert speaker.receive()[0]["kind"] == "Accepted"
        other.send("Stop", query=1, req=req)
        assert other.receive()[0]["reqs"] == [req]
        assert speaker.until_end(req).end["kind"] == "Cancelled"
        other.send("Stop", query=2, req=req)
        assert other.receive()[0]["code"] == "NO_SUCH_REQUEST"


def test_who_is_not_the_player_cannot_say_so(shared: Daemon) -> None:
    """One that had been somebody else before lost its requests to nobody: they never ended."""
    with WireClient(shared.place) as client:
        req = client.say("", more=True)
        while client.receive()[0]["kind"] != "Accepted":
            pass
        client.send("Played", boot=client.boot, req=req, frames=1, underruns=0)
        assert client.receive()[0]["code"] == "REFUSED"
        client.send("Hello", proto_min=1, proto_max=1, agent="nobody", player="x")
        assert client.receive()[0]["code"] == "REFUSED"
        eventually(lambda: _all_ended(shared), "its request has ended")


def test_the_loudspeaker_is_asked_and_told(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        for query, (kind, fields, expected) in enumerate(
            (
                ("Audio", {"volume": 1.5}, "BAD_REQUEST"),
                ("Playback", {"action": "rewind"}, "BAD_REQUEST"),
                ("Playback", {"action": "skip", "req": "nosuch"}, "NO_SUCH_REQUEST"),
            )
        ):
            client.send(kind, query=query, **fields)
            assert client.receive()[0]["code"] == expected
        client.send("Audio", query=9, volume=0.5)
        assert client.receive()[0]["audio"]["volume"] == 0.5
        client.send("Audio", query=10, volume=1.0)
        assert client.receive()[0]["audio"]["volume"] == 1.0
        client.send("Playback", query=11, action="skip")
        assert client.receive()[0]["reqs"] == []


def test_voices_and_providers_are_told(shared: Daemon) -> None:
    with WireClient(shared.place) as client:
        client.send("Voices", query=1, language="en")
        (voice,) = client.receive()[0]["voices"]
        assert (voice["id"], voice["provider"], voice["default"]) == ("heart", "builtin", True)
        client.send("Providers", query=2)
        (provider,) = client.receive()[0]["providers"]
        assert provider["capabilities"]["deterministic"] is True


def test_everything_works_over_curve_on_loopback() -> None:
    with running(VOICEBOX_TRANSPORT="curve") as daemon:
        with WireClient(daemon.place) as client:
            assert client.speak("Hello there.").end["kind"] == "Done"
        with WireClient(daemon.place, hello=False) as intruder:
            assert intruder.hello(token="wrong")["code"] == "REFUSED"
        assert daemon.terminate() == 0
        assert not (daemon.place.runtime / "endpoint.json").exists()
