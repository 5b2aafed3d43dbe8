"""The life of a provider: every arrow of the table, every deadline, and what holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from voiceboxd.provider_state import (
    ALIVE,
    RESTING,
    SERVING,
    CancelSent,
    Demand,
    Doubted,
    Dying,
    Effect,
    Event,
    Exited,
    Extended,
    Faulted,
    Heard,
    HelloCame,
    History,
    JobEnded,
    JobStarted,
    Kill,
    Leave,
    Limits,
    Loaded,
    Lost,
    Phase,
    ProviderState,
    Spawn,
    StopAsked,
    Tick,
    Up,
    Violated,
    advance,
)
from voiceboxd.restart import RestartPolicy

LIMITS = Limits()


class Life:
    """A state with a clock that is only moved by hand."""

    def __init__(self, state: ProviderState | None = None) -> None:
        self.state = state or ProviderState()
        self.now = 1000.0

    def send(self, *events: Event) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            self.state, more = advance(self.state, event, self.now)
            effects += more
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        """Time passes; the alarm rings whenever it is set."""
        end, effects = self.now + seconds, []
        for _ in range(1000):
            if self.state.wake_at is None or self.state.wake_at > end:
                self.now = end
                return effects
            self.now = max(self.now, self.state.wake_at)
            effects += self.send(Tick())
        raise AssertionError("the alarm rings for ever")

    @property
    def phase(self) -> Phase:
        return self.state.phase


def at(phase: Phase) -> Life:
    """A provider that came to this phase the usual way."""
    life = Life()
    steps: dict[Phase, list[Event]] = {
        Phase.STOPPED: [],
        Phase.STARTING: [Demand(speak=True)],
        Phase.LOADING: [HelloCame()],
        Phase.READY: [Loaded()],
        # It answers at once, as its I/O thread does.
        Phase.BUSY: [JobStarted(), Heard()],
    }
    order = list(steps)
    branches: dict[Phase, tuple[Phase, list[Event]]] = {
        Phase.SUSPECT: (Phase.BUSY, []),
        Phase.KILLING: (Phase.READY, [Violated("it lied")]),
        Phase.DRAINING: (Phase.READY, [StopAsked("enough")]),
        Phase.BACKOFF: (Phase.LOADING, [Exited("it died", 1, 0.5)]),
        Phase.FAILED: (Phase.LOADING, [Exited("it died", 78, 0.5)]),
        Phase.QUARANTINED: (Phase.STARTING, []),
    }
    base, rest = branches.get(phase, (phase, []))
    for each in order[: order.index(base) + 1]:
        life.send(*steps[each])
    life.send(*rest)
    if phase is Phase.SUSPECT:
        life.wait(LIMITS.suspect)
    if phase is Phase.QUARANTINED:
        for _ in range(LIMITS.restart.budget):
            life.send(Exited("it died", 1, 0.01))
            if life.phase is Phase.BACKOFF:
                life.now = life.state.wake_at or 0.0
                life.send(Tick())
    assert life.phase is phase
    return life


ARROWS = [
    (Phase.STOPPED, Demand(speak=True), Phase.STARTING, [Spawn(1)]),
    (Phase.STOPPED, StopAsked("enough"), Phase.STOPPED, []),
    (Phase.STARTING, HelloCame(), Phase.LOADING, []),
    (Phase.STARTING, StopAsked("enough"), Phase.DRAINING, [Leave("enough")]),
    (Phase.STARTING, Violated("it lied"), Phase.KILLING, [Kill()]),
    (Phase.STARTING, Exited("x", 1, 0.5), Phase.BACKOFF, []),
    (Phase.LOADING, Loaded(), Phase.READY, [Up()]),
    (Phase.LOADING, Faulted("no weights", permanent=True), Phase.KILLING, [Kill()]),
    (Phase.LOADING, Faulted("no memory", permanent=False, rest=30.0), Phase.KILLING, [Kill()]),
    (Phase.LOADING, Exited("x", 78, 0.5), Phase.FAILED, [Lost(1, "x", gone=True)]),
    (Phase.READY, JobStarted(), Phase.BUSY, []),
    (Phase.READY, StopAsked("enough"), Phase.DRAINING, [Leave("enough")]),
    (Phase.READY, Exited("x", 1, 0.5), Phase.STOPPED, [Lost(1, "x", gone=False)]),
    (Phase.BUSY, JobEnded(delivered=True), Phase.READY, []),
    (Phase.BUSY, JobStarted(), Phase.BUSY, []),
    (Phase.BUSY, Violated("it lied"), Phase.KILLING, [Lost(1, "it lied", gone=False), Kill()]),
    (Phase.BUSY, Exited("x", -9, 0.5), Phase.BACKOFF, [Lost(1, "x", gone=False)]),
    (Phase.BUSY, StopAsked("enough"), Phase.DRAINING, []),
    (Phase.BUSY, Dying("x"), Phase.KILLING, [Lost(1, "x", gone=False)]),
    (Phase.READY, Dying("x"), Phase.KILLING, [Lost(1, "x", gone=False)]),
    (Phase.LOADING, Dying("x"), Phase.KILLING, []),
    (Phase.DRAINING, Dying("x"), Phase.DRAINING, []),
    (Phase.SUSPECT, Heard(), Phase.BUSY, [Up()]),
    (Phase.SUSPECT, JobEnded(delivered=True), Phase.READY, []),
    (Phase.KILLING, Exited("x", -9, 0.5), Phase.BACKOFF, []),
    (Phase.KILLING, StopAsked("enough"), Phase.DRAINING, []),
    (Phase.KILLING, Violated("again"), Phase.KILLING, []),
    (Phase.DRAINING, Exited("x", 0, 0.5), Phase.STOPPED, []),
    (Phase.DRAINING, Demand(speak=True), Phase.DRAINING, []),
    (Phase.BACKOFF, StopAsked("enough"), Phase.STOPPED, []),
    (Phase.BACKOFF, Demand(speak=True), Phase.BACKOFF, []),
    (Phase.QUARANTINED, StopAsked("enough"), Phase.STOPPED, []),
    (Phase.QUARANTINED, Demand(speak=True), Phase.QUARANTINED, []),
    (Phase.FAILED, StopAsked("enough"), Phase.STOPPED, []),
    (Phase.FAILED, Demand(speak=True), Phase.FAILED, []),
]


@pytest.mark.parametrize(("before", "event", "after", "effects"), ARROWS, ids=lambda value: str(value)[:40])
def test_an_event_leads_where_the_table_says(before: Phase, event: Event, after: Phase, effects: list[Effect]) -> None:
    life = at(before)
    assert life.send(event) == effects
    assert life.phase is after


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (Phase.READY, HelloCame()),
        (Phase.STARTING, Loaded()),
        (Phase.BUSY, Loaded()),
        (Phase.READY, Extended(60.0)),
        (Phase.STARTING, JobStarted()),
        (Phase.READY, JobEnded(delivered=True)),
        (Phase.READY, CancelSent()),
        (Phase.STOPPED, Exited("x", 1, 0.5)),
        (Phase.BACKOFF, Exited("x", 1, 0.5)),
        (Phase.STOPPED, Faulted("x", permanent=True)),
        (Phase.FAILED, Tick()),
        (Phase.READY, Tick()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_event_that_makes_no_sense_changes_nothing(phase: Phase, event: Event) -> None:
    life = at(phase)
    before = life.state
    assert life.send(event) == []
    assert life.state == before


@pytest.mark.parametrize(
    ("phase", "seconds", "why"),
    [
        (Phase.STARTING, LIMITS.hello, "Hello"),
        (Phase.LOADING, LIMITS.silence, "no sign of life"),
        (Phase.BUSY, LIMITS.silence, "no sign of life"),
    ],
)
def test_a_provider_that_says_nothing_is_killed_at_its_deadline_and_not_before(
    phase: Phase, seconds: float, why: str
) -> None:
    life = at(phase)
    assert Kill() not in life.wait(seconds - 0.001)
    assert Kill() in life.wait(0.002)
    assert why in (life.state.reason or "")


def test_owed_silence_makes_suspect_before_it_kills() -> None:
    life = at(Phase.BUSY)
    life.wait(LIMITS.suspect - 0.001)
    assert life.phase is Phase.BUSY
    life.wait(0.002)
    assert life.phase is Phase.SUSPECT
    life.send(Heard())
    assert life.phase is Phase.BUSY


def test_silence_is_owed_by_nobody_who_has_nothing_to_do() -> None:
    life = at(Phase.READY)
    assert life.wait(1e6) == []
    assert life.phase is Phase.READY


def test_one_that_was_stopped_while_it_rested_is_found_out_by_its_first_work() -> None:
    life = at(Phase.READY)
    life.wait(1000.0)
    life.send(JobStarted())
    assert life.wait(LIMITS.probe - 0.001) == []
    assert life.wait(0.002) == [Doubted()]
    assert life.phase is Phase.SUSPECT
    assert life.send(Heard()) == [Up()]


def test_one_that_answered_may_be_silent_for_longer() -> None:
    """A native library that holds the interpreter for a second or two is normal."""
    life = at(Phase.BUSY)
    assert life.wait(LIMITS.suspect - 0.001) == []
    assert life.wait(0.002) == [Doubted()]


def test_a_suspect_that_loads_has_nothing_that_others_could_take() -> None:
    life = at(Phase.LOADING)
    assert life.wait(LIMITS.suspect) == []
    assert life.phase is Phase.SUSPECT


def test_a_planned_stop_lets_it_finish_what_it_has() -> None:
    life = at(Phase.BUSY)
    life.send(JobStarted())
    assert life.send(StopAsked("enough"), JobEnded(delivered=True)) == []
    assert life.send(JobEnded(delivered=True)) == [Leave("enough")]


def test_a_planned_stop_does_not_wait_for_ever() -> None:
    life = at(Phase.BUSY)
    life.send(StopAsked("enough"))
    assert beat(life, LIMITS.drain - 1, steps=True) == []
    assert Kill() in beat(life, 2, steps=True)


def test_one_that_makes_room_for_a_fresh_one_is_started_again() -> None:
    life = at(Phase.READY)
    assert life.send(StopAsked("worn", again=True)) == [Leave("worn")]
    assert life.send(Exited("", 0, 0.5)) == [Spawn(2)]
    assert life.state.history.restarts == 0


def test_a_death_that_was_announced_tells_its_reason_and_is_counted_once() -> None:
    """The kernel frees gigabytes before it reports the exit; the work must not wait for that, the restart has to."""
    life = at(Phase.BUSY)
    assert life.send(Dying("it was killed by SIGKILL")) == [Lost(1, "it was killed by SIGKILL", gone=False)]
    assert life.send(Exited("it was killed by SIGKILL (out of memory)", -9, 0.5)) == []
    assert life.phase is Phase.BACKOFF
    assert (life.state.history.failures, life.state.reason) == (1, "it was killed by SIGKILL (out of memory)")


def test_one_whose_place_is_taken_is_not_started_again() -> None:
    """A suspect's work went to a process that was started for it; a third one would ask for the memory once more."""
    life = at(Phase.BUSY)
    life.send(JobEnded(delivered=True), JobStarted())
    assert life.send(Exited("it died", -9, 0.5, needed=False)) == [Lost(1, "it died", gone=False)]
    assert life.phase is Phase.STOPPED
    life = at(Phase.BACKOFF)
    life.now = life.state.wake_at or 0.0
    assert life.send(Tick(needed=False)) == []
    assert life.phase is Phase.STOPPED
    assert life.send(Demand(speak=True)) == [Spawn(2)]


def test_workers_share_their_failures() -> None:
    life = at(Phase.LOADING)
    life.state = replace(life.state, history=History(epochs=7, failures=LIMITS.restart.budget - 1))
    life.send(Exited("it died", 1, 0.5))
    assert life.phase is Phase.QUARANTINED


def test_epochs_are_never_given_out_twice() -> None:
    life = at(Phase.STOPPED)
    life.state = replace(life.state, history=History(epochs=7))
    assert life.send(Demand(speak=True)) == [Spawn(8)]


@given(st.floats(0.1, 1e7), st.sampled_from([Phase.STARTING, Phase.LOADING, Phase.BUSY, Phase.SUSPECT]))
def test_an_alarm_that_rings_exactly_when_it_was_set_has_something_to_do(now: float, phase: Phase) -> None:
    life = at(phase)
    life.now = now
    life.state = replace(life.state, heard=now, due=now + 1.0, wake_at=now)
    life.send(Heard())
    for _ in range(3):
        before = life.state
        assert before.wake_at is not None
        life.now = before.wake_at
        life.send(Tick())
        assert life.state != before


def test_a_suspect_that_was_loading_goes_on_loading() -> None:
    life = at(Phase.LOADING)
    life.wait(LIMITS.suspect)
    assert life.phase is Phase.SUSPECT
    life.send(Heard())
    assert life.phase is Phase.LOADING
    assert life.send(Loaded()) == [Up()]


def beat(life: Life, seconds: float, *, steps: bool) -> list[Effect]:
    """A beat every second; `steps`: with progress."""
    effects = []
    for second in range(int(seconds)):
        effects += life.wait(1.0)
        life.send(Heard(steps=second + 1 if steps else 0))
    return effects


def test_beats_without_progress_do_not_keep_a_job_alive() -> None:
    life = at(Phase.BUSY)
    life.send(Heard(steps=0))
    assert beat(life, LIMITS.progress - 1, steps=False) == []
    assert Kill() in beat(life, 3, steps=False)
    assert "progress" in (life.state.reason or "")


@pytest.mark.parametrize("event", [Heard(steps=None, sound=True)])
def test_sound_is_progress(event: Heard) -> None:
    life = at(Phase.BUSY)
    for _ in range(int(3 * LIMITS.progress)):
        assert life.wait(1.0) == []
        life.send(event)
    assert life.phase is Phase.BUSY


def test_steps_that_grow_are_progress() -> None:
    life = at(Phase.BUSY)
    assert beat(life, 3 * LIMITS.progress, steps=True) == []
    assert life.phase is Phase.BUSY


def test_loading_ends_at_its_deadline_however_lively() -> None:
    life = at(Phase.LOADING)
    assert beat(life, LIMITS.load - 1, steps=True) == []
    assert Kill() in beat(life, 3, steps=True)
    assert "loading" in (life.state.reason or "")


def test_loading_may_ask_for_more_time() -> None:
    life = at(Phase.LOADING)
    beat(life, LIMITS.load - 1, steps=True)
    life.send(Extended(300.0))
    assert beat(life, 299, steps=True) == []
    assert Kill() in beat(life, 3, steps=True)


def test_a_cancel_that_is_not_answered_kills_however_lively() -> None:
    life = at(Phase.BUSY)
    life.send(CancelSent())
    assert beat(life, LIMITS.cancel - 1, steps=True) == []
    assert Kill() in beat(life, 3, steps=True)


def test_another_job_does_not_put_off_the_answer_to_a_cancel() -> None:
    life = at(Phase.BUSY)
    life.send(CancelSent())
    life.wait(1.0)
    life.send(JobStarted())
    assert Kill() in beat(life, LIMITS.cancel + 1, steps=True)


def test_an_answered_cancel_is_forgotten() -> None:
    life = at(Phase.BUSY)
    life.send(CancelSent(), JobEnded(delivered=False, cancelled=True), JobStarted(), Heard())
    assert beat(life, LIMITS.cancel + 5, steps=True) == []


def test_one_that_does_not_leave_is_killed_again_and_again() -> None:
    life = at(Phase.DRAINING)
    assert life.wait(3 * LIMITS.leave) == [Kill()] * 3


def test_a_demand_while_it_leaves_starts_it_anew() -> None:
    life = at(Phase.DRAINING)
    life.send(Demand(speak=True))
    assert life.send(Exited("", 0, 0.5)) == [Spawn(2)]


def test_what_was_in_work_when_it_was_told_to_leave_is_lost_under_its_own_epoch() -> None:
    life = at(Phase.BUSY)
    life.send(StopAsked("enough"), Demand(speak=True))
    assert life.send(Exited("", 0, 0.5)) == [Lost(1, "enough", gone=False), Spawn(2)]


def test_what_was_in_work_is_lost_too_when_it_breaks_a_rule_while_leaving() -> None:
    life = at(Phase.BUSY)
    assert Lost(1, "it lied", gone=False) in life.send(StopAsked("enough"), Violated("it lied"))


def test_one_that_was_only_asked_what_it_can_do_is_not_loaded() -> None:
    life = Life()
    life.send(Demand(speak=False))
    (leave,) = life.send(HelloCame())
    assert isinstance(leave, Leave)
    life.send(Exited("", 0, 0.5))
    assert life.phase is Phase.STOPPED


def test_somebody_who_asked_it_to_speak_meanwhile_is_not_forgotten() -> None:
    life = Life()
    life.send(Demand(speak=False), Demand(speak=True), HelloCame())
    assert life.phase is Phase.LOADING


def test_after_progress_the_next_start_follows_at_once_and_loss_names_the_dead_epoch() -> None:
    life = at(Phase.BUSY)
    life.send(JobEnded(delivered=True), JobStarted())
    assert life.send(Exited("it died", -11, 0.99)) == [Lost(1, "it died", gone=False), Spawn(2)]


def test_a_job_that_was_not_delivered_is_no_progress() -> None:
    life = at(Phase.BUSY)
    life.send(JobEnded(delivered=False), JobStarted(), Exited("it died", -11, 0.99))
    assert life.phase is Phase.BACKOFF


def test_a_killed_provider_is_said_to_have_died_of_what_it_was_killed_for() -> None:
    life = at(Phase.BUSY)
    life.send(Violated("it lied"), Exited("it was killed by SIGKILL", -9, 0.5))
    assert life.state.reason == "it lied"


def test_a_permanent_fault_is_never_restarted() -> None:
    life = at(Phase.LOADING)
    life.send(Faulted("no weights", permanent=True))
    assert life.send(Exited("x", -9, 0.5)) == [Lost(1, "no weights", gone=True)]
    assert life.phase is Phase.FAILED
    assert life.wait(10_000) == []
    assert life.send(Demand(speak=True)) == []


def test_one_that_cannot_now_is_left_alone_for_as_long_as_it_said_and_tried_at_the_next_request() -> None:
    """Memory that others hold does not come back sooner for being asked for five times in a row."""
    life = at(Phase.LOADING)
    for epoch in (1, 2, 3, 4, 5, 6, 7):
        life.send(Faulted("no memory", permanent=False, rest=30.0))
        assert life.send(Exited("x", 1, 0.5)) == [Lost(epoch, "no memory", gone=True)]
        assert life.phase is Phase.QUARANTINED
        assert life.wait(29.9) == life.send(Demand(speak=True)) == []
        assert life.phase is Phase.QUARANTINED
        assert life.wait(0.2) == []
        assert life.phase is Phase.STOPPED
        assert life.send(Demand(speak=True), HelloCame()) == [Spawn(epoch + 1)]
    # It has not failed: what comes now is the first failure in a row.
    life.send(Exited("it died", 1, 0.5))
    assert life.phase is Phase.BACKOFF
    assert life.state.history.failures == 1


def test_one_that_cannot_now_does_not_say_for_how_long_it_is_left_alone() -> None:
    life = at(Phase.LOADING)
    life.send(Faulted("no memory", permanent=False, rest=1e6), Exited("x", 1, 0.5))
    assert life.state.due == life.now + LIMITS.restart.rest


def fail_once(life: Life) -> list[Effect]:
    effects = life.send(Exited("it died", 1, 0.5))
    if life.state.wake_at is not None:
        effects += life.wait(life.state.wake_at - life.now)
    return effects


def test_the_budget_ends_in_quarantine_and_its_requests_fail() -> None:
    life = at(Phase.STARTING)
    spawned = [effect for _ in range(4) for effect in fail_once(life)]
    assert spawned == [Spawn(epoch) for epoch in (2, 3, 4, 5)]
    assert life.send(Exited("it died", 1, 0.5)) == [Lost(5, "it died", gone=True)]
    assert life.phase is Phase.QUARANTINED


def test_after_a_rest_the_next_request_may_try_once_and_nobody_else_does() -> None:
    life = at(Phase.QUARANTINED)
    for _ in range(20):
        assert life.wait(LIMITS.restart.rest - 1) == []
        assert life.send(Demand(speak=True)) == []
        life.wait(1)
        assert life.phase is Phase.STOPPED
        assert life.wait(10_000) == []
        (spawn,) = life.send(Demand(speak=True))
        assert isinstance(spawn, Spawn)
        life.send(Exited("it died", 1, 0.5))
        assert life.phase is Phase.QUARANTINED


def test_a_try_that_speaks_ends_the_quarantine() -> None:
    life = at(Phase.QUARANTINED)
    life.wait(LIMITS.restart.rest)
    life.send(Demand(speak=True), HelloCame(), Loaded(), JobStarted(), JobEnded(delivered=True), JobStarted())
    life.send(Exited("it died", 1, 0.5))
    assert life.phase is Phase.STARTING


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.LOADING])
def test_a_provider_that_hangs_at_every_start_is_quarantined_too(phase: Phase) -> None:
    life = at(phase)
    for _ in range(LIMITS.restart.budget):
        while life.phase is not Phase.KILLING:
            life.wait(1.0)
        life.send(Exited("it was killed", -9, 0.5))
        while life.phase is Phase.BACKOFF:
            life.wait(1.0)
        if phase is Phase.LOADING:
            life.send(HelloCame())
    assert life.phase is Phase.QUARANTINED


def test_one_that_dies_at_rest_is_not_started_for_nobody() -> None:
    life = at(Phase.READY)
    life.send(Exited("it died", -9, 0.5))
    assert life.phase is Phase.STOPPED
    assert life.wait(10_000) == []
    assert life.send(Demand(speak=True)) == [Spawn(2)]


def test_a_long_healthy_life_is_forgiven() -> None:
    life = at(Phase.READY)
    for _ in range(3 * LIMITS.restart.budget):
        life.wait(LIMITS.restart.healthy)
        life.send(JobStarted(), Exited("it died", -9, 0.0), Demand(speak=True), HelloCame(), Loaded())
        assert life.phase is Phase.READY


def test_the_end_of_another_job_does_not_excuse_one_that_owes_an_answer() -> None:
    life = at(Phase.BUSY)
    life.send(JobStarted(), CancelSent())
    life.wait(1.0)
    life.send(JobEnded(delivered=True))
    assert Kill() in beat(life, LIMITS.cancel + 1, steps=True)


# --- whatever happens

SHORT = Limits(drain=20.0, restart=RestartPolicy(budget=3, healthy=30.0, rest=100.0))
EVENTS = st.one_of(
    st.builds(Demand, st.booleans()),
    st.just(HelloCame()),
    st.builds(Extended, st.floats(0, 500)),
    st.just(Loaded()),
    st.builds(Faulted, st.just("fault"), st.sampled_from([False, False, True]), st.none() | st.floats(0, 200)),
    st.builds(Heard, st.none() | st.integers(0, 50), st.booleans()),
    st.just(JobStarted()),
    st.builds(JobEnded, st.booleans(), st.booleans()),
    st.just(CancelSent()),
    st.just(Violated("lie")),
    st.builds(StopAsked, st.just("stop"), st.booleans()),
    st.just(Dying("dying")),
)


class ProviderMachine(RuleBasedStateMachine):
    """Events in any order; processes live from `Spawn` to `Exited`."""

    @initialize()
    def begin(self) -> None:
        self.life = Life(replace(ProviderState(), limits=SHORT))
        self.running: int | None = None
        self.epoch = 0
        self.lost: dict[int, list[bool]] = {}

    def send(self, event: Event) -> None:
        jobs, epoch = self.life.state.jobs, self.epoch
        effects = self.life.send(event)
        if jobs and not self.life.state.jobs and not isinstance(event, JobEnded):
            told = [effect for effect in effects if isinstance(effect, Lost)]
            assert [effect.epoch for effect in told] == [epoch], "its work was lost and nobody was told"
        self.carry_out(effects)

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Spawn(epoch):
                    assert self.running is None, "two processes at a time"
                    assert epoch == self.epoch + 1
                    self.running = self.epoch = epoch
                case Lost(epoch, reason, gone):
                    assert epoch in (self.epoch, self.epoch - 1)
                    assert reason
                    told = self.lost.setdefault(epoch, [])
                    assert gone not in told, "told twice"
                    told.append(gone)
                case Kill() | Leave():
                    assert self.running is not None

    @rule(event=EVENTS)
    def something(self, event) -> None:
        self.send(event)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds) -> None:
        end = self.life.now + seconds
        while self.life.state.wake_at is not None and self.life.state.wake_at <= end:
            self.life.now = max(self.life.now, self.life.state.wake_at)
            before = self.life.state
            self.send(Tick())
            assert self.life.state != before, "the alarm rings for ever"
        self.life.now = end

    @precondition(lambda self: self.running is not None)
    @rule(code=st.sampled_from([0, 1, -9, -11, None, 78]), chance=st.floats(0, 1, exclude_max=True))
    def exits(self, code, chance) -> None:
        permanent = (self.life.state.permanent or code == 78) and self.life.phase is not Phase.DRAINING
        self.running = None
        self.send(Exited("exit", code, chance))
        if permanent:
            assert self.life.phase is Phase.FAILED

    # One that is ready and has nothing to do may be silent.
    @precondition(lambda self: self.running is not None and self.life.phase is not Phase.READY)
    @rule()
    def silence_always_ends_in_a_kill(self) -> None:
        state, now = self.life.state, self.life.now
        for _ in range(50):
            if state.phase not in ALIVE or state.phase is Phase.READY:
                break
            assert state.wake_at is not None
            now = max(now, state.wake_at)
            state, effects = advance(state, Tick(), now)
            if Kill() in effects:
                return
        raise AssertionError(f"nobody killed it; it is {state.phase}")

    @invariant()
    def a_process_runs_while_the_state_says_so(self) -> None:
        assert (self.running is not None) == (self.life.phase in ALIVE)

    @invariant()
    def the_alarm_is_set_unless_there_is_nothing_to_wait_for(self) -> None:
        resting = (Phase.STOPPED, Phase.FAILED, Phase.READY)
        assert (self.life.state.wake_at is None) == (self.life.phase in resting)
        if self.life.phase in RESTING:
            assert self.life.state.wake_at >= self.life.now or self.life.state.wake_at == self.life.state.due

    @invariant()
    def jobs_are_at_a_provider_that_serves(self) -> None:
        assert self.life.state.jobs >= 0
        if self.life.state.jobs:
            assert self.life.phase in SERVING | {Phase.DRAINING}
        elif self.life.phase is Phase.BUSY:
            raise AssertionError("busy with nothing")

    @invariant()
    def fresh_epochs_mean_restarts(self) -> None:
        assert self.life.state.history.restarts <= self.epoch


ProviderMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50)
# Time to find the shortest way to a failure, if there is one.
TestProvider = pytest.mark.timeout(600)(ProviderMachine.TestCase)


@pytest.mark.parametrize("slow", [0.0, 1.0, 10.0])
def test_starts_without_progress_stay_within_the_budget(slow: float) -> None:
    """However slowly a provider fails, no more than the budget of starts follows one request."""
    life, policy = at(Phase.STARTING), LIMITS.restart
    starts = 1
    while life.phase is not Phase.QUARANTINED:
        life.wait(slow)
        life.send(Exited("it died", 1, 0.999))
        if life.phase is Phase.BACKOFF:
            assert life.state.wake_at is not None
            starts += len(life.wait(life.state.wake_at - life.now))
    assert starts == policy.budget
