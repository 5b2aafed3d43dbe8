"""Text that is still being written and may have to be sent again: what the daemon has of it and has not spoken yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicebox_client.feeder import cut

if TYPE_CHECKING:
    from voicebox_client.connection import Connection
    from voicebox_client.feeder import TextSource

# The daemon takes 64 KiB more than it has cut into segments, so little more than that is ever kept of a text that is being
# spoken. Only a text that goes on without a word, as of line ends alone, can grow beyond this.
MOST = 1_000_000


class KeptText:
    """A `TextSource` in front of another. Owns the characters that were sent since the segment that is being spoken.

    `lost` tells that there were more than `MOST` of them: then none is kept any more.
    """

    def __init__(self, source: TextSource) -> None:
        self.lost = False
        self._source = source
        self._kept = ""
        self._begin = 0
        self._unsent = bytearray()
        self._ended = False

    @property
    def error(self) -> BaseException | None:
        return self._source.error

    def take(self, room: int) -> tuple[bytes, bool]:
        """First what has to be sent again, then what is new."""
        if self._unsent:
            piece = cut(self._unsent, room)
        elif not self._ended:
            piece, self._ended = self._source.take(room)
            self._keep(piece.decode())
        else:
            piece = b""
        return piece, self._ended and not self._unsent

    def stop(self) -> None:
        self._source.stop()

    def rejoin(self, link: Connection) -> None:
        """The next daemon has nothing of it."""
        self._source.rejoin(link)
        self._unsent = bytearray(self._kept.encode())

    def forget_before(self, char: int) -> None:
        """Nobody will need what stands before character `char` of the whole text again."""
        self._kept, self._begin = self._kept[max(0, char - self._begin) :], max(self._begin, char)

    def _keep(self, text: str) -> None:
        if not self.lost:
            self._kept += text
        if len(self._kept) > MOST:
            self.lost, self._kept = True, ""
