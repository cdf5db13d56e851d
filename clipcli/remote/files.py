"""A remote object as a file object of Python's, whose errors are those of files."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, cast

from clipcli.errors import RemoteError

_BUFFER = 1 << 20


class RemoteFile(io.RawIOBase):
    """A file object over that of a library.

    Args:
        opens: opens that of the library.
        asked: calls what asks the service for something, again where that may help.

    Raises:
        RemoteError: it cannot be opened.
    """

    def __init__(self, opens: Callable[[], Any], asked: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__()
        self._asked = asked
        self._file = asked(opens)

    def buffered(self) -> BinaryIO:
        """The same, with a buffer."""
        return cast(BinaryIO, io.BufferedReader(self, _BUFFER))

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As in `io.IOBase`."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """As in `io.IOBase`."""
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """As in `io.RawIOBase`.

        Raises:
            OSError: what is wanted cannot be read.
        """
        try:
            part = self._asked(partial(self._file.read, len(buffer)))
        except RemoteError as error:
            raise OSError(str(error)) from None
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Release the connection."""
        if not self.closed:
            self._file.close()
        super().close()
