"""The death notice: every kind of death is heard of, before the memory is freed, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from voicebox_protocol.startline import StartLine
from voiceboxd import death_watch
from voiceboxd.death_watch import DeathPage, DeathWatch, dying_code
from voiceboxd.process import ProviderProcess, our_runner

PATIENCE_S = 60.0
START = StartLine("ipc://x", "mine", 7, "secret", os.getpid())


def is_supported() -> bool:
    page = DeathPage.make()
    if page is not None:
        page.close()
    return page is not None


pytestmark = pytest.mark.skipif(not is_supported(), reason="needs Linux 5.16 on 64 bits")

# What holds the mutex as the runner does, and says "up".
HOLDER = """
import ctypes, os, signal, subprocess, sys, threading
from voicebox_protocol.startline import StartLine
from voicebox_provider.death_notice import DeathNotice

start = StartLine.decode(sys.stdin.buffer.readline())
held, done, withdrawn = threading.Event(), threading.Event(), threading.Event()

def io():
    notice = DeathNotice(start.death_fd)
    held.set()
    done.wait()
    notice.withdraw()
    withdrawn.set()

threading.Thread(target=io, daemon=True).start()
held.wait()
ballast = b"x" * (start.settings.get("megabytes", 0) << 20)
print("up", flush=True)
"""

SLEEP = "threading.Event().wait()"
DEATHS = [
    pytest.param("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, id="SIGKILL"),
    pytest.param("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, id="SIGTERM"),
    pytest.param("ctypes.string_at(0)", -signal.SIGSEGV, id="SIGSEGV"),
    pytest.param("os.abort()", -signal.SIGABRT, id="abort"),
    pytest.param("os._exit(3)", 3, id="_exit"),
    pytest.param("sys.exit(4)", 4, id="exit"),
    pytest.param("os._exit(0)", 0, id="exit without a fault"),
]


class Held:
    """A process that shares a page with us, goes on after `tell`, and what was heard of it."""

    def __init__(self, program: str) -> None:
        page = DeathPage.make()
        assert page is not None
        self.page = page
        self.heard = threading.Event()
        self.codes: list[int | None] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(page.descriptor,),
        )
        self.tell(START._replace(death_fd=page.descriptor).encode())
        page.close()

    def tell(self, line: bytes = b"\n") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def says(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def hear(self) -> None:
        self.codes.append(dying_code(self.process.pid))
        self.heard.set()


@contextmanager
def held(program: str, deaths: DeathWatch | None = None) -> Iterator[Held]:
    holder = Held(HOLDER + "sys.stdin.readline()\n" + program)
    try:
        assert holder.says() == b"up\n"
        if deaths is not None:
            deaths.watch(holder.page, holder.hear)
        yield holder
    finally:
        holder.process.kill()
        holder.process.communicate()
        if deaths is not None:
            deaths.forget(holder.page)


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "voicebox-deaths"]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- what is heard


@pytest.mark.parametrize(("death", "code"), DEATHS)
def test_every_death_is_heard_of_with_its_cause(death: str, code: int) -> None:
    with held(death, DeathWatch()) as holder:
        holder.tell()
        assert holder.heard.wait(PATIENCE_S)
        assert holder.codes == [code or None], "0 is also what is shown where nothing is known"
        assert holder.process.wait() == code


def test_a_death_before_anybody_watched_is_heard_of_as_well() -> None:
    with held("os._exit(3)") as holder:
        holder.tell()
        holder.process.wait()
        deaths = DeathWatch()
        deaths.watch(holder.page, holder.hear)
        assert holder.heard.wait(PATIENCE_S)
        assert holder.codes == [None], "it is reaped, and nothing can be read of it"


def test_each_death_is_told_once_and_to_the_right_one() -> None:
    deaths = DeathWatch()
    with held(SLEEP, deaths) as one, held(SLEEP, deaths) as two, held(SLEEP, deaths) as three:
        assert len(watchers()) == 1, "one thread is enough for all"
        two.process.kill()
        assert two.heard.wait(PATIENCE_S)
        one.process.kill()
        assert one.heard.wait(PATIENCE_S)
        assert one.codes == two.codes == [-signal.SIGKILL]
        assert not three.codes
        assert len(watchers()) == 1


def test_one_that_withdrew_ends_unheard() -> None:
    with held("done.set(); withdrawn.wait(); print('withdrawn', flush=True)", DeathWatch()) as holder:
        holder.tell()
        assert holder.says() == b"withdrawn\n"
        assert holder.process.wait() == 0
        assert holder.page.word.value == 0
        assert not holder.codes


CHILD_DIES = "if (child := os.fork()) == 0: os._exit(5)\nos.waitpid(child, 0)"
CHILD_THREAD_DIES = "if (child := os.fork()) == 0: os.abort()\nos.waitpid(child, 0)"
CHILD_BECOMES = "subprocess.run(['true'], check=True); os.system('true')"
THREAD_ENDS = "other = threading.Thread(target=lambda: None); other.start(); other.join()"


@pytest.mark.parametrize("happening", [CHILD_DIES, CHILD_THREAD_DIES, CHILD_BECOMES, THREAD_ENDS])
def test_children_and_other_threads_of_the_engine_are_not_the_provider(happening: str) -> None:
    with held(f"{happening}\nprint('done', flush=True)\n{SLEEP}", DeathWatch()) as holder:
        holder.tell()
        assert holder.says() == b"done\n"
        assert not holder.heard.is_set()
        assert holder.page.word.value & 0x40000000 == 0, "the kernel has marked nothing"
        holder.process.kill()
        assert holder.heard.wait(PATIENCE_S)


def test_a_forked_child_that_outlives_the_provider_does_not_hide_its_death() -> None:
    with held("if os.fork() == 0: sys.stdin.read(); os._exit(0)\nos.abort()", DeathWatch()) as holder:
        holder.tell()
        assert holder.heard.wait(PATIENCE_S)
        assert holder.codes == [-signal.SIGABRT]


def test_one_that_becomes_another_program_is_heard_of() -> None:
    with held("os.execlp('sleep', 'sleep', '1000')", DeathWatch()) as holder:
        holder.tell()
        assert holder.heard.wait(PATIENCE_S)
        assert holder.codes == [None]
        assert holder.process.poll() is None


# --- what it costs, and what is left


def test_the_thread_sleeps_while_nobody_dies_and_ends_with_the_last() -> None:
    deaths = DeathWatch()
    with held(SLEEP, deaths):
        (thread,) = watchers()
        status = Path(f"/proc/self/task/{thread.native_id}/status")

        def slept() -> bool:
            before = status.read_text().split("ctxt_switches")
            time.sleep(0.3)
            return status.read_text().split("ctxt_switches") == before

        # Not at the first look, on a busy machine: falling asleep may take a while. One that polls never passes.
        eventually(slept)
    eventually(lambda: not watchers())


def test_it_starts_again_after_it_has_ended() -> None:
    deaths = DeathWatch()
    for _ in range(3):
        with held("os._exit(3)", deaths) as holder:
            holder.tell()
            assert holder.heard.wait(PATIENCE_S)
        eventually(lambda: not watchers())


def test_who_is_forgotten_is_not_told_of() -> None:
    deaths = DeathWatch()
    with held(SLEEP, deaths) as one, held(SLEEP, deaths) as two:
        deaths.forget(one.page)
        deaths.forget(one.page)
        one.process.kill()
        one.process.wait()
        two.process.kill()
        assert two.heard.wait(PATIENCE_S)
        assert not one.codes


def test_watching_and_forgetting_in_a_hurry_loses_nobody() -> None:
    """The thread may be anywhere between looking and sleeping when the next change comes."""
    deaths = DeathWatch()
    with held(SLEEP, deaths) as holder:
        page = DeathPage.make()
        assert page is not None
        page.close()
        for _ in range(2000):
            deaths.watch(page, lambda: None)
            deaths.forget(page)
        holder.process.kill()
        assert holder.heard.wait(PATIENCE_S)


def test_no_interpreter_waits_for_a_watcher() -> None:
    program = """
from voiceboxd.death_watch import DeathPage, DeathWatch
deaths, page = DeathWatch(), DeathPage.make()
deaths.watch(page, print)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=PATIENCE_S, check=False).returncode == 0


def test_beyond_what_the_kernel_can_watch_there_are_the_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(death_watch, "_MOST", 1)
    deaths = DeathWatch()
    with held(SLEEP, deaths) as one, held(SLEEP, deaths) as two:
        two.process.kill()
        two.process.wait()
        one.process.kill()
        assert one.heard.wait(PATIENCE_S)
        assert not two.codes


def test_the_kernel_watches_as_many_as_we_say() -> None:
    pages = [page for _ in range(death_watch._MOST - 1) if (page := DeathPage.make())]
    deaths = DeathWatch()
    for page in pages:
        page.close()
        deaths.watch(page, lambda: None)
    with held("os._exit(3)", deaths) as holder:
        holder.tell()
        assert holder.heard.wait(PATIENCE_S)
    for page in pages:
        deaths.forget(page)


def test_a_kernel_that_refuses_after_all_leaves_the_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(death_watch, "_sleep", lambda words: False)
    with held("os._exit(3)", DeathWatch()) as holder:
        eventually(lambda: not watchers())
        holder.tell()
        assert holder.process.wait() == 3
        assert not holder.codes


def test_a_provider_cannot_shrink_the_page_under_the_daemon() -> None:
    page = DeathPage.make()
    assert page is not None
    with pytest.raises(PermissionError):
        os.truncate(page.descriptor, 0)
    page.close()
    assert page.word.value == 0


# --- as ProviderProcess uses it


def live(scenario: Callable[[], object]) -> None:
    async def main() -> None:
        with anyio.fail_after(PATIENCE_S):
            await scenario()  # type: ignore[misc]

    anyio.run(main)


async def spawn(tmp_path: Path, program: str, told: list[str], megabytes: int = 0) -> ProviderProcess:
    start = START._replace(settings={"megabytes": megabytes})
    return await ProviderProcess.spawn([sys.executable, "-c", program], start, tmp_path / "log", told.append)


async def until(condition: Callable[[], bool]) -> None:
    await anyio.to_thread.run_sync(eventually, condition)


@pytest.mark.parametrize(
    ("death", "reason", "code"),
    [
        (SLEEP, "it was killed by SIGKILL", -9),
        ("ctypes.string_at(0)", "it was killed by SIGSEGV", -11),
        ("os.abort()", "it was killed by SIGABRT", -6),
        ("os._exit(3)", "it exited with code 3", 3),
        ("os._exit(0)", "its process died", 0),
    ],
)
def test_a_large_provider_is_known_to_die_before_its_memory_is_free(
    tmp_path: Path, death: str, reason: str, code: int
) -> None:
    async def scenario() -> None:
        told: list[str] = []
        process = await spawn(tmp_path, HOLDER + death, told, megabytes=300)
        if death == SLEEP:
            await until(lambda: "up" in (tmp_path / "log").read_text())
            process.kill()
        assert await process.wait() == code
        assert told == [reason], "once, and not after the handle"

    live(scenario)


def test_a_program_that_holds_nothing_is_known_by_its_handle_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[str] = []
        process = await spawn(tmp_path, "import sys; sys.stdin.readline(); sys.exit(5)", told)
        assert await process.wait() == 5
        assert told == []

    live(scenario)


def test_only_who_asks_shares_a_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        program = "import sys, os; print(sys.stdin.readline()); print(os.listdir('/proc/self/fd'))"
        for hear in (None, lambda reason: None):
            command = [sys.executable, "-c", program]
            process = await ProviderProcess.spawn(command, START, tmp_path / str(hear is None), hear)
            await process.wait()
        alone, shared = [(tmp_path / name).read_text().split("\n") for name in ("True", "False")]
        assert json.loads(alone[0])["death_fd"] is None
        assert repr(str(json.loads(shared[0])["death_fd"])) in shared[2]

    live(scenario)


def test_a_notice_that_comes_after_the_handle_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr("voiceboxd.process.dying_code", lambda pid: ended.wait(PATIENCE_S) and None)

    async def scenario() -> None:
        told: list[str] = []
        process = await spawn(tmp_path, HOLDER + "os._exit(3)", told)
        assert await process.wait() == 3
        ended.set()
        await until(lambda: not watchers())
        assert told == []

    live(scenario)


def test_one_that_is_reaped_before_its_cause_is_read_is_left_to_the_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small process may be gone within a millisecond, and "its process died" would hide what of."""
    asked = threading.Event()

    def too_late(pid: int) -> None:
        eventually(lambda: not Path(f"/proc/{pid}").exists())
        asked.set()

    monkeypatch.setattr("voiceboxd.process.dying_code", too_late)

    async def scenario() -> None:
        told: list[str] = []
        process = await spawn(tmp_path, HOLDER + SLEEP, told)
        await until(lambda: "up" in (tmp_path / "log").read_text())
        process.kill()
        # The loop is kept from hearing of either before both are there.
        assert asked.wait(PATIENCE_S)
        time.sleep(0.05)  # noqa: ASYNC251
        assert await process.wait() == -signal.SIGKILL
        assert told == []

    live(scenario)


def test_a_daemon_that_ends_does_not_wait_for_its_providers(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[str] = []
        process = await spawn(tmp_path, HOLDER + SLEEP, told)
        with anyio.move_on_after(0.1):
            await process.wait()
        await until(lambda: not watchers())
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        assert told == []

    live(scenario)


def test_one_that_becomes_another_program_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[str] = []
        program = HOLDER + "os.execlp('sleep', 'sleep', '1000')"
        process = await spawn(tmp_path, program, told)
        assert await process.wait() == -signal.SIGKILL
        assert told == ["its process died"]

    live(scenario)


def test_where_there_is_no_notice_the_handle_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel before 5.16 does not know the call, and some sandboxes forbid it."""
    monkeypatch.setattr(death_watch, "_SYS_FUTEX_WAITV", 100_000)
    death_watch._is_supported.cache_clear()

    async def scenario() -> None:
        told: list[str] = []
        process = await spawn(tmp_path, HOLDER + "os._exit(3)", told)
        assert await process.wait() == 3
        assert told == []

    try:
        live(scenario)
        assert not watchers()
    finally:
        death_watch._is_supported.cache_clear()


def test_our_runner_holds_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[str] = []
        start = START._replace(address=f"ipc://{tmp_path}/none", engine="voicebox_provider.testing:FakeEngine")
        process = await ProviderProcess.spawn(our_runner(), start, tmp_path / "log", told.append)
        assert process._page is not None
        page = process._page
        await until(lambda: page.word.value > 0x80000000)
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        assert page.word.value & 0x40000000
        assert told in ([], ["it was killed by SIGKILL"])

    live(scenario)
