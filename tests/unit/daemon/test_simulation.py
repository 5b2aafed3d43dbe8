"""What only an unlucky order of events shows: deaths, doubts and stops at the worst moment, each played in virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.daemon.simulation import ABLE, CONFIG_EXIT, SIGKILL, Process, Simulation, virtual_time
from voicebox_protocol import schema, wire
from voicebox_protocol.configuration import Config, DaemonConfig, ProviderConfig
from voiceboxd import logs
from voiceboxd import provider_state as fsm

Simulate = Callable[..., Simulation]

TEXT = "Hello there. This is a test. And one more of it. How are you? I am fine. Thank you. "
# Longer than anything the daemon waits for by itself, in seconds.
AN_HOUR = 4000.0
SEEDS = 60


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulate]:
    """Makes simulations; in the end nothing may have been logged as an error, nor a message taken for a lie."""
    clock = virtual_time(monkeypatch)
    made: list[Simulation] = []

    def simulation(providers: dict[str, ProviderConfig], **options: Any) -> Simulation:
        made.append(Simulation(clock, tmp_path, providers, **options))
        return made[-1]

    entries: list[logs.Entry] = []
    monkeypatch.setattr(logs, "sinks", [entries.append])
    yield simulation
    assert not [entry for entry in entries if entry["level"] in ("error", "critical")]
    assert not [each for each in made if "bad provider message" in each.tally.snapshot()]


def provider(**settings: Any) -> ProviderConfig:
    return ProviderConfig(engine="x", **{"standby": "none", **settings})


def ended_well(simulation: Simulation, *requests: str) -> bool:
    return all(isinstance(simulation.ends.get(req), schema.Done) for req in requests)


# --- incidents


def test_a_provider_that_is_not_kept_speaks_a_whole_request_before_it_ends(simulate: Simulate) -> None:
    """With keep_alive = 0 it was ended between two segments, for its state machine had not been told of the second yet:
    each sentence paid for a process of its own."""
    simulation = simulate({"p": provider(keep_alive=0)})
    simulation.say("r", TEXT)
    simulation.run(5.0)
    assert simulation.outcomes("r") == ["done"]
    assert simulation.started == 1
    assert simulation.phases() == ["stopped"]


@pytest.mark.parametrize("at_work", [True, False])
def test_a_spare_that_cannot_even_say_what_it_does_leaves_the_healthy_worker_alone(
    simulate: Simulate, at_work: bool
) -> None:
    """A Hello without capabilities wiped the document that another worker had brought: dispatching raised, and the
    healthy one was ended for a protocol violation."""
    simulation = simulate({"p": provider(standby="warm")})
    simulation.say("r", TEXT)
    simulation.until(lambda: simulation.started == 1 and simulation.process(1).loaded)
    simulation.born_held = True
    simulation.until(lambda: simulation.started == 2)
    if not at_work:
        simulation.until(lambda: "r" in simulation.ends)
    broken = simulation.process(2)
    broken.hello(None)
    broken.say(schema.Fault(epoch=2, code="INVALID_CONFIG", message="ImportError", permanent=True))
    broken.exit(CONFIG_EXIT)
    simulation.say("after", TEXT)
    simulation.run(20.0)
    assert ended_well(simulation, "r", "after")
    assert simulation.phases() == ["ready", "failed"]
    assert simulation.started == 2


def test_nobody_waits_for_a_provider_whose_last_usable_worker_ends_at_rest(simulate: Simulate) -> None:
    """The spare had failed for good; when the first died without work, no loss was told, and nothing started again."""
    simulation = simulate({"p": provider(standby="warm")})
    simulation.say("r", TEXT + "And what", more=True)
    simulation.until(lambda: simulation.phases() == ["ready", "ready"])
    simulation.process(2).exit(CONFIG_EXIT)
    assert simulation.phases() == ["ready", "failed"]
    simulation.process(1).exit(SIGKILL)
    simulation.text("r", " is it? I am fine. ", last=True)
    simulation.run(AN_HOUR, step=5.0)
    end = simulation.ends["r"]
    assert isinstance(end, schema.Failed)
    assert end.code == "PROVIDER_FAILED"


def test_removing_a_suspect_provider_leaves_other_clients_their_credit(simulate: Simulate) -> None:
    """The dispatcher remembered whom it doubted, and every Credit looked for the provider that was no more: KeyError."""
    simulation = simulate({"p": provider(), "q": provider()})
    simulation.say("doomed", TEXT * 9, provider="p")
    simulation.until(lambda: simulation.phases("p") == ["busy"])
    simulation.process(1, "p").held = True
    simulation.advance(3.2)
    assert "suspect" in simulation.phases("p")
    simulation.remove("p")
    assert isinstance(simulation.ends["doomed"], schema.Failed)
    simulation.say("r", TEXT, provider="q")
    simulation.run(5.0)
    assert ended_well(simulation, "r")


@pytest.mark.parametrize("heard_first", [True, False])
def test_a_death_under_work_starts_one_successor(simulate: Simulate, heard_first: bool) -> None:
    """The dying worker was to start again when it had ended, and a second one was started for its work meanwhile."""
    simulation = simulate({"p": provider()})
    simulation.say("before", TEXT)
    simulation.run(2.0)
    simulation.say("r", TEXT)
    process = simulation.process(1)
    process.work()
    if heard_first:
        process.toll()
        assert simulation.started == 1, "its memory is not asked for twice"
    else:
        process.worker.post(fsm.Violated("it broke the protocol"))
    process.exit()
    simulation.run(5.0)
    assert ended_well(simulation, "r")
    assert simulation.outcomes("r") == ["failed", "done"]
    assert simulation.started == 2
    assert simulation.phases() == ["ready"]


def test_a_suspect_that_ends_is_not_started_again_while_another_has_its_place(simulate: Simulate) -> None:
    """It was killed for its silence and came back beside its successor and the spare: three where two have a place."""
    simulation = simulate({"p": provider(standby="warm")})
    simulation.say("before", TEXT)
    simulation.run(2.0)
    simulation.say("r", TEXT * 3, more=True)
    simulation.until(lambda: simulation.phases() == ["busy", "ready"])
    simulation.process(1).held = True
    simulation.run(30.0)
    assert len(simulation.processes) == 2
    assert not simulation.needless


def test_who_stops_a_provider_by_hand_keeps_nobody_waiting_for_its_hello(simulate: Simulate) -> None:
    """A request that nobody was chosen for yet waited for the Hello of a process that had been told to end."""
    simulation = simulate({"p": provider()})
    simulation.say("r", TEXT)
    simulation.gateway.actors["p"].stop("by hand")
    simulation.process(1).exit()
    simulation.run(30.0)
    assert ended_well(simulation, "r")
    assert simulation.started == 2


def test_sound_kept_for_later_never_keeps_the_segment_that_is_due_waiting(simulate: Simulate) -> None:
    """Look-ahead filled the memory; when the worker of the segment before it died, there was no room to speak that one,
    which alone could have made room."""
    config = Config(daemon=DaemonConfig(audio_memory_mb=0.2))
    simulation = simulate({"p": provider(workers=2)}, config=config)
    simulation.say("r", ("word " * 12 + "end. ") * 4)
    simulation.until(lambda: simulation.phases() == ["busy", "busy"])
    request = simulation.dispatcher.ledger.requests["r"]
    assert request.work is not None
    assert request.work.at is not None
    due = simulation.process(request.work.at[1])
    ahead = next(process for process in simulation.processes if process is not due)
    while ahead.work():
        pass
    simulation.credit()
    assert simulation.dispatcher.ledger.windows["s"].reserved_bytes >= 200_000
    due.exit()
    simulation.run(30.0)
    assert ended_well(simulation, "r")


# --- anything


class Mischief:
    """Owns one random course of events: requests, recordings if asked for, deaths, doubts, stops, and time."""

    def __init__(self, simulate: Simulate, seed: int, *, recordings: bool = False, aloud: bool = False) -> None:
        self._chance = chance = random.Random(seed)
        names = "pq" if chance.random() < 0.5 else "p"
        able = msgspec.structs.replace(ABLE, deterministic=chance.random() < 0.7, concurrency=chance.choice([1, 1, 2]))
        self.simulation = simulate({name: self._provider() for name in names}, seed=seed, capabilities=able)
        self.asked: dict[str, bool] = {}
        self.recorded: list[tuple[str, int]] = []
        self.gone: set[str] = set()
        self._queries = itertools.count(1)
        # Out of a hundred, about; processes do what they should for the rest.
        self._deeds: dict[Callable[[], None], float] = {
            self._say: 12,
            self._text: 8,
            self._cancel: 4,
            self._to_process(lambda process: process.exit(chance.choice([SIGKILL, 1]))): 6,
            self._to_process(Process.toll): 5,
            self._to_process(lambda process: setattr(process, "held", True)): 4,
            self._to_process(lambda process: setattr(process, "held", False)): 4,
            self._to_process(lambda process: process.worker.post(fsm.Violated("it broke the protocol"))): 2,
            self._to_process(Process.fail_segment): 2,
            self._to_process(self._come_to_nothing): 1,
            self._reap: 5,
            self._stop: 0.5,
            self._describe: 1,
            self._pass_time: 10,
            self._get_on: 37,
        }

        self._aloud = aloud
        if recordings:
            self._deeds |= {self._prepare: 6, self._leave: 0.5}
        if aloud:
            player = self.simulation.player
            self._deeds |= {
                player.die: 4,
                lambda: setattr(player, "held", chance.random() < 0.3): 3,
                lambda: setattr(player, "no_device", chance.random() < 0.2): 2,
                self._control: 8,
                lambda: self._finish_sessions(chance.choice("ab")): 1,
            }

    def _provider(self) -> ProviderConfig:
        return provider(
            standby=self._chance.choice(["none", "auto", "warm"]),
            workers=self._chance.choice([1, 1, 2, 3]),
            keep_alive=self._chance.choice([600.0, 600.0, 30.0, 0.0]),
            recycle_jobs=self._chance.choice([0, 0, 3]),
        )

    def go_on(self) -> None:
        """So many things happen, of which none may break what always holds."""
        deeds = self._chance.choices(list(self._deeds), list(self._deeds.values()), k=self._chance.randrange(20, 150))
        for deed in deeds:
            deed()

    def settle(self) -> None:
        """No more of it: texts are ended, and whoever was stopped goes on."""
        for process in self.simulation.processes:
            process.held = False
        player, loudspeaker = self.simulation.player, self.simulation.dispatcher.loudspeaker
        player.held = player.no_device = False
        loudspeaker.playback("resume", None, everything=False)
        for req in loudspeaker.describe()["waiting"]:
            loudspeaker.playback("resume", req, everything=False)
        for req, more in self.asked.items():
            if more:
                self.simulation.text(req, "The end.", last=True)
            if req in self.simulation.ends:
                self.simulation.acknowledge(req)
        for _ in range(200):
            if not self.simulation.dispatcher.ledger.requests and not self.unanswered:
                break
            self.simulation.run(1.0, step=1.0)
        self.simulation.run(1200.0, step=100.0)

    @property
    def unanswered(self) -> set[tuple[str, int]]:
        """Questions whose client is still there."""
        return set(self.recorded) - set(self.simulation.answers)

    # --- what may happen

    def _prepare(self) -> None:
        """By clients of their own, whose requests nobody counts."""
        session, query = self._chance.choice("cd"), next(self._queries)
        self.recorded.append((session, query))
        wishes: dict[str, Any] = {"deadline_ms": self._chance.choice([None, 3000])}
        if self._chance.random() < 0.5:
            wishes["provider"] = self._some_provider()
        self.simulation.prepare(session, query, **wishes)

    def _leave(self) -> None:
        session = self._chance.choice("cd")
        self.simulation.leave(session)
        self.recorded = [key for key in self.recorded if key[0] != session or key in self.simulation.answers]

    def _say(self) -> None:
        chance, req = self._chance, f"r{len(self.asked)}"
        self.asked[req] = more = chance.random() < 0.4
        wishes: dict[str, Any] = {"on_failure": chance.choice([None, "next", "segment", "fail"])}
        if chance.random() < 0.5:
            wishes["provider"] = self._some_provider()
        if self._aloud and chance.random() < 0.8:
            wishes["sink"] = "speaker"
            wishes["priority"] = chance.choice([None, None, *wire.PRIORITIES])
            wishes["detached"] = chance.choice([None, True])
            wishes["wait_device"] = chance.choice([None, True])
            wishes["follow"] = chance.choice([None, True])
        text = "Hello there. This is a test. " * chance.randrange(1, 8)
        self.simulation.say(req, text, session=chance.choice("ab"), more=more or None, **wishes)

    def _text(self) -> None:
        open_ones = [req for req, more in self.asked.items() if more]
        if open_ones:
            req, last = self._chance.choice(open_ones), self._chance.random() < 0.5
            self.asked[req] = not last
            self.simulation.text(req, "And more of it. " * self._chance.randrange(1, 5), last=last)

    def _cancel(self) -> None:
        if self.asked:
            self.simulation.cancel(self._chance.choice(list(self.asked)))

    def _control(self) -> None:
        """Somebody uses the loudspeaker's keys."""
        chance, loudspeaker = self._chance, self.simulation.dispatcher.loudspeaker
        named = chance.choice([None, *loudspeaker.describe()["waiting"]])
        action = chance.choice(["skip", "pause", "pause", "resume", "resume", "stop"])
        if action == "stop":
            self.simulation.dispatcher.stop(named, everything=False)
        else:
            loudspeaker.playback(action, named, everything=chance.random() < 0.1)

    def _finish_sessions(self, session: str) -> None:
        """A client goes; what it asked for need not be told to it, but for what is spoken on without it."""
        self.gone |= {req for req, own in self.simulation._owners.items() if own == session}
        self.asked = {req: more and req not in self.gone for req, more in self.asked.items()}
        self.simulation.leave(session)

    def _to_process(self, deed: Callable[[Process], None]) -> Callable[[], None]:
        def to_some() -> None:
            if self.simulation.processes:
                deed(self._chance.choice(self.simulation.processes))

        return to_some

    def _come_to_nothing(self, process: Process) -> None:
        if not process.introduced:
            process.hello(None)
            process.exit(self._chance.choice([1, CONFIG_EXIT]))

    def _reap(self) -> None:
        for process in [each for each in self.simulation.processes if each.killed]:
            process.exit()

    def _stop(self) -> None:
        provider = self._some_provider()
        self.simulation.gateway.actors[provider].stop("by hand")
        if self.simulation.dispatcher.waiting(provider):
            # Who stops one waits until it has spoken all; otherwise it is a restart.
            self.simulation.gateway.actors[provider].want()

    def _describe(self) -> None:
        self.simulation.gateway.actors[self._some_provider()].describe()

    def _pass_time(self) -> None:
        self.simulation.advance(self._chance.choice([0.1, 0.6, 1.0, 4.0, 20.0, 100.0]))

    def _get_on(self) -> None:
        for _ in range(self._chance.randrange(1, 6)):
            self.simulation.round(credit=self._chance.random() < 0.7)

    def _some_provider(self) -> str:
        return self._chance.choice(list(self.simulation.gateway.actors))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_every_request_ends_once_and_nothing_is_left_of_it(simulate: Simulate, seed: int) -> None:
    """Nothing raises, no timer fails, and nobody waits for ever."""
    mischief = Mischief(simulate, seed)
    mischief.go_on()
    mischief.settle()
    assert set(mischief.simulation.ends) == set(mischief.asked), "somebody waits for ever"
    mischief.simulation.check_rest()


@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_whatever_happens_what_is_to_be_heard_is_heard_once_and_in_order(simulate: Simulate, seed: int) -> None:
    """With a player that dies, hangs and finds no device, clients that go, and everybody at the keys of the loudspeaker."""
    mischief = Mischief(simulate, seed, aloud=True)
    mischief.go_on()
    mischief.settle()
    simulation = mischief.simulation
    assert set(simulation.ends) >= set(mischief.asked) - mischief.gone, "somebody waits for ever"
    simulation.check_rest()
    for req, end in simulation.ends.items():
        if end.heard_s is not None:
            heard = sum(last - first for first, last in simulation.player.heard.get(req, []))
            assert simulation.player.missing(req, heard) == [], f"{req} is heard with gaps, or twice"
            # What is to be said again, and is not, was heard and does not stand in the timeline.
            told = round(end.heard_s * (end.sample_rate or 0))
            assert told == heard or (end.resumed == "segment" and told < heard), req
            if isinstance(end, schema.Done):
                assert heard == end.frames, f"{req} was not heard to its end"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_every_recording_has_one_answer(simulate: Simulate, seed: int) -> None:
    """Beside requests, which it neither holds up nor ends."""
    mischief = Mischief(simulate, seed, recordings=True)
    mischief.go_on()
    mischief.settle()
    assert set(mischief.simulation.ends) == set(mischief.asked), "somebody waits for ever"
    assert not mischief.unanswered, "somebody with a recording waits for ever"
    mischief.simulation.check_rest()


def test_whatever_happens_no_process_is_started_without_a_place_for_it(simulate: Simulate) -> None:
    """Each asks for the memory of a whole model."""
    needless: dict[int, list[str]] = {}
    for seed in range(SEEDS):
        mischief = Mischief(simulate, seed)
        mischief.go_on()
        if mischief.simulation.needless:
            needless[seed] = mischief.simulation.needless[:1]
    assert not needless
