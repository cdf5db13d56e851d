"""Features as a column of a Parquet file, beside names, failures and the user's columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from clipcli.output.cells import readable
from clipcli.output.feature_writer import FeatureWriter
from clipcli.output.parquet import arrow_array, arrow_type
from clipcli.output.rows import carried_names
from clipcli.records import ImageFailure, ImageFeatures

_ROWS_A_GROUP = 10_000


class ParquetWriter(FeatureWriter):
    """A row for each image: its name, `features` as a list of fixed size, `error`, and the user's columns."""

    def _open(self) -> None:
        self._stream = self._file.partial.open("wb")
        self._pending: list[ImageFeatures | ImageFailure] = []
        self._width = 0
        self._writer: Any = None

    def _write(self, outcome: ImageFeatures | ImageFailure) -> None:
        self._pending.append(outcome)
        if isinstance(outcome, ImageFeatures):
            self._width = len(outcome.features)
        if len(self._pending) >= _ROWS_A_GROUP and self._width:
            self._flush()

    def _complete(self) -> None:
        self._flush()
        self._writer.close()
        self._stream.close()

    def _close(self) -> None:
        self._stream.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._begin()
        kinds = self._writer.schema.types
        errors = [one.reason if isinstance(one, ImageFailure) else None for one in self._pending]
        arrays = [
            pa.array([readable(one.image) for one in self._pending], pa.string()),
            self._features(kinds[1]),
            pa.array(errors, pa.string()),
        ]
        for name, kind in zip(self.carried, kinds[len(arrays) :], strict=True):
            cells = [readable(one.columns.get(name)) for one in self._pending]
            arrays.append(arrow_array(name, cells, kind))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))
        self._pending.clear()

    def _features(self, kind: Any) -> Any:
        """The features of the pending rows as an array of lists; none where there are none."""
        import pyarrow as pa

        numbers = np.zeros((len(self._pending), kind.list_size), dtype=self.dtype)
        for row, one in enumerate(self._pending):
            if isinstance(one, ImageFeatures):
                numbers[row] = one.features
        missing = pa.array([isinstance(one, ImageFailure) for one in self._pending], pa.bool_())
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), type=kind, mask=missing)

    def _begin(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = pa.float16() if self.dtype.itemsize == 2 else pa.float32()
        own = {
            self.subject: pa.string(),
            "features": pa.list_(number, self._width or 1),
            "error": pa.string(),
        }
        names = carried_names(tuple(self.carried), own)
        columns = [[one.columns.get(name) for one in self._pending] for name in self.carried]
        kinds = [arrow_type(kind, cells) for kind, cells in zip(self.carried.values(), columns, strict=True)]
        fields = [*own.items(), *zip(map(readable, names), kinds, strict=True)]
        self._writer = pq.ParquetWriter(self._stream, pa.schema(fields, metadata={"clipcli": self.about}))
