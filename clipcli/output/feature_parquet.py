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
    """A row for each image: its name, `features` as a list, `error`, and the user's columns.

    The type of the lists has no fixed size: pyarrow before 26 cannot read such lists where one is missing.
    """

    def _open(self) -> None:
        self._stream = self._file.partial.open("wb")
        self._pending: list[ImageFeatures | ImageFailure] = []
        self._writer: Any = None

    def _write(self, outcome: ImageFeatures | ImageFailure) -> None:
        self._pending.append(outcome)
        if len(self._pending) >= _ROWS_A_GROUP:
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

        none = np.empty(0, dtype=self.dtype)
        rows = [none if isinstance(one, ImageFailure) else one.features for one in self._pending]
        numbers = np.concatenate([none, *rows], dtype=self.dtype, casting="same_kind")
        ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
        missing = pa.array([isinstance(one, ImageFailure) for one in self._pending], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(numbers), type=kind, mask=missing)

    def _begin(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = pa.float16() if self.dtype.itemsize == 2 else pa.float32()
        own = {
            self.subject: pa.string(),
            "features": pa.list_(number),
            "error": pa.string(),
        }
        names = carried_names(tuple(self.carried), own)
        columns = [[one.columns.get(name) for one in self._pending] for name in self.carried]
        kinds = [arrow_type(kind, cells) for kind, cells in zip(self.carried.values(), columns, strict=True)]
        fields = [*own.items(), *zip(map(readable, names), kinds, strict=True)]
        self._writer = pq.ParquetWriter(self._stream, pa.schema(fields, metadata={"clipcli": self.about}))
