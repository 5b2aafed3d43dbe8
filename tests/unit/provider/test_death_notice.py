"""The provider's mutex: held by the I/O thread from before Hello until an orderly end, and by nobody where it cannot be."""

from __future__ import annotations

import mmap
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from voicebox_protocol import endpoints
from voicebox_protocol.schema import Fault
from voicebox_protocol.startline import StartLine
from voicebox_provider.death_notice import DeathNotice

from .fake_daemon import FAKE, PATIENCE_S, Provider

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has robust futexes")

OWNER_DIED = 0x40000000
WAITERS = 0x80000000


class Page:
    """Owns the daemon's view of a page; `descriptor` is for the provider, which closes it."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("page")
        os.truncate(self.descriptor, mmap.PAGESIZE)
        self._memory = mmap.mmap(self.descriptor, mmap.PAGESIZE)

    @property
    def word(self) -> int:
        return int.from_bytes(self._memory[:4], sys.byteorder)

    def close(self) -> None:
        self._memory.close()


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.close()


def on_a_thread(work: Callable[[], None]) -> int:
    """Run it on a thread that ends; gives that thread's number."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE_S)
    assert thread.native_id is not None
    return thread.native_id


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


def test_the_word_names_the_thread_and_asks_for_a_wake(page: Page) -> None:
    words = []

    def work() -> None:
        notice = DeathNotice(page.descriptor)
        words.append(page.word)
        notice.withdraw()
        words.append(page.word)
        notice.withdraw()

    assert on_a_thread(work) | WAITERS == words[0]
    assert words[1] == page.word == 0


def test_a_thread_that_ends_without_withdrawing_is_dead(page: Page) -> None:
    on_a_thread(lambda: DeathNotice(page.descriptor) and None)
    # The kernel marks it while the thread ends, after Python has let go of it.
    while page.word & ~WAITERS != OWNER_DIED:
        threading.Event().wait(0.001)


def test_what_the_engine_starts_inherits_no_descriptor(page: Page) -> None:
    on_a_thread(DeathNotice(page.descriptor).withdraw)
    assert is_closed(page.descriptor)


def test_a_page_that_another_one_holds_is_left_alone(page: Page) -> None:
    second = os.dup(page.descriptor)
    notice = DeathNotice(page.descriptor)
    word = page.word
    on_a_thread(DeathNotice(second).withdraw)
    assert page.word == word
    notice.withdraw()


def test_without_a_page_there_is_no_notice() -> None:
    DeathNotice(None).withdraw()


def test_a_descriptor_that_is_no_page_is_none_and_is_closed() -> None:
    reading, writing = os.pipe()
    DeathNotice(writing).withdraw()
    assert is_closed(writing)
    DeathNotice(writing).withdraw()
    os.close(reading)


def test_a_c_library_that_keeps_the_owner_elsewhere_holds_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "get_native_id", lambda: 1)
    notice = DeathNotice(page.descriptor)
    assert page.word == 0
    notice.withdraw()


# --- the runner


@contextmanager
def runner(directory: str, page: Page, engine: str = FAKE) -> Iterator[Provider]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        endpoints.harden(router)
        router.bind(f"ipc://{directory}/p.sock")
        address = router.getsockopt_string(zmq.LAST_ENDPOINT)
        start = StartLine(address, "fake", 3, secrets.token_hex(8), os.getpid(), engine, death_fd=page.descriptor)
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "voicebox_provider"]
        with subprocess.Popen(command, stdin=reading, pass_fds=(page.descriptor,)) as process:
            os.close(reading)
            os.close(page.descriptor)
            os.write(writing, start.encode())
            peer = Provider(router, process, writing, start)
            try:
                yield peer
            finally:
                process.kill()
                if peer.lifeline >= 0:
                    peer.cut_lifeline()


def holder(page: Page, peer: Provider) -> str:
    """The name of the thread that holds the mutex; Linux keeps 15 characters of it, if Python sets it at all."""
    assert page.word & WAITERS
    with open(f"/proc/{peer.process.pid}/task/{page.word & ~WAITERS}/comm") as file:
        return file.read().strip()


def test_a_thread_of_the_runner_holds_it_before_hello_and_not_the_main_one(short_dir: str, page: Page) -> None:
    with runner(short_dir, page) as peer:
        peer.greet()
        assert holder(page, peer)
        assert page.word & ~WAITERS != peer.process.pid


def test_an_orderly_end_is_no_death(short_dir: str, page: Page) -> None:
    with runner(short_dir, page) as peer:
        peer.load()
        assert peer.leave() == 0
        assert page.word == 0


def test_an_engine_that_cannot_be_made_is_no_death(short_dir: str, page: Page) -> None:
    with runner(short_dir, page, "none.such:Engine") as peer:
        peer.greet()
        peer.expect(Fault)
        assert peer.exit_code() > 0
        assert page.word == 0


@pytest.mark.parametrize("end", ["kill", "lifeline"])
def test_any_other_end_is_one(short_dir: str, page: Page, end: str) -> None:
    with runner(short_dir, page) as peer:
        peer.load()
        if end == "kill":
            peer.process.kill()
        else:
            peer.cut_lifeline()
        assert peer.exit_code() != 0
        assert page.word & OWNER_DIED
