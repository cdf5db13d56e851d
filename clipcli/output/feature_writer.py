"""What files of features have in common: written row by row, they appear complete or not at all."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clipcli.choices import FeatureType
from clipcli.files import AtomicFile, write_errors
from clipcli.output.consumers import Consumer
from clipcli.records import ImageFailure, ImageFeatures

KIND = "clipcli features"


class FeatureWriter(Consumer[ImageFeatures | ImageFailure], ABC):
    """Writes features; a context manager that completes the file, or leaves what was there before.

    Args:
        path: the file.
        about: what is told of the features: model, fingerprint, precision, preprocessing. It must be JSON.
        carried: columns of the user's table, and the types of their cells.
        dtype: of the features in the file.
        subject: what has features: `image` or `text`.

    Raises:
        UsageError: the folder of the file does not exist.
        OutputError: the file cannot be written.
    """

    keeps_columns: ClassVar[bool] = True

    def __init__(
        self,
        path: Path,
        about: Mapping[str, Any],
        carried: Mapping[str, type],
        dtype: FeatureType = "float32",
        subject: str = "image",
    ) -> None:
        self.path = path
        self.about = json.dumps({"kind": KIND, **about, "dtype": dtype})
        self.carried = dict(carried)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.subject = subject
        self._file = AtomicFile(path)

    def __enter__(self) -> FeatureWriter:
        try:
            with write_errors(self.path):
                self._open()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with write_errors(self.path):
                    self._complete()
                self._file.complete()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Remove what is not complete."""
        with contextlib.suppress(Exception):
            self._close()
        self._file.abandon()

    def add(self, outcome: ImageFeatures | ImageFailure) -> None:
        """Write the features of one image, or keep in mind why there are none.

        Raises:
            OutputError: they cannot be written.
        """
        with write_errors(self.path):
            self._write(outcome)

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, outcome: ImageFeatures | ImageFailure) -> None: ...

    @abstractmethod
    def _complete(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...
