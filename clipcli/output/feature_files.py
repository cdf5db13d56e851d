"""Features in files for other tools, in the format that the suffix names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipcli.choices import FeatureType
from clipcli.errors import UsageError
from clipcli.output.feature_arrays import NpyWriter, NpzWriter, SafetensorsWriter
from clipcli.output.feature_parquet import ParquetWriter
from clipcli.output.feature_writer import FeatureWriter

WRITERS: dict[str, type[FeatureWriter]] = {
    ".npy": NpyWriter,
    ".npz": NpzWriter,
    ".parquet": ParquetWriter,
    ".safetensors": SafetensorsWriter,
}


def open_feature_file(
    path: Path,
    about: Mapping[str, Any],
    carried: Mapping[str, type] | None = None,
    dtype: FeatureType = "float32",
    subject: str = "image",
) -> FeatureWriter:
    """The writer for a suffix; arguments and errors as in `FeatureWriter`.

    Raises:
        UsageError: the suffix names no format.
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"cannot write features as {path.name}", f"Use one of {', '.join(WRITERS)}.")
    return WRITERS[path.suffix.lower()](path, about, carried or {}, dtype, subject)


def check_feature_files(paths: Sequence[Path]) -> None:
    """See that features can be written to these files, before the work is done.

    Raises:
        UsageError: as in `open_feature_file`, or a file is named twice.
        OutputError: the place cannot be written.
    """
    for path in paths:
        open_feature_file(path, {})
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a file is named twice as an output", "Name it once.")
