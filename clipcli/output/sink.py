"""The base of what writes rows to a file that appears when it is complete."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from clipcli.errors import OutputError, UsageError
from clipcli.files import AtomicFile, write_errors
from clipcli.output.cells import Row, stored_type, whole


class Sink(ABC):
    """Writes rows; a context manager that completes the file, or leaves its rows as `NAME.partial`.

    If it is writing itself that fails, CSV, TSV and JSON lines leave what they have, and others nothing.

    A link is followed, so that it stays one. A device or pipe is written to as it is.

    Args:
        columns: their names and the types of their cells: str, int, float, bool, datetime, date, and
            `numpy.int32` for integers that Parquet stores in 4 bytes; `list` for several labels in a cell,
            which JSON lines alone can hold; `ImageName` and `Score` for texts and numbers that a workbook
            shows as what they are.
        path: the file, or None for standard output.
        excel: add a byte-order mark and neutralise cells that a spreadsheet would run as formulas.

    Raises:
        UsageError: the folder of the file does not exist, or the format cannot go to standard output.
        OutputError: the file cannot be written.
    """

    binary: ClassVar[bool] = False
    nests: ClassVar[bool] = False

    def __init__(self, columns: Mapping[str, type], path: Path | None, excel: bool = False) -> None:
        self.columns = {whole(name): stored_type(kind) for name, kind in columns.items()}
        self.path = path
        self.excel = excel
        self.rows = 0
        self._is_whole = True
        if path is None and self.binary:
            raise UsageError("this format cannot go to standard output", "Name a file.")
        self.file = None if path is None else AtomicFile(path)
        self._name = path or "standard output"

    @property
    def kept(self) -> Path | None:
        """Where the rows are if the run ends early; None if there are none, or they cannot be taken back."""
        if self.file is None or not self.file.is_replaced or not self.rows:
            return None
        return self.file.partial if self.file.partial.exists() else None

    def check_text(self, text: str) -> None:  # noqa: B027 (most formats hold any text)
        """Refuse a text that the format cannot hold, before the work is done.

        Raises:
            OutputError: it cannot.
        """

    def write(self, row: Row) -> None:
        """Add a row: a cell for each column, None where there is nothing.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._write(row)
        except UnicodeEncodeError:  # half a character, before anything of the row is written
            self._write([whole(cell) if isinstance(cell, str) else cell for cell in row])
        except OSError:
            self._is_whole = False
            with write_errors(self._name):
                raise
        self.rows += 1

    def write_all(self, rows: Iterable[Row]) -> None:
        """Add rows; errors as in `write`."""
        for row in rows:
            self.write(row)

    def __enter__(self) -> Sink:
        try:
            with write_errors(self._name):
                self._open()
        except OutputError:
            self._abandon()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._complete()
        else:
            self._abandon()

    def _complete(self) -> None:
        try:
            with write_errors(self._name):
                self._end()
        except BaseException:
            self._leave()
            raise
        if self.file is not None:
            self.file.complete()

    def _abandon(self) -> None:
        """Keep the rows written so far; the error under way is what the user must see."""
        with contextlib.suppress(Exception):
            self._end()
        self._leave()

    def _end(self) -> None:
        try:
            self._close()
        except OutputError:  # a cell that the format cannot hold: what came before it is whole
            raise
        except BaseException:
            self._is_whole = False
            raise

    def _leave(self) -> None:
        """Keep the rows where they can be read: of a binary file that could not be written, none can."""
        if self.file is not None:
            self.file.abandon(keep=self.rows > 0 and (self._is_whole or not self.binary))

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, row: Row) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...
