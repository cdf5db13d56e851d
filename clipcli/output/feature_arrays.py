"""Features as arrays: .npy, .npz and .safetensors.

Rows go to the file, or to one without a name from which it is made in the end, so that memory stays flat.
Images that cannot be read are listed after those that could, or apart: a row of the array is always the row
of its name.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from clipcli.errors import UsageError
from clipcli.files import AtomicFile, reopened
from clipcli.output.cells import Row
from clipcli.output.feature_writer import KIND, FeatureWriter
from clipcli.output.rows import carried_names
from clipcli.output.sinks import CsvSink
from clipcli.records import Float32Array, ImageFailure, ImageFeatures

_NPY_HEADER = 128  # bytes, which hold every shape


class _Rows:
    """Rows of numbers that are appended to a stream; `shape` is (N, D)."""

    def __init__(self, stream: IO[bytes], dtype: np.dtype[Any]) -> None:
        self.stream = stream
        self.dtype = dtype
        self.shape = (0, 0)

    def append(self, vector: Float32Array) -> None:
        """Add a row (D,)."""
        self.stream.write(vector.astype(self.dtype).tobytes())
        self.shape = (self.shape[0] + 1, len(vector))


class NpyWriter(FeatureWriter):
    """`NAME.npy`, with `NAME.csv` that names its rows, and `NAME.json` about the model.

    Line by line, the CSV names the rows of the array; images that could not be read come after these.
    """

    def __init__(self, path: Path, *args: Any, **kwargs: Any) -> None:
        super().__init__(path, *args, **kwargs)
        own: dict[str, type] = {"row": np.int32, self.subject: str, "error": str}
        names = carried_names(tuple(self.carried), own)
        _check_is_ours(path.with_suffix(".csv"), ",".join(own))
        _check_is_ours(path.with_suffix(".json"), json.dumps({"kind": KIND})[:-1])
        self._names = CsvSink({**own, **dict(zip(names, self.carried.values(), strict=True))}, self._csv)
        self._about = AtomicFile(path.with_suffix(".json"))
        self._failures: list[ImageFailure] = []

    @property
    def _csv(self) -> Path:
        return self.path.with_suffix(".csv")

    def _open(self) -> None:
        self._rows = _Rows(self._file.partial.open("wb"), self.dtype)
        self._rows.stream.write(bytes(_NPY_HEADER))
        self._names.__enter__()

    def _write(self, outcome: ImageFeatures | ImageFailure) -> None:
        if isinstance(outcome, ImageFailure):
            self._failures.append(outcome)
            return
        self._names.write([self._rows.shape[0], outcome.image, None, *self._cells(outcome)])
        self._rows.append(outcome.features)

    def _cells(self, outcome: ImageFeatures | ImageFailure) -> Row:
        return [outcome.columns.get(name) for name in self.carried]

    def _complete(self) -> None:
        self._rows.stream.seek(0)
        self._rows.stream.write(npy_header(self._rows.shape, self.dtype))
        self._rows.stream.close()
        for failure in self._failures:
            self._names.write([None, failure.image, failure.reason, *self._cells(failure)])
        self._about.partial.write_text(self.about + "\n", encoding="utf-8")
        self._names.__exit__(None)
        self._about.complete()

    def _close(self) -> None:
        self._rows.stream.close()
        self._about.abandon()
        if not self._names.stream.closed:
            self._names.__exit__(OSError)
            assert self._names.file is not None
            self._names.file.abandon()


def npy_header(shape: tuple[int, int], dtype: np.dtype[Any]) -> bytes:
    """The beginning of a .npy file: always as long, whatever the shape (N, D)."""
    stream = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    assert len(stream.getvalue()) == _NPY_HEADER
    return stream.getvalue()


def _check_is_ours(path: Path, start: str) -> None:
    """Refuse to replace a file that seems to be the user's own.

    Raises:
        UsageError: it begins otherwise than ours do.
    """
    try:
        with reopened(path) as file:
            is_ours = file.read(len(start)) == start.encode()
    except FileNotFoundError:
        return
    except OSError:
        is_ours = False
    if not is_ours:
        raise UsageError(f"{path} would be replaced, and seems to be a file of yours", "Name another file.")


class _SpooledWriter(FeatureWriter):
    """Keeps features and names in files without a name until the end; columns are not kept."""

    keeps_columns = False

    def _open(self) -> None:
        self._rows = _Rows(self._nameless(), self.dtype)
        self._names = self._nameless()
        self._longest = 1
        self._failures: list[ImageFailure] = []

    def _write(self, outcome: ImageFeatures | ImageFailure) -> None:
        if isinstance(outcome, ImageFailure):
            self._failures.append(outcome)
            return
        self._names.write(f"{',' if self._rows.shape[0] else '['}{json.dumps(outcome.image)}\n".encode())
        self._longest = max(self._longest, len(outcome.image))
        self._rows.append(outcome.features)

    def _nameless(self) -> IO[bytes]:
        """On the disk that has room for the file; the folder for temporary files may lie in memory."""
        return tempfile.TemporaryFile(dir=self._file.target.parent if self._file.is_replaced else None)

    def _close(self) -> None:
        self._rows.stream.close()
        self._names.close()


class NpzWriter(_SpooledWriter):
    """`features` (N, D), the names `images` or `texts` (N,), `failed` and `reasons` (F,), and `metadata`."""

    def _complete(self) -> None:
        arrays: dict[str, Any] = {
            "features": _mapped(self._rows.stream, self.dtype, self._rows.shape),
            f"{self.subject}s": self._named(),
            "failed": np.array([failure.image for failure in self._failures], dtype=np.str_),
            "reasons": np.array([failure.reason for failure in self._failures], dtype=np.str_),
            "metadata": np.array(self.about),
        }
        with self._file.partial.open("wb") as stream:
            np.savez(stream, **arrays)

    def _named(self) -> npt.NDArray[np.str_]:
        """The names (N,), mapped."""
        dtype = np.dtype(f"<U{self._longest}")
        with self._nameless() as file:  # the map outlives it
            self._names.seek(0)
            for line in self._names:
                file.write(np.array(json.loads(line[1:]), dtype=dtype).tobytes())
            return _mapped(file, dtype, (self._rows.shape[0],))


def _mapped(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A file as an array, without reading it."""
    file.flush()
    if not all(shape):
        return np.empty(shape, dtype=dtype)
    return np.memmap(file, dtype=dtype, mode="r", shape=shape)


class SafetensorsWriter(_SpooledWriter):
    """`features` (N, D); `images` or `texts`, and `failed` with names and reasons, as JSON in bytes of UTF-8.

    What is told of the features is JSON, `clipcli` in the metadata.
    """

    def _complete(self) -> None:
        failed = json.dumps([[failure.image, failure.reason] for failure in self._failures]).encode()
        self._names.write(b"]" if self._rows.shape[0] else b"[]")
        sizes = {"features": self._rows.stream.tell(), f"{self.subject}s": self._names.tell()}
        kind = {np.dtype("<f4"): "F32", np.dtype("<f2"): "F16"}[self.dtype]
        tensors, start = {}, 0
        for name, size in (sizes | {"failed": len(failed)}).items():
            described = {"dtype": kind, "shape": self._rows.shape} if name == "features" else {}
            whole = {"dtype": "U8", "shape": [size]} | described
            tensors[name] = {**whole, "data_offsets": [start, start := start + size]}
        header = json.dumps({"__metadata__": {"clipcli": self.about}, **tensors}).encode()
        header += b" " * (-len(header) % 8)
        with self._file.partial.open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            for part in (self._rows.stream, self._names, io.BytesIO(failed)):
                part.seek(0)
                shutil.copyfileobj(part, stream, 1 << 20)
