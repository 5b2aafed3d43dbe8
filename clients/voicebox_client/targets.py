"""Where bytes of a file go: beside the place and renamed at the end, or directly into a device, FIFO or open descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from collections.abc import Iterator

from voicebox_protocol.errors import OutputFailed

_BINARY = getattr(os, "O_BINARY", 0)
# What a pipe that is said to be writable takes without waiting, on every POSIX system (_POSIX_PIPE_BUF).
_AT_ONCE = 512
# How long a reader may leave the pipe full before the end of something that is over anyway goes unsaid.
_OFFER_S = 0.25
_TEMPORARY = ".voicebox-{}.part"
# Names that stand for descriptors of this process, whatever these are.
_DESCRIPTORS = ("/dev/fd/", "/dev/std", "/proc/")


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Turns an `OSError` into `OutputFailed` that names the place and the reason."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(f"cannot write {place}: {error.strerror or error}") from error


class Target:
    """Owns a descriptor that is being written. `origin` is its first byte, or None if what is written stays written.

    `stays` tells whether what has been written is there for others even if the file is never completed.
    """

    stays = True

    def __init__(self, place: str, descriptor: int, origin: int | None) -> None:
        self.place = place
        self.origin = origin
        self._descriptor = descriptor

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it, however slowly the other end takes it."""
        rest = memoryview(data)
        with naming(self.place):
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # somebody else made the pipe non-blocking
                    select.select([], [self._descriptor], [])

    def offer(self, data: bytes) -> None:
        """Write as much as is taken within a moment: the end of what is given up."""
        rest, until = memoryview(data), time.monotonic() + _OFFER_S
        with contextlib.suppress(OSError, ValueError):
            while rest and select.select([], [self._descriptor], [], max(0.0, until - time.monotonic()))[1]:
                rest = rest[os.write(self._descriptor, rest[:_AT_ONCE]) :]

    def rewrite(self, data: bytes, at: int) -> None:
        """Write over what stands at byte `at`, and stand at the end again."""
        if self.origin is not None:
            with naming(self.place):
                os.lseek(self._descriptor, self.origin + at, os.SEEK_SET)
            self.write(data)
            with naming(self.place):
                os.lseek(self._descriptor, 0, os.SEEK_END)

    def cut(self, size: int) -> None:
        """Take back all but the first `size` bytes."""
        if self.origin is not None:
            with naming(self.place):
                os.ftruncate(self._descriptor, self.origin + size)
                os.lseek(self._descriptor, 0, os.SEEK_END)

    def commit(self) -> None:
        """The file is whole: let it be seen."""
        with naming(self.place):
            self._close()

    def discard(self) -> None:
        """The file will not be whole: leave nothing of it behind, where that is possible."""
        with contextlib.suppress(OSError):
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


class StandardTarget(Target):
    """A descriptor that others own, as standard output: written directly and left open."""

    def __init__(self, descriptor: int, place: str) -> None:
        super().__init__(place, descriptor, _origin(descriptor))

    def _close(self) -> None:
        pass


class ReplacingTarget(Target):
    """An ordinary file: written beside its place, and put there by one rename once it is whole.

    On Linux the file has no name until then, so that even a killed process leaves nothing. Where the file system or
    the platform cannot do that, it is named `.voicebox-*.part`.
    """

    stays = False

    def __init__(self, place: str, final: str, old: os.stat_result | None) -> None:
        directory = os.path.dirname(final) or "."  # noqa: PTH120 (no pathlib on the way to the first sample)
        self._final = final
        self._temporary = os.path.join(directory, _TEMPORARY.format(os.urandom(6).hex()))  # noqa: PTH118
        descriptor, self._named = _open_new(directory, self._temporary)
        super().__init__(place, descriptor, 0)
        if old is not None:
            _keep_owner_and_mode(descriptor, old)

    def commit(self) -> None:
        with naming(self.place):
            if not self._named:
                # A descriptor as the starting directory makes Python call linkat, which alone follows this link.
                os.link(f"/proc/self/fd/{self._descriptor}", self._temporary, src_dir_fd=self._descriptor)
                self._named = True
            self._close()
            os.replace(self._temporary, self._final)  # noqa: PTH105

    def discard(self) -> None:
        super().discard()
        if self._named:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)  # noqa: PTH108


def open_target(path: str | os.PathLike[str]) -> Target:
    """The target for a path: a link's own target is replaced, not the link. Raises `OutputFailed`."""
    place = os.fspath(path)
    with naming(place):
        old = _stat(place)
        if not os.path.basename(place) or (old is not None and stat.S_ISDIR(old.st_mode)):  # noqa: PTH119
            raise IsADirectoryError(errno.EISDIR, "it is a directory" if place else "the name is empty")
        if place.startswith(_DESCRIPTORS) or (old is not None and not stat.S_ISREG(old.st_mode)):
            descriptor = os.open(place, os.O_WRONLY | os.O_NOCTTY | _BINARY)
            return Target(place, descriptor, _origin(descriptor))
        if old is not None and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
        return ReplacingTarget(place, os.path.realpath(place), old)


def is_ordinary(path: str | os.PathLike[str]) -> bool:
    """Whether a path is, or would become, an ordinary file: one that appears only when it is whole."""
    place = os.fspath(path)
    try:
        old = _stat(place)
    except OSError:
        return True
    return not place.startswith(_DESCRIPTORS) and (old is None or stat.S_ISREG(old.st_mode))


def _stat(place: str) -> os.stat_result | None:
    try:
        return os.stat(place)  # noqa: PTH116
    except FileNotFoundError:
        return None


def _origin(descriptor: int) -> int | None:
    """Where an open ordinary file stands, if what is written to it can be changed again."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or _appends(descriptor):
        return None
    return os.lseek(descriptor, 0, os.SEEK_CUR)


def _appends(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no way to ask; without one, sizes stay unknown
        return True
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)


def _open_new(directory: str, name: str) -> tuple[int, bool]:
    """A new file, and whether it has its name already; its mode is what `open` would give."""
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is not None and os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        with contextlib.suppress(OSError):
            return os.open(directory, os.O_WRONLY | nameless, 0o666), False
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), True


def _keep_owner_and_mode(descriptor: int, old: os.stat_result) -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError, AttributeError):
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
